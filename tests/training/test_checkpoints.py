"""What a run leaves on the disk is whole, says what happened once, and keeps the best."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bagnet.data.order import Order
from bagnet.evaluation.measures import Answers
from bagnet.statistics import mean_of_shares
from bagnet.training.checkpoints import Best, Checkpoints, Log, WholeFiles, read_log
from bagnet.training.module import Diverged, Training
from bagnet.training.recipe import Recipe


@pytest.fixture
def module() -> Training:
    return Training(nn.Linear(2, 2), Recipe(ema=0.0), Order(100, 10, 0), 100)


def trainer(step: int = 0, **fields: Any) -> Any:
    """As much of Lightning's as the callbacks look at."""
    usual = {
        "global_step": step,
        "current_epoch": 0,
        "max_epochs": 3,
        "accumulate_grad_batches": 1,
        "num_training_batches": 10,
        "is_global_zero": True,
        "should_stop": False,
        "optimizers": [SimpleNamespace(param_groups=[{"lr": 0.25}])],
        "callback_metrics": {},
        "callbacks": [],
    }
    return SimpleNamespace(**{**usual, **fields})


def full(_: int) -> None:
    raise OSError(28, "No space left on device")


class TestWholeFiles:
    """A checkpoint is written beside the old one, on the same disk, and not by way of the temporary folder."""

    def test_it_is_whole_before_it_takes_the_place_of_the_old_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "run/last.ckpt"
        WholeFiles().save_checkpoint({"step": 1}, path)
        monkeypatch.setattr("tempfile.mkstemp", None)
        seen: list[tuple[object, int]] = []

        def watched(_: int) -> None:
            (part,) = (entry for entry in path.parent.iterdir() if entry != path)
            seen.append((torch.load(path), torch.load(part)["step"]))

        monkeypatch.setattr(os, "fsync", watched)
        WholeFiles().save_checkpoint({"step": 2}, path)
        assert seen == [({"step": 1}, 2)]
        assert torch.load(path) == {"step": 2}

    def test_a_full_disk_leaves_the_old_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "last.ckpt"
        WholeFiles().save_checkpoint({"step": 2}, path)
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"last\.ckpt: cannot be written \(No space left on device\)"):
            WholeFiles().save_checkpoint({"step": 3}, path)
        assert torch.load(path) == {"step": 2}
        assert list(path.parent.iterdir()) == [path]


