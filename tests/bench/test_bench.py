"""The bench measures what it says, in turn, and says what it cannot measure."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from bagnet.architecture import Architecture
from bagnet.bench import Bench, Case, Timing, bench, map_cases, standard_cases
from bagnet.model import BagNet


def test_ratios_and_shares_are_those_of_the_medians() -> None:
    plain, fast = Case(how="published"), Case(runtime="openvino")
    timings = [
        Timing(plain, [4.0, 9.0, 4.0], executed="float32", multiply_adds=100),
        Timing(fast, [1.0, 2.0, 3.0], executed="float32", multiply_adds=100),
        Timing(Case(precision="bf16"), note="no bf16"),
    ]
    rows = Bench({}, {"torch float32": 40.0, "openvino float32": 100.0, "torch bf16": 400.0}, timings, 3).rows()
    assert rows[1]["times_published"] == 2.0
    assert rows[1]["per_second"] == 4.0  # a batch of 8 in 2 seconds
    assert rows[1]["ceiling_share"] == 0.5
    assert rows[2]["per_second"] is None
    assert json.loads(json.dumps(rows))[2]["milliseconds"] is None  # NaN would be no JSON
    assert rows[2]["ceiling_share"] is None


def test_a_share_is_of_the_ceiling_in_the_same_precision() -> None:
    ceiling = {"torch float32": 50.0, "openvino bf16": 200.0}
    timing = Timing(Case(precision="bf16"), [1.0], executed="bf16", multiply_adds=100)
    assert Bench({}, ceiling, [timing], 1).share(timing) == 0.5
    timing.executed = "int8"
    assert Bench({}, ceiling, [timing], 1).share(timing) is None


def test_the_columns_for_a_gpu() -> None:
    cases = standard_cases(batches=[8], device="cuda")
    assert {case.device for case in cases} == {"cuda"}
    assert {case.precision for case in cases if case.network == "bagnet33"} == {"float32", "tf32", "bf16"}
    assert {(case.how, case.precision) for case in cases if case.network == "resnet50"} == {
        ("published", "float32"),
        ("prepared", "tf32"),
        ("prepared", "bf16"),
    }
    assert {case.precision for case in map_cases(device="cuda")} == {"float32", "tf32", "bf16"}


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_its_columns_say_why() -> None:
    (timing,) = bench([Case("bagnet9", "published", batch=1, size=33, device="cuda")], 1).timings
    assert timing.executed == ""
    assert "CUDA" in timing.note or "NVIDIA" in timing.note


def test_the_tables_hold_every_runtime_and_the_comparisons() -> None:
    cases = standard_cases(batches=[8])
    assert Case(how="published") in cases
    assert Case("resnet50", "published") in cases
    assert {case.runtime for case in cases} == {"torch", "onnxruntime", "openvino"}
    assert {case.precision for case in cases} == {"float32", "mixed", "bf16", "int8"}
    assert map_cases()[0].how == "published"


@pytest.mark.parametrize(("network", "size", "reason"), [("resnet18", 224, "there are bagnet9"), ("bagnet17", 16, "17 x 17")])
def test_what_cannot_be_timed_is_said_at_once(network: str, size: int, reason: str) -> None:
    for table in (standard_cases, map_cases):
        with pytest.raises(ValueError, match=reason):
            table(network, size=size)  # type: ignore[operator]


def test_nothing_to_time() -> None:
    with pytest.raises(ValueError, match="a bench needs a case"):
        bench([])


@pytest.mark.slow
def test_a_small_run() -> None:
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
    assert result.timings[3].note.startswith("torch on cpu runs")
    assert max(result.ceiling.values()) > 1e9


@pytest.mark.parametrize("kernel3", [(1, 1, 0, 0), (1, 1, 1, 1)])
def test_the_kept_baseline_is_the_published_network(kernel3: tuple[int, int, int, int]) -> None:
    """`benchmarks/published.py` has the published state dict and gives the answers of `bagnet.model`."""
    path = Path(__file__).parents[2] / "benchmarks" / "published.py"
    spec = importlib.util.spec_from_file_location("published", path)
    assert spec is not None
    assert spec.loader is not None
    published = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(published)
    kept = published.PublishedBagNet(kernel3).eval()
    ours = BagNet(Architecture(kernel3)).eval()
    assert list(kept.state_dict()) == list(ours.state_dict())
    ours.load_state_dict(kept.state_dict())
    x = torch.randn(1, 3, 65, 65)
    with torch.inference_mode():
        expected = kept(x)
        assert (ours(x) - expected).abs().max() <= 1e-5 * expected.abs().max()
