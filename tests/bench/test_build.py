"""What a case names is what is built: its arithmetic counted by hand, its outputs the published network's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bagnet.bench import build
from bagnet.bench.build import Workload, built
from bagnet.bench.cases import WHOLE, Case
from bagnet.engine.program import CannotRun
from bagnet.zoo.names import DEFAULT


def bagnet9_by_hand(side: int) -> int:
    """Multiply-adds of its convolutions for one square image, the 1x1 stem merged into the 3x3 behind it."""
    side -= 2
    total, channels = side**2 * 64 * 3 * 9, 64
    for width, blocks, stride, kernel in ((64, 3, 2, 3), (128, 4, 2, 3), (256, 6, 2, 1), (512, 3, 1, 1)):
        for block in range(blocks):
            first = block == 0
            size, step = (kernel, stride) if first else (1, 1)
            after = (side - size) // step + 1
            shortcut = channels * 4 * width if first else 0
            total += side**2 * channels * width + after**2 * (width * width * size**2 + width * 4 * width + shortcut)
            side, channels = after, 4 * width
    return total


def output(workload: Workload) -> Tensor:
    with torch.inference_mode():
        return workload()


def test_logits_as_published_and_prepared() -> None:
    plain, *about = built(Case("bagnet9", "published", batch=2, size=33))
    fast, *about_fast = built(Case("bagnet9", batch=2, size=33))
    assert about == about_fast == ["float32", 2 * (bagnet9_by_hand(33) + 2048 * 1000), ""]
    assert (plain.extrapolate, fast.extrapolate, fast.executed()) == (1.0, 1.0, "float32")
    expected = output(plain)
    assert expected.shape == (2, 1000)
    assert 0 < (output(fast) - expected).abs().max() <= 1e-4 * expected.abs().max(), "other arithmetic, the same answers"


def test_a_map_by_the_loop_over_windows_is_extrapolated_from_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "PATCH_BATCH", 4)
    loop, precision, cost, note = built(Case("bagnet9", "published", batch=1, task="map", size=12))
    assert (precision, note) == ("float32", "extrapolated from 8 of 144 windows, 4 at a time")
    assert loop.extrapolate == 144 / 8
    values = output(loop)
    assert values.shape == (1, 1, 12, 12)
    assert values.flatten().isfinite().tolist() == [True] * 8 + [False] * 136
    fast, _, cost_fast, _ = built(Case("bagnet9", batch=1, task="map", size=12))
    assert cost == cost_fast
    expected = output(fast)
    assert (values - expected).flatten()[:8].abs().max() <= 1e-4 * expected.abs().max()


def test_a_windowed_network_costs_what_its_windows_cost() -> None:
    workload, precision, cost, note = built(Case(DEFAULT, batch=1))
    _, _, whole, _ = built(Case(f"{DEFAULT}{WHOLE}", "published", batch=1, size=128))
    assert (precision, note) == ("float32", "")
    assert cost == 36 * whole
    assert 4.4e9 < cost < 4.8e9
    assert output(workload).shape == (1, 1000)


def test_resnet50_costs_what_is_known_of_it() -> None:
    workload, precision, cost, note = built(Case("resnet50", "published", batch=2))
    assert (precision, cost, note) == ("float32", 2 * 4_089_184_256, "")
    assert workload.extrapolate == 1.0


def test_what_cannot_run_here_says_so() -> None:
    with pytest.raises(CannotRun, match="torch on the CPU runs"):
        built(Case("bagnet9", precision="tf32", batch=1, size=33))