class TestCheckpoints:
    """Every few optimiser steps and at the end of each epoch, of finite weights only."""

    @pytest.mark.parametrize(("accumulate", "batches"), [(1, [4, 8, "end"]), (2, [8, "end"])])
    def test_when(self, accumulate: int, batches: list[object], module: Training, tmp_path: Path) -> None:
        """Every four steps of an epoch of twelve batches; its last one is left to the end of the epoch."""
        saved: list[object] = []
        callback = Checkpoints(tmp_path, every=4)
        for batch in range(1, 13):
            now = trainer(batch // accumulate, accumulate_grad_batches=accumulate, num_training_batches=12)
            now.save_checkpoint = lambda path, batch=batch: saved.append(batch)
            callback.on_train_batch_end(now, module, None, None, batch - 1)
        now.save_checkpoint = lambda path: saved.append("end")
        callback.on_train_epoch_end(now, module)
        assert saved == batches

    def test_first_the_log_and_the_claim_on_the_folder(self, module: Training, tmp_path: Path) -> None:
        done: list[object] = []
        log = Log(tmp_path, 10)
        log.flush = lambda: done.append("log")  # type: ignore[method-assign]
        now = trainer(callbacks=[log], save_checkpoint=done.append)
        Checkpoints(tmp_path, 4, begin=lambda: done.append("begin")).on_train_epoch_end(now, module)
        assert done == ["log", "begin", tmp_path / "last.ckpt"]

    def test_weights_that_are_not_finite_are_not_kept(self, module: Training, tmp_path: Path) -> None:
        torch.nn.init.constant_(module.model.weight, float("inf"))  # type: ignore[arg-type]
        now = trainer(save_checkpoint=lambda path: pytest.fail("nothing is to be kept"))
        with pytest.raises(Diverged, match="weight is not finite any more"):
            Checkpoints(tmp_path, 4).on_train_epoch_end(now, module)

    def test_a_full_disk_says_what_is_left(self, module: Training, tmp_path: Path) -> None:
        now = trainer(save_checkpoint=full)
        with pytest.raises(OSError, match=r"No space left on device$"):
            Checkpoints(tmp_path, 4).on_train_epoch_end(now, module)
        (tmp_path / "last.ckpt").touch()
        with pytest.raises(OSError, match=r"No space left on device; the one before is intact$"):
            Checkpoints(tmp_path, 4).on_train_epoch_end(now, module)


class TestBest:
    """The weights of the lowest loss on the selection images."""

    def test_it_is_kept_until_patience_ends(self, module: Training, tmp_path: Path) -> None:
        best, stops = Best(tmp_path, patience=2), []
        for number, loss in enumerate((3.0, 2.0, 2.5, 1.0, 1.0, 4.0)):
            nn.init.constant_(module.model.weight, number)  # type: ignore[arg-type]
            now = trainer(callback_metrics={"select/loss": torch.tensor(loss)})
            best.on_validation_epoch_end(now, module)
            stops.append(now.should_stop)
        assert stops == [False] * 5 + [True]
        assert torch.load(tmp_path / "best.ckpt")["weight"].tolist() == [[3.0, 3.0], [3.0, 3.0]]
        again = Best(tmp_path, patience=2)
        again.load_state_dict(best.state_dict())
        assert (again.lowest, again.without) == (1.0, 2)

    def test_one_process_writes(self, module: Training, tmp_path: Path) -> None:
        Best(tmp_path, 2).on_validation_epoch_end(
            trainer(is_global_zero=False, callback_metrics={"select/loss": torch.tensor(1.0)}), module
        )
        assert not list(tmp_path.iterdir())


def step(log: Log, module: Training, number: int, loss: float, **fields: Any) -> None:
    metrics = {"train/loss": torch.tensor(loss)}
    log.on_train_batch_end(trainer(number, callback_metrics=metrics, **fields), module, None, None, number - 1)


class TestLog:
    """A row for each step and each epoch, each once."""

    def test_rows(self, module: Training, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        log = Log(tmp_path, 10)
        log.on_train_start(trainer(), module)
        step(log, module, 1, 2.5)
        step(log, module, 2, 1.25)
        metrics: dict[str, Tensor] = {"select/loss": torch.tensor(0.5), "train/loss": torch.tensor(9.0)}
        module.selected = [Answers.of(np.array([[3.0, 0], [3, 0], [0, 3], [3, 0]]), np.array([0, 0, 1, 1]))]
        caplog.set_level("INFO", "bagnet")
        log.on_validation_epoch_end(trainer(2, callback_metrics=metrics), module)
        balanced = mean_of_shares([2, 1], [2, 2])
        told = f"balanced accuracy 75.00 % [{100 * balanced.low:.1f}, {100 * balanced.high:.1f}], ROC AUC 0.750 ["
        assert f"epoch 1 of 3: {told}" in caplog.text
        assert "loss 0.5000" in caplog.text
        rows = [{name: value for name, value in row.items() if value} for row in read_log(tmp_path / "log.csv")]
        assert all(0 <= float(row.pop("seconds")) < 60 for row in rows)
        assert rows == [
            {"step": "1", "epoch": "0", "learning_rate": "0.25", "loss": "2.5"},
            {"step": "2", "epoch": "0", "learning_rate": "0.25", "loss": "1.25"},
            {
                "step": "2",
                "epoch": "0",
                "select_loss": "0.5",
                "select_top1": "0.75",
                "select_balanced_accuracy": "0.75",
                "select_roc_auc": "0.75",
                "select_lead": "balanced_accuracy",
                "select_low": f"{balanced.low:.6g}",
                "select_high": f"{balanced.high:.6g}",
            },
        ]

    def test_what_will_be_done_again_is_dropped(self, module: Training, tmp_path: Path) -> None:
        log = Log(tmp_path, 10)
        log.on_train_start(trainer(), module)
        for number in range(1, 5):
            step(log, module, number, float(number))
        log.on_train_end(trainer(), module)
        resumed = Log(tmp_path, 10)
        resumed.on_train_start(trainer(2), module)
        step(resumed, module, 3, 7.0)
        resumed.flush()
        assert [(row["step"], row["loss"]) for row in read_log(tmp_path / "log.csv")] == [("1", "1"), ("2", "2"), ("3", "7")]

    def test_the_clock_goes_on(self, module: Training, tmp_path: Path) -> None:
        log = Log(tmp_path, 10)
        log.load_state_dict({"seconds": 100.0})
        log.on_train_start(trainer(), module)
        step(log, module, 1, 1.0)
        assert 100.0 <= log.rows[0]["seconds"] < 160.0
        assert log.state_dict()["seconds"] >= 100.0

    def test_parts_of_a_step_and_most_steps_of_a_long_run_are_left_out(self, module: Training, tmp_path: Path) -> None:
        parts = Log(tmp_path, 10)
        for batch in range(1, 7):
            metrics = {"train/loss": torch.tensor(1.0)}
            now = trainer(batch // 2, accumulate_grad_batches=2, callback_metrics=metrics)
            parts.on_train_batch_end(now, module, None, None, batch - 1)
        assert [row["step"] for row in parts.rows] == [1, 2, 3]
        long = Log(tmp_path, 30_000)
        for number in range(1, 10):
            step(long, module, number, 1.0)
        assert [row["step"] for row in long.rows] == [3, 6, 9]

    def test_one_process_writes(self, module: Training, tmp_path: Path) -> None:
        log = Log(tmp_path, 10)
        log.on_train_start(trainer(is_global_zero=False), module)
        step(log, module, 1, 1.0, is_global_zero=False)
        log.flush()
        assert not list(tmp_path.iterdir())


def test_an_incomplete_line_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    assert read_log(path) == []
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["step", "loss"])
        writer.writeheader()
        writer.writerow({"step": 1, "loss": 0.5})
        file.write("2,0.2")
    assert read_log(path) == [{"step": "1", "loss": "0.5"}]
