"""Every runtime gives the same answers, says what it executes, and refuses what it cannot do."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import bagnet
from bagnet.engine.prepare import Prepared, prepare
from bagnet.engine.program import CannotRun
from bagnet.engine.runtimes import RUNTIMES
from bagnet.evidence.dense import dense
from bagnet.evidence.edits import change
from bagnet.geometry import Box
from bagnet.model import BagNet

from .classifiers import small_bagnet, small_prepared


@pytest.fixture
def model(small: Callable[..., BagNet]) -> BagNet:
    return small(kernel3=(1, 1, 1, 0), width=8)


@pytest.fixture(params=RUNTIMES)
def prepared(request: pytest.FixtureRequest) -> Prepared:
    """`small_bagnet()` on each runtime."""
    return small_prepared(request.param)


def close(values: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-5) -> bool:
    assert values.shape == expected.shape
    return bool((values - expected).abs().max() <= tolerance * expected.abs().max())


@torch.inference_mode()
def test_same_answers(prepared: Prepared) -> None:
    model = small_bagnet()
    for shape in ((2, 3, 40, 57), (1, 3, 64, 64)):
        x = torch.randn(shape)
        assert close(prepared(x), model(x))
        assert close(prepared.evidence(x, [3, 1]), model.evidence(x, [3, 1]))
        assert close(prepared.features(x), model.features(x))
    tiles = torch.randn(2, 3, 3, 40, 57)
    assert close(prepared(tiles), model(tiles))
    assert prepared.precision == "float32"
    assert prepared.geometry == model.geometry
    assert prepared.classes == model.classes


@torch.inference_mode()
def test_explain_dense_and_change_take_it(prepared: Prepared) -> None:
    model, x = small_bagnet(), torch.randn(3, 41, 44)
    assert np.allclose(bagnet.explain(prepared, x).values, bagnet.explain(model, x).values, atol=1e-4)
    assert close(dense(prepared, x[None], [2]).values, dense(model, x[None], [2]).values)
    edited = x[None].clone()
    edited[..., 10:20, 10:20] = 0
    changed = change(prepared, prepared.evidence(x[None]), edited, Box(10, 10, 20, 20))
    assert close(changed, model.evidence(edited))


def test_later_changes_of_the_model_are_not_seen(model: BagNet) -> None:
    x = torch.randn(1, 3, 40, 40)
    prepared = prepare(model)
    before = prepared(x)
    with torch.no_grad():
        model.fc.weight.zero_()
        model.conv2.weight.zero_()
    assert torch.equal(prepared(x), before)


def test_verify_measures(model: BagNet) -> None:
    prepared = prepare(model)
    images = torch.randn(6, 3, 40, 40)
    report = prepared.verify(images)
    assert (report.images, report.top1_agreement, report.precision, report.runtime) == (6, 1.0, "float32", "torch")
    assert report.largest_error < 1e-5
    head = prepared.head
    prepared.head = lambda features, classes=None: head(features) + 1000 * torch.eye(5)[0]  # type: ignore[method-assign]
    exact = model(images).detach()
    expected = float((exact.argmax(1) == 0).double().mean())
    bent = prepared.verify([images[:2], images[2:]])
    assert bent.top1_agreement == expected
    assert bent.largest_error == pytest.approx(1000 / float(exact.abs().max()), rel=1e-3)
    with pytest.raises(ValueError, match="no image"):
        prepared.verify([])


@pytest.mark.parametrize("runtime", ["torch", "openvino"])
@torch.inference_mode()
def test_half_precisions_on_the_head_and_the_map(runtime: str) -> None:
    model, x = small_bagnet(), torch.randn(2, 3, 33, 44)
    errors = {}
    for precision in ("mixed", "bf16"):
        prepared = small_prepared(runtime, precision)
        logits, evidence = prepared.logits_and_evidence(x)
        assert prepared.precision == precision
        assert close(logits, model(x), 3e-2)
        assert close(evidence, model.evidence(x), 3e-2)
        assert close(evidence.mean((2, 3)), logits, 1e-5)  # the head runs in float32 on the same features
        assert close(prepared(x), logits, 1e-2)
        assert close(prepared.features(x), model.features(x), 3e-2)
        assert prepared.features(x).dtype == torch.float32
        errors[precision] = float((dense(prepared, x, [0, 2]).values - dense(model, x, [0, 2]).values).square().mean())
    assert 0 < errors["mixed"] < errors["bf16"]


def test_int8_needs_calibration_and_says_what_ran(model: BagNet) -> None:
    pytest.importorskip("nncf")
    with pytest.raises(CannotRun, match="int8 needs calibration images"):
        prepare(model, "openvino", "int8")
    report = small_prepared("openvino", "int8").verify(torch.randn(4, 3, 40, 40))
    assert report.precision == "int8"
    assert 0 < report.largest_error < 0.5


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"runtime": "tensorrt"}, f"there is no runtime 'tensorrt': there are {', '.join(RUNTIMES)}"),
        ({"precision": "fp8"}, "there is no precision 'fp8'"),
        ({"runtime": "onnxruntime", "precision": "bf16"}, "onnxruntime on the CPU runs float32"),
        ({"precision": "int8"}, "torch on the CPU runs float32, mixed, bf16"),
        ({"runtime": "onnxruntime", "precision": "mixed"}, "onnxruntime on the CPU runs float32"),
        ({"precision": "tf32"}, "torch on the CPU runs float32, mixed, bf16"),
        ({"threads": 2}, "threads is for onnxruntime and openvino"),
        ({"runtime": "openvino", "compile": True}, "compile is for torch"),
    ],
)
def test_what_cannot_be_is_refused(model: BagNet, words: dict[str, object], reason: str) -> None:
    with pytest.raises(CannotRun, match=reason):
        prepare(model, **words)  # type: ignore[arg-type]


@pytest.mark.parametrize(("runtime", "package"), [("openvino", "openvino"), ("onnxruntime", "onnxruntime")])
def test_a_missing_package_is_named(model: BagNet, monkeypatch: pytest.MonkeyPatch, runtime: str, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"pip install 'bagnet\[export\]'"):
        prepare(model, runtime)


def test_verify_does_not_hide_what_is_no_number(model: BagNet) -> None:
    ready = prepare(model)
    ready.head = lambda features, classes=None: torch.full((len(features), 5), torch.nan)  # type: ignore[method-assign]
    x = torch.randn(2, 3, 64, 64)
    assert ready.verify(x).largest_error == float("inf")
    with pytest.raises(ValueError, match="no image to compare on"):
        ready.verify(x[:0])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"precision": "bf16", "calibration": torch.zeros(1, 3, 64, 64)}, "calibration images are for int8, not for bf16"),
        ({"precision": "int8", "calibration": []}, "there is none among those given"),
        ({"precision": "int8", "calibration": ["a.jpg"]}, "prepared tensors of .*, got str"),
        ({"precision": "int8", "calibration": torch.zeros(1, 4, 64, 64)}, r"takes a batch of shape \(B, 3, H, W\)"),
        ({"precision": "int8"}, "int8 needs calibration images"),
        ({"threads": 0}, "threads must be at least 1, got 0"),
    ],
)
def test_settings_that_make_no_sense(options: dict[str, Any], reason: str, model: BagNet) -> None:
    pytest.importorskip("openvino")
    with pytest.raises(ValueError, match=reason):
        prepare(model, "openvino", **options)
