"""What a run leaves on the disk while it goes on: a checkpoint to resume from, the best weights, and the log."""

from __future__ import annotations

import csv
import io
import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.fabric.plugins import TorchCheckpointIO

from ..files import naming, replacing
from .log import LOG, read_log
from .module import Training

_log = logging.getLogger(__name__)

LAST, STEADY, BEST = "last.ckpt", "steady.ckpt", "best.ckpt"
_COLUMNS = (
    "step",
    "epoch",
    "seconds",
    "learning_rate",
    "loss",
    "evidence",
    "select_loss",
    "select_top1",
    "select_top5",
    "select_right",
    "select_balanced_accuracy",
    "select_roc_auc",
    "select_lead",  # which measure to go by, and where images are few its interval
    "select_low",
    "select_high",
)
_LOG_LINES = 10_000  # of training, at most


class WholeFiles(TorchCheckpointIO):
    """Checkpoints written beside the old one, and on the disk before they take its place.

    Lightning's own are written to the temporary folder and moved, which between two disks is a copy over the old one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        content = io.BytesIO()
        torch.save(checkpoint, content)  # first to memory: torch hides what the disk has to say
        with replacing(Path(path)) as part, part.open("wb") as file:
            file.write(content.getbuffer())
            file.flush()
            os.fsync(file.fileno())


class Checkpoints(Callback):
    """`last.ckpt`, from which a run goes on to the very weights it would have reached. Weights that are not finite are not kept.

    Args:
        folder: of the run.
        every: optimiser steps between two of them; the end of each epoch has one, too.
        steady: epochs after which the checkpoint is kept as `steady.ckpt`, too, from where a longer run can go on; 0 for none.
        begin: called before each of them.
    """

    def __init__(self, folder: Path, every: int, steady: int = 0, begin: Callable[[], None] | None = None) -> None:
        self.path, self.every, self.steady, self.begin = folder / LAST, every, steady, begin

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        whole_step = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        last = batch_idx + 1 == trainer.num_training_batches
        if whole_step and not last and trainer.global_step % self.every == 0:
            self._save(trainer, module)

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        self._save(trainer, module)
        if trainer.current_epoch + 1 == self.steady and trainer.is_global_zero:
            with replacing(self.path.with_name(STEADY)) as part:
                shutil.copyfile(self.path, part)

    def _save(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, Training)
        module.check_weights()
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Log):
                callback.flush()
        try:
            if self.begin is not None:
                self.begin()
            trainer.save_checkpoint(self.path)
        except OSError as error:
            raise OSError(f"{error}{'; the one before is intact' if self.path.exists() else ''}") from None


class Best(Callback):
    """`best.ckpt`: the weights with the lowest selection loss; stops where it has not fallen for some epochs.

    Args:
        folder: of the run.
        patience: how many epochs.
    """

    def __init__(self, folder: Path, patience: int) -> None:
        self.path, self.patience = folder / BEST, patience
        self.lowest, self.without = float("inf"), 0

    def state_dict(self) -> dict[str, Any]:
        return {"lowest": self.lowest, "without": self.without}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.lowest, self.without = state_dict["lowest"], state_dict["without"]

    def on_validation_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        loss = float(trainer.callback_metrics["select/loss"])
        if loss < self.lowest:
            self.lowest, self.without = loss, 0
            if trainer.is_global_zero:
                with replacing(self.path) as part:
                    torch.save(module.result.state_dict(), part)  # type: ignore[union-attr]
        else:
            self.without += 1
            trainer.should_stop = self.without >= self.patience


class Log(Callback):
    """`log.csv`: the loss of training steps and the measures of each epoch, each once, however often the run was interrupted.

    Args:
        folder: of the run.
        steps: of the whole run; of very many not each is written.
    """

    def __init__(self, folder: Path, steps: int) -> None:
        self.path, self.every = folder / LOG, max(1, steps // _LOG_LINES)
        self.rows: list[dict[str, Any]] = []
        self.seconds, self.since = 0.0, time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self._elapsed()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds = state_dict["seconds"]

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Drop what an interrupted run wrote after its last checkpoint: it will be done again."""
        self.since = time.perf_counter()
        if not trainer.is_global_zero:
            return
        kept = [row for row in read_log(self.path) if int(row["step"]) <= trainer.global_step]
        with replacing(self.path) as part, part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, _COLUMNS)
            writer.writeheader()
            writer.writerows(kept)

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        whole_step = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if whole_step and trainer.global_step % self.every == 0:
            metrics = trainer.callback_metrics
            rate = trainer.optimizers[0].param_groups[-1]["lr"]
            self._add(trainer, learning_rate=rate, loss=metrics["train/loss"], evidence=metrics.get("train/evidence"))

    def on_validation_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, Training)
        metrics = {name: float(trainer.callback_metrics[f"select/{name}"]) for name in module.selection_means}
        measures = module.selection_measures()
        values = {f"select_{name}": value for name, value in metrics.items()}
        values |= {f"select_{measure.key}": measure.estimate.value for measure in measures}
        lead = measures[0] if measures else None
        if lead is not None and lead.interval:
            values |= {"select_low": lead.estimate.low, "select_high": lead.estimate.high}
        self._add(trainer, "" if lead is None else lead.key, **values)
        self.flush()
        if trainer.is_global_zero:
            means = [f"{name} {value:.4f}" for name, value in metrics.items()]
            words = ", ".join([*(measure.text for measure in measures), *means])
            minutes = self._elapsed() / 60
            _log.info("epoch %d of %s: %s (%.1f min)", trainer.current_epoch + 1, trainer.max_epochs, words, minutes)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.flush()

    def flush(self) -> None:
        """Put what is known on the disk."""
        if self.rows and self.path.exists():
            with naming(self.path), self.path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, _COLUMNS).writerows(self.rows)
        self.rows = []

    def _add(self, trainer: Trainer, lead: str = "", **values: Any) -> None:
        if trainer.is_global_zero:
            texts = {"select_lead": lead} | {name: f"{float(value):.6g}" for name, value in values.items() if value is not None}
            seconds = round(self._elapsed(), 1)
            self.rows.append({"step": trainer.global_step, "epoch": trainer.current_epoch, "seconds": seconds, **texts})

    def _elapsed(self) -> float:
        return self.seconds + time.perf_counter() - self.since
