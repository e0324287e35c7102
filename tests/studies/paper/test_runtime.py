from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bagnet.bench.cases import Case
from bagnet.bench.result import Bench, Timing
from bagnet.studies.paper import runtime
from bagnet.studies.paper.runtime import Runtime
from bagnet.studies.paper.subjects import gather

from .material import images_of, noise, small_bagnet

SECONDS = {"bagnet9": 3.0, "bagnet17": 4.0, "bagnet33": 5.0, "resnet50": 1.0}


def timed(cases: Sequence[Case], rounds: int, progress: Any) -> Bench:
    """As if each case took what the table says, a prepared one half of it."""
    found = []
    for case in cases:
        seconds = SECONDS[case.network] / (2 if case.how == "prepared" else 1)
        missing = case.runtime == "openvino"
        found.append(Timing(case, [] if missing else [seconds] * rounds, executed="" if missing else "float32"))
    return Bench({"processor": "a machine"}, {}, found, rounds)


def test_ratios_to_resnet50(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "bench", timed)
    material = gather([("any", small_bagnet(9))], images_of(tmp_path / "a.npz", noise(2, 9), [0, 1]))
    record = Runtime(batch=4).run(material, tmp_path).record
    assert record["measures"]["times_resnet50"] == {"bagnet9": 3.0, "bagnet17": 4.0, "bagnet33": 5.0}
    assert "bagnet9 torch float32: 2.67 images/s against ResNet-50's 4" in record["sentences"][1]


@pytest.mark.slow
def test_on_this_machine(tmp_path: Path) -> None:
    material = gather([("any", small_bagnet(9))], images_of(tmp_path / "a.npz", noise(2, 9), [0, 1]))
    record = Runtime(size=65, batch=1, rounds=1, runtimes=("torch",)).run(material, tmp_path).record
    assert set(record["measures"]["times_resnet50"]) == {"bagnet9", "bagnet17", "bagnet33"}
    assert (tmp_path / "runtime/runtime.csv").read_text().count("\n") == 1 + 7
