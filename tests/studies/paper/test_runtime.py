from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from bagnet.bench.cases import Case
from bagnet.bench.result import Bench, Timing
from bagnet.progress import Listener
from bagnet.studies.paper import runtime
from bagnet.studies.paper.page import run_all
from bagnet.studies.paper.runtime import Runtime
from bagnet.studies.paper.subjects import Material, gather

from .material import findings_of, images_of, noise, small_bagnet

SECONDS = {"bagnet9": 3.0, "bagnet17": 4.0, "bagnet33": 5.0, "resnet50": 1.0}


def timed(cases: Sequence[Case], rounds: int, progress: Listener) -> Bench:
    """As if each case took what the table says, a prepared one half of it."""
    timings = []
    for case in cases:
        seconds = SECONDS[case.network] / (2 if case.how == "prepared" else 1)
        missing = case.runtime == "openvino"
        timings.append(Timing(case, [] if missing else [seconds] * rounds, executed="" if missing else "float32"))
    return Bench({"processor": "a machine"}, {}, timings, rounds)


def material_of(folder: Path, images: int) -> Material:
    return gather([("any", small_bagnet(9))], images_of(folder / f"{images}.npz", noise(images, 9), [0, 1] * (images // 2)))


def test_ratios_to_resnet50(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "bench", timed)
    findings = findings_of(Runtime(batch=4), material_of(tmp_path, 2), tmp_path)
    assert findings.measures.times_resnet50 == {"bagnet9": 3.0, "bagnet17": 4.0, "bagnet33": 5.0}
    assert "bagnet9 torch float32: 2.67 images/s against ResNet-50's 4" in findings.sentences[1]


def test_images_do_not_matter_and_none_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "bench", timed)
    results, _, page = run_all([Runtime(batch=4)], material_of(tmp_path, 2), tmp_path, {})
    assert results[0].record["settings"] == {"size": 224, "batch": 4, "rounds": 3, "runtimes": ["torch", "openvino"]}
    assert "--images" not in results[0].record["command"]
    assert "2 images" not in page.read_text()
    assert Runtime(batch=4).run(material_of(tmp_path, 4), tmp_path).there_already


@pytest.mark.slow
def test_on_this_machine(tmp_path: Path) -> None:
    record = Runtime(size=65, batch=1, rounds=1, runtimes=("torch",)).run(material_of(tmp_path, 2), tmp_path).record
    assert set(record["measures"]["times_resnet50"]) == {"bagnet9", "bagnet17", "bagnet33"}
    assert (tmp_path / "runtime/runtime.csv").read_text().count("\n") == 1 + 7
