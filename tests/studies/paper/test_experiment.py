"""What all experiments have in common: results that are there, beginnings, requests that fail."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from torch import Tensor

from bagnet.figures.picture import Picture
from bagnet.runs.store import Busy, OtherRun, claim
from bagnet.statistics import Estimate, mean
from bagnet.studies.paper.experiment import RESULT, UNFINISHED, Experiment, Findings, Workplace, as_json
from bagnet.studies.paper.measured import Columns, measured
from bagnet.studies.paper.needs import Needs
from bagnet.studies.paper.page import run_all
from bagnet.studies.paper.subjects import Material, Subject, gather

from .material import images_of, noise, saying, small_bagnet, stopping_after

SIZE = 9


@dataclass(frozen=True)
class Largest(Columns):
    logit: float


@dataclass(frozen=True)
class Measures:
    largest: Estimate


@dataclass(frozen=True)
class Probe(Experiment):
    """How large the largest logit of the first model is, in figures of any number of sides."""

    title = "The largest logit"
    question = "How large is it?"
    paper = "Nothing."
    differs = "All."
    needs = Needs(bagnets=True)

    sides: tuple[int, ...] = (8,)
    word: str = ""

    def find(self, material: Material, work: Workplace) -> Findings:
        def measure(subject: Subject, row: int, x: Tensor) -> Mapping[str, Largest]:
            return {"logit": Largest(float(subject.logits(x).max()))}

        rows = measured(work, material, material.bagnets[:1], lambda _: ["logit"], measure, Largest.of_row)
        values = [row.value.logit for row in rows.rows]
        figures = {f"probe-{side}": Picture(Figure(figsize=(1, 1))) for side in self.sides}
        return Findings(Measures(mean(values)), [f"It is {np.mean(values):.3f}."], figures)


@pytest.fixture
def material(tmp_path: Path) -> Material:
    data = images_of(tmp_path / "images.npz", noise(6, SIZE), [0, 1, 2] * 2)
    return gather([("it", small_bagnet(SIZE))], data, batch_size=2)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_it_leaves(material: Material, tmp_path: Path) -> None:
    result = Probe().run(replace(material, request="images.npz --model it"), tmp_path)
    assert set(files_of(result.folder)) == {"probe.csv", "probe-8.png", "probe-8.svg", RESULT}
    record = result.record
    assert record == json.loads((result.folder / RESULT).read_text())
    assert record["experiment"] == Probe.name == "probe"
    assert set(record["measures"]["largest"]) == {"value", "low", "high"}
    assert record["settings"] == {**material.settings(), "sides": [8], "word": ""}
    assert record["command"] == f"bagnet paper probe images.npz --model it --images 6 --set sides=8 --out {tmp_path}"
    assert (result.unusable, [path.name for path in result.figures]) == ({}, ["probe-8.png"])
    assert not result.there_already
    assert Probe().run(material, tmp_path).there_already


def test_what_is_measured_outlives_a_figure_that_fails(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a figure that is missed is drawn again."""
    whole = Probe().run(material, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(Picture, "save", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            Probe().run(material, tmp_path)
    stages: list[str] = []
    result = Probe().run(replace(material, progress=lambda progress: stages.append(progress.stage)), tmp_path)
    assert stages == [], "what was measured is not measured again"
    assert result.record["measures"] == whole.record["measures"]
    assert not (result.folder / UNFINISHED).exists()
    result.figures[0].unlink()
    assert not Probe().run(material, tmp_path).there_already
    assert result.figures[0].is_file()


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_another_run_at_work_is_left_alone(material: Material, tmp_path: Path) -> None:
    """The second gives up; what the first has kept stays as it is."""
    folder = tmp_path / "probe" / UNFINISHED
    with claim(folder, {}) as store:
        store.rows("measured").append([("it|first", {"logit": 1.0})])
        before = files_of(folder)
        for overwrite in (False, True):
            with pytest.raises(Busy, match="another run is writing it"):
                Probe().run(material, tmp_path, overwrite)
        assert files_of(folder) == before


def test_a_beginning_of_other_settings_is_not_replaced_unasked(material: Material, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Probe().run(replace(material, progress=stopping_after(2)), tmp_path)
    folder = tmp_path / "probe" / UNFINISHED
    before = files_of(folder)
    changed = gather([("it", small_bagnet(SIZE))], tmp_path / "images.npz")
    changed.subjects[0].module.fc.weight.data.mul_(2)  # type: ignore[union-attr,operator]
    with pytest.raises(OtherRun, match=r"other models.*--overwrite"):
        Probe().run(changed, tmp_path)
    with pytest.raises(OtherRun, match=r"other models.*--overwrite"):
        run_all([Probe()], changed, tmp_path, {})
    assert files_of(folder) == before
    replaced = Probe().run(changed, tmp_path, overwrite=True)
    assert replaced.record["measures"] == Probe().run(changed, tmp_path / "new").record["measures"], (
        "nothing of the first is left"
    )


def test_a_result_of_other_settings_is_not_replaced_unasked(material: Material, tmp_path: Path) -> None:
    result = Probe().run(material, tmp_path)
    before = files_of(result.folder)
    with pytest.raises(OtherRun, match=r"sides \[8\] instead of \[4\]"):
        Probe((4,)).run(material, tmp_path)
    with pytest.raises(OtherRun, match="images 6 instead of 3"):
        run_all([Probe()], material, tmp_path, {"probe": 3})
    assert files_of(result.folder) == before
    assert not Probe((4,)).run(material, tmp_path, overwrite=True).there_already
    assert {path.name for path in result.folder.glob("*.svg")} == {"probe-4.svg"}, "figures of the old result are gone"


def test_a_request_that_fails_replaces_nothing(material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it does not suit the experiment, or the experiment finds so while it is at work."""
    result = Probe().run(material, tmp_path)
    before = files_of(result.folder)
    network = gather([("it", saying(lambda x: x.mean((2, 3)), 3, SIZE))], tmp_path / "images.npz")
    with pytest.raises(ValueError, match="probe needs the evidence of windows"):
        Probe().run(network, tmp_path, overwrite=True)
    with monkeypatch.context() as patch:
        patch.setattr(Probe, "find", _failing)
        with pytest.raises(ValueError, match="no room"):
            Probe((4,)).run(material, tmp_path, overwrite=True)
    assert files_of(result.folder) == before
    assert Probe().run(material, tmp_path).there_already


def _failing(*_: object) -> Findings:
    raise ValueError("no room")


def test_options_are_read_from_text() -> None:
    assert Probe.with_options({"sides": "4, 8", "word": "a"}) == Probe((4, 8), "a")
    with pytest.raises(ValueError, match="probe has no option 'size': there are sides, word"):
        Probe.with_options({"size": "4"})
    with pytest.raises(ValueError, match="sides='4;8': this is not numbers separated by commas"):
        Probe.with_options({"sides": "4;8"})


def test_results_become_json_once() -> None:
    value = {
        1: Measures(Estimate(np.nan, -np.inf, 1.5)),
        "array": np.array([[1, 2]], np.int64),
        "numbers": (np.float32(0.5), np.int64(3), np.bool_(True), True, None, "word"),
    }
    assert as_json(value) == {
        "1": {"largest": {"value": None, "low": None, "high": 1.5}},
        "array": [[1, 2]],
        "numbers": [0.5, 3, True, True, None, "word"],
    }
    assert json.loads(json.dumps(as_json(value), allow_nan=False)) == as_json(value)
