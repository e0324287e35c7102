"""Whoever is told how training goes is told each step once, however often the run was interrupted."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import lightning.pytorch.loggers as lightning_loggers
import pytest
from lightning.pytorch.loggers import Logger

from bagnet.data.labels import LabelledImages
from bagnet.training import fitting
from bagnet.training.loggers import LOGGERS, logger_kind
from bagnet.training.recipe import Recipe
from bagnet.training.run import train
from bagnet.training.told_once import ToldOnce

from .conftest import fitted, fresh


class Cut(Exception):
    """The run is interrupted."""


class Service(Logger):
    """Stands for a logger whose package is not here: keeps what it is told, of all its instances together."""

    made: list[dict[str, Any]] = []  # noqa: RUF012 (reset by each test)
    told: list[tuple[str, int | None, str, float]] = []  # noqa: RUF012
    hyperparameters: list[dict[str, Any]] = []  # noqa: RUF012
    ended: list[str] = []  # noqa: RUF012

    def __init__(self, *names: str | None, **keywords: Any) -> None:
        self.id = keywords.get("id") or keywords.get("run_id") or f"run {len(self.made)}"
        self.made.append({"names": names, **keywords})
        self.experiment_ = SimpleNamespace(finish=lambda: self.ended.append("finish"))

    @property
    def name(self) -> str:
        return "service"

    @property
    def version(self) -> str:
        return str(self.id)

    @property
    def experiment(self) -> Any:
        return self.experiment_

    def log_hyperparams(self, params: dict[str, Any]) -> None:  # type: ignore[override]
        self.hyperparameters.append(params)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:  # type: ignore[override]
        self.told += [(str(self.id), step, name, float(value)) for name, value in metrics.items()]

    def finalize(self, status: str) -> None:
        self.ended.append(status)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> type[Service]:
    for name in ("made", "told", "hyperparameters", "ended"):
        monkeypatch.setattr(Service, name, [])
    for package, kind in (("wandb", "WandbLogger"), ("mlflow", "MLFlowLogger")):
        monkeypatch.setitem(sys.modules, package, ModuleType(package))
        monkeypatch.setattr(lightning_loggers, kind, Service)
    for name in ("WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return Service


def cut_at(step: int, images: LabelledImages, recipe: Recipe, folder: Path, logger: str) -> None:
    """Twelve steps in two epochs, a checkpoint every four, interrupted before one of them is finished."""
    left = step

    def cut(*_: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Cut

    network = fresh(images)
    network.register_forward_pre_hook(cut)
    with pytest.raises(Cut):
        fitted(images, recipe, folder, network=network, logger=logger)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint every four steps, and figures at each."""
    monkeypatch.setattr(fitting, "CHECKPOINT_STEPS", 4)
    monkeypatch.setattr(fitting, "LOG_STEPS", 1)


def rows_of(folder: Path) -> list[tuple[str, str, str]]:
    """(step, loss, selection loss) of a run's CSV."""
    with (folder / "csv" / "metrics.csv").open(newline="") as file:
        return [(row["step"], row["train/loss"], row["select/loss"]) for row in csv.DictReader(file)]


@pytest.mark.usefixtures("often")
def test_csv_has_each_step_once(few: LabelledImages, short: Recipe, tmp_path: Path) -> None:
    fitted(few, short, tmp_path / "whole", logger="csv")
    whole = rows_of(tmp_path / "whole")
    assert [int(step) for step, loss, _ in whole if loss] == list(range(12))
    assert [int(step) for step, _, loss in whole if loss] == [5, 11]
    for step in (3, 7, 6):  # before the first checkpoint, and behind the second
        cut_at(step, few, short, tmp_path / "cut", "csv")
    fitted(few, short, tmp_path / "cut", logger="csv")
    assert rows_of(tmp_path / "cut") == whole
    assert not (tmp_path / "cut" / "tensorboard").exists()


def test_nobody(few: LabelledImages, short: Recipe, tmp_path: Path) -> None:
    fitted(few, short.changed(epochs=1), tmp_path, logger="none")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.ckpt", "log.csv"]


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_service_is_told_each_step_once(
    name: str, few: LabelledImages, short: Recipe, tmp_path: Path, service: type[Service]
) -> None:
    fitted(few, short, tmp_path / "whole", logger=name)
    whole = [(step, figure, value) for _, step, figure, value in service.told if figure != "epoch"]
    assert [step for step, figure, _ in whole if figure == "train/loss"] == list(range(12))
    service.told.clear()
    service.hyperparameters.clear()
    for step in (3, 7, 6):
        cut_at(step, few, short, tmp_path / "cut", name)
    fitted(few, short, tmp_path / "cut", logger=name)
    assert sorted((step, figure, value) for _, step, figure, value in service.told if figure != "epoch") == sorted(whole)
    assert len({run for run, *_ in service.told}) == 1, "all parts are one run"
    assert service.hyperparameters == [short.to_dict()]
    assert service.ended[-1] == ("finish" if name == "wandb" else "success"), "the process may train another"


def test_what_the_services_are_asked_for(
    few: LabelledImages, short: Recipe, tmp_path: Path, service: type[Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    once = short.changed(epochs=1)
    fitted(few, once, tmp_path / "first", logger="wandb")
    (made,) = service.made
    assert (made["name"], made["project"], made["save_dir"]) == ("first", "bagnet", tmp_path / "first")
    assert made["id"] == json.loads((tmp_path / "first" / "wandb.json").read_text())["run_id"]
    fitted(few, once, tmp_path / "second", logger="mlflow")
    assert service.made[1]["names"] == ("bagnet", "second", None)
    assert service.made[1]["save_dir"] == str(tmp_path / "second" / "mlruns")
    monkeypatch.setenv("WANDB_PROJECT", "photos")
    fitted(few, once, tmp_path / "third", logger="wandb")
    assert service.made[2]["project"] == "photos"


def test_a_lengthened_run_is_a_new_one(short: Recipe, tmp_path: Path, service: type[Service]) -> None:
    path = tmp_path / "wandb.json"
    first = ToldOnce(Service(), ToldOnce.history(path, short).of_run("a"), short)
    first.log_metrics({"loss": 1.0, "epoch": 0}, 3)
    again = ToldOnce.history(path, short)
    assert (again.run_id, again.steps) == ("a", {"loss": 3, "epoch": 3})
    longer = ToldOnce.history(path, short.changed(epochs=9))
    assert (longer.run_id, longer.steps) == ("", {})


def test_a_logger_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no logger 'neptune': there are tensorboard, csv, wandb, mlflow, none"):
        train(tmp_path / "nothing is read before", tmp_path / "out", logger="neptune")


@pytest.mark.parametrize(("name", "command"), [("wandb", r"bagnet\[wandb\]"), ("mlflow", r"bagnet\[mlflow\]")])
def test_a_missing_package_is_named_before_training(
    name: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"needs the package '{name}': pip install '{command}'"):
        train(tmp_path / "nothing is read before", tmp_path / "out", logger=name)


def test_the_default_is_tensorboard_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert logger_kind() is LOGGERS["tensorboard"]
    monkeypatch.setattr("bagnet.training.loggers.find_spec", lambda _: None)
    assert logger_kind() is LOGGERS["none"]
