"""What holds of every experiment: it is named once, says what it is, leaves its files, and goes on where it was cut short."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bagnet.bench.cases import Case
from bagnet.bench.result import Bench, Timing
from bagnet.progress import Listener, Progress
from bagnet.studies.paper import catalogue, runtime
from bagnet.studies.paper.catalogue import NAMES, UnknownExperiment, experiment
from bagnet.studies.paper.experiment import Experiment, as_json
from bagnet.studies.paper.subjects import Material, gather

from .material import chain, findings_of, images_of, noise, small_bagnet, small_windowed, stopping_after

SIZE = 17
QUICK = {
    "heatmaps": {"count": "2"},
    "patches": {"count": "1", "shown": "1"},
    "mistakes": {"count": "1"},
    "texturise": {"steps": "2"},
    "interactions": {"sides": "4"},
    "masking": {"methods": "saliency"},
    "sensitivity": {"sides": "8", "methods": "saliency"},
    "layout": {"tile": "8", "distances": "0,8"},
    "thresholds": {"percentiles": "50"},
}


@pytest.fixture
def material(tmp_path: Path) -> Material:
    data = images_of(tmp_path / "images.npz", noise(2, SIZE), [0, 2])
    return gather([("bag", small_bagnet(SIZE)), ("net", chain(SIZE))], data, batch_size=1)


def quick(name: str) -> Experiment:
    return experiment(name, QUICK.get(name))


def timed(cases: Sequence[Case], rounds: int, progress: Listener) -> Bench:
    for number in range(2):
        progress(Progress("timing", number))
    return Bench({"processor": "a machine"}, {}, [Timing(case, [1.0] * rounds, executed="float32") for case in cases], rounds)


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_goes_on_where_it_was_cut_short_and_leaves_its_files(
    name: str, material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes out is the same, and what was measured is not measured again."""
    monkeypatch.setattr(runtime, "bench", timed)
    reports: list[Progress] = []
    whole = findings_of(quick(name), replace(material, progress=reports.append), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        quick(name).run(replace(material, progress=stopping_after(len(reports) - 1)), tmp_path)
    rest: list[Progress] = []
    result = quick(name).run(replace(material, progress=rest.append), tmp_path)
    assert result.record["measures"] == as_json(whole.measures)
    assert result.sentences == list(whole.sentences)
    assert len(rest) < len(reports) or name == "runtime"  # whose times are to be of one go
    figures = {f"{figure}{ending}" for figure in whole.figures for ending in (".png", ".svg")}
    files = {path.name: path.stat().st_size for path in result.folder.iterdir() if path.is_file()}
    assert set(files) == {*figures, f"{name}.csv", "result.json"}
    assert figures
    assert min(files.values()) > 0


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_takes_a_network_that_is_shown_windows_of_whole_photographs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By itself and beside another, whatever shape the photographs have."""
    monkeypatch.setattr(runtime, "bench", timed)
    wide = np.concatenate([noise(2, SIZE), noise(2, SIZE, 1)[:, :, :6]], axis=2)
    models = [("windows", small_windowed(SIZE)), ("net", chain(SIZE))]
    material = gather(models, images_of(tmp_path / "images.npz", wide, [0, 2]), batch_size=1)
    assert findings_of(quick(name), material, tmp_path / "beside").sentences
    if not quick(name).needs.several:
        alone = replace(material, subjects=material.subjects[:1])
        quick(name).check(alone)


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_says_what_it_is(name: str) -> None:
    chosen = quick(name)
    assert chosen.name == name
    for words in (chosen.title, chosen.question, chosen.paper, chosen.differs):
        assert words[0].isupper() or not words[0].isalpha()
    assert chosen.title[-1] != "."


def test_every_experiment_is_in_the_catalogue() -> None:
    files = Path(catalogue.__file__).parent.glob("*.py")
    assert {path.stem for path in files if "(Experiment):" in path.read_text(encoding="utf-8")} == set(NAMES)


def test_an_unknown_name() -> None:
    with pytest.raises(UnknownExperiment, match="no experiment 'eror', did you mean errors: there are accuracy, runtime,"):
        experiment("eror")
    with pytest.raises(ValueError, match="accuracy has no option 'sides': it has none"):
        experiment("accuracy", {"sides": "8"})


def test_the_names_need_no_torch() -> None:
    code = "import sys; from bagnet.studies.paper.catalogue import NAMES; print('torch' in sys.modules, len(NAMES))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", str(len(NAMES))]
