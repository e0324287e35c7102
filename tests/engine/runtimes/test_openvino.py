"""OpenVINO compiles few programs, however many input shapes there are, and answers alike with each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from bagnet.engine.prepare import Prepared, prepare
from bagnet.engine.runtimes import openvino
from bagnet.engine.runtimes.openvino import OpenVINORunner
from bagnet.evidence.edits import change, occlude
from bagnet.geometry import Box
from bagnet.model import BagNet

from ..classifiers import small_bagnet, small_prepared

pytest.importorskip("openvino")


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The input shapes that programs are compiled for from here on; None is any shape."""
    shapes: list[object] = []
    compile_for = OpenVINORunner._compiled

    def noting(self: OpenVINORunner, stages: object, shape: object) -> object:
        shapes.append(None if shape is None else tuple(shape))  # type: ignore[arg-type]
        return compile_for(self, stages, shape)  # type: ignore[arg-type]

    monkeypatch.setattr(OpenVINORunner, "_compiled", noting)
    return shapes


@pytest.fixture
def exact(small: Callable[..., BagNet]) -> BagNet:
    return small(kernel3=(1, 1, 1, 0))


@pytest.fixture
def fast(exact: BagNet) -> Prepared:
    return prepare(exact, "openvino", threads=1)


def close(values: torch.Tensor, expected: torch.Tensor) -> bool:
    return bool((values - expected).abs().max() <= 1e-5 * expected.abs().max())


@torch.inference_mode()
def test_a_box_anywhere_needs_one_program(fast: Prepared, exact: BagNet, compiled: list[object]) -> None:
    x, random = torch.randn(1, 3, 61, 61), np.random.default_rng(0)
    values = exact.evidence(x)
    for left, top in random.integers(0, 46, (12, 2)).tolist():
        edited, box = x.clone(), Box(left, top, left + 16, top + 16)
        edited[(..., *box.slices)] = 0
        assert close(change(fast, values, edited, box), exact.evidence(edited))
        assert close(occlude(fast, x, [box], values=values), exact(edited))
    assert len(compiled) == 1


@torch.inference_mode()
def test_shapes_beyond_the_few_share_a_program(
    fast: Prepared, exact: BagNet, compiled: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "_SHAPES", 2)
    monkeypatch.setattr(openvino, "_PATIENCE", 3)
    for side in range(30, 40):
        x = torch.randn(1, 3, side, side)
        assert close(fast.evidence(x), exact.evidence(x))
    assert compiled == [(1, 3, 30, 30), (1, 3, 31, 31), None]
    for _ in range(3):
        fast.evidence(x)
    assert compiled[3:] == [(1, 3, 39, 39)]  # it came often
    fast.evidence(torch.randn(1, 3, 31, 31))
    assert len(compiled) == 4  # the least recently used one made room


@pytest.mark.parametrize("precision", ["bf16", "mixed", "int8"])
@torch.inference_mode()
def test_the_program_for_any_shape_is_as_right_in_lower_precisions(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    exact, fast = small_bagnet(), small_prepared("openvino", precision)
    images = [torch.randn(1, 3, side, side) for side in (30, 41)]
    expected = [(fast.evidence(x), fast(x)) for x in images]
    fast._runner._programs.clear()  # type: ignore[attr-defined]
    monkeypatch.setattr(openvino, "_SHAPES", 0)
    for x, answers in zip(images, expected, strict=True):
        true = (exact.evidence(x), exact(x))
        for flexible, fixed, right in zip((fast.evidence(x), fast(x)), answers, true, strict=True):
            error = (fixed - right).abs().max()  # both programs round, not alike
            assert (flexible - right).abs().max() <= 2 * error + 1e-2 * right.abs().max()
    assert fast.precision == precision
