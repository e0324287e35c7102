"""Who is told how training goes, beside our own `log.csv`: Lightning's loggers, each told every step once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..missing import needs
from .log import read_log
from .processes import rank

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

    from .recipe import Recipe

PROJECT = "bagnet"  # or experiment, where the environment names none


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of logger.

    Args:
        about: what becomes of the figures, in a few words.
        build: makes it, of a run's folder, the step from which the run goes on, and its recipe.
        package: what it needs beside lightning; "" for nothing.
        extra: of ours that brings the package.
    """

    about: str
    build: Callable[[Path, int, Recipe], Logger | bool]
    package: str = ""
    extra: str = ""


def logger_kind(name: str = "") -> Kind:
    """The logger that goes by a name; "" for TensorBoard's where it is installed, and else none.

    Raises:
        ValueError: there is no such logger.
        ImportError: its package is missing; the message has the pip command.
    """
    if not name:
        name = "none" if find_spec("tensorboard") is None else "tensorboard"
    if name not in LOGGERS:
        raise ValueError(f"there is no logger {name!r}: there are {', '.join(LOGGERS)}")
    kind = LOGGERS[name]
    if kind.package:
        needs(kind.package, kind.extra)
    return kind


def _tensorboard(folder: Path, step: int, recipe: Recipe) -> Logger:  # noqa: ARG001 (of all kinds)
    """What an interrupted run wrote after its last checkpoint is marked as void."""
    from lightning.pytorch.loggers import TensorBoardLogger

    return TensorBoardLogger(folder, "", "tensorboard", purge_step=step or None)


def _csv(folder: Path, step: int, recipe: Recipe) -> Logger:  # noqa: ARG001 (of all kinds)
    """`csv/metrics.csv`; what an interrupted run wrote after its last checkpoint is dropped, as it will be done again."""
    from lightning.pytorch.loggers import CSVLogger

    kept = [row for row in read_log(folder / "csv" / "metrics.csv") if int(row["step"]) < step]
    logger = CSVLogger(folder, "csv", "")
    if rank() == 0:
        for row in kept:  # Lightning's begins with an empty file
            logger.experiment.log_metrics({name: text for name, text in row.items() if text}, int(row["step"]))
        logger.save()
    return logger


def _wandb(folder: Path, step: int, recipe: Recipe) -> Logger:  # noqa: ARG001 (of all kinds)
    from lightning.pytorch.loggers import WandbLogger

    from .told_once import ToldOnce, new_run_id

    told = ToldOnce.history(folder / "wandb.json", recipe)
    run_id = told.run_id or new_run_id()
    project = os.environ.get("WANDB_PROJECT", PROJECT)
    logger = WandbLogger(name=_run_name(folder), save_dir=folder, project=project, id=run_id)

    def close() -> None:
        logger.experiment.finish()  # or the next run of this process would be written into this one

    return ToldOnce(logger, told.of_run(run_id), recipe, close)


def _mlflow(folder: Path, step: int, recipe: Recipe) -> Logger:  # noqa: ARG001 (of all kinds)
    from lightning.pytorch.loggers import MLFlowLogger

    from .told_once import ToldOnce

    told = ToldOnce.history(folder / "mlflow.json", recipe)
    logger = MLFlowLogger(
        os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT),
        _run_name(folder),
        os.environ.get("MLFLOW_TRACKING_URI"),
        save_dir=str(folder.absolute() / "mlruns"),
        run_id=told.run_id or None,
    )
    run_id = str(logger.version) if rank() == 0 else ""  # asks for it, and makes it where there is none
    return ToldOnce(logger, told.of_run(run_id), recipe)


def _none(folder: Path, step: int, recipe: Recipe) -> bool:  # noqa: ARG001 (of all kinds)
    return False


def _run_name(folder: Path) -> str:
    return folder.absolute().name


LOGGERS: Mapping[str, Kind] = MappingProxyType(
    {
        "tensorboard": Kind("event files in OUT/tensorboard", _tensorboard, "tensorboard", "train"),
        "csv": Kind("OUT/csv/metrics.csv", _csv),
        "wandb": Kind("a run of Weights & Biases", _wandb, "wandb", "wandb"),
        "mlflow": Kind("a run of MLflow, in OUT/mlruns where no server is named", _mlflow, "mlflow", "mlflow"),
        "none": Kind("log.csv alone", _none),
    }
)
