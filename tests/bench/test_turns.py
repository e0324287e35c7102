"""Cases are timed in turn, their outputs compared, and what cannot run says why."""

from __future__ import annotations

import pytest
import torch

from bagnet.bench.cases import Case
from bagnet.bench.turns import bench


def test_nothing_to_time() -> None:
    with pytest.raises(ValueError, match="a bench needs a case"):
        bench([])


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_its_columns_say_why() -> None:
    (timing,) = bench([Case("bagnet9", "published", batch=1, size=33, device="cuda")], 1).timings
    assert timing.executed == ""
    assert "CUDA" in timing.note or "NVIDIA" in timing.note


@pytest.mark.slow
def test_a_small_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # threads that wait for each other take the time of both cores
    pytest.importorskip("openvino")
    plain = Case("bagnet9", "published", batch=1, size=33)
    small_map = Case("bagnet9", "published", batch=1, task="map", size=47)
    cases = [
        plain,
        Case("bagnet9", batch=1, size=33),
        Case("bagnet9", runtime="openvino", batch=1, size=33),
        Case("bagnet9", precision="tf32", batch=1, size=33),
        small_map,
        Case("bagnet9", batch=1, task="map", size=47),
    ]
    result = bench(cases, rounds=2)
    for timing in (*result.timings[:3], *result.timings[4:]):
        assert len(timing.seconds) == 2
        assert timing.memory > 0
        assert timing.executed == "float32"
    assert result.timings[1].error is not None
    assert result.timings[1].error < 1e-4
    assert result.timings[5].error is not None
    assert result.timings[5].error < 1e-4  # on the windows that the loop's sample covers
    assert result.timings[3].note.startswith("torch on the CPU runs")
    assert max(result.ceiling.values()) > 1e9
