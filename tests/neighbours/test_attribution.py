"""Evidence in pixels, and the metrics of other libraries on it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import bagnet
from bagnet.bag import BagOfFeatures
from bagnet.model import BagNet
from bagnet.neighbours.attribution import captum_evidence, explain_func, pixel_evidence


@pytest.fixture(params=["bagnet", "padded", "windowed"])
def model(request: pytest.FixtureRequest, small: Callable[..., BagNet]) -> BagOfFeatures:
    if request.param == "windowed":
        network = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 3)
        )
        return bagnet.windowed(network, 12, 5, scale="native", classes=["a", "b", "c"])
    return small(kernel3=(1, 1, 0, 0), num_classes=3, padded=request.param == "padded").eval()


def batch(model: BagOfFeatures) -> Tensor:
    del model
    return torch.rand(4, 3, 37, 42, generator=torch.Generator().manual_seed(0))


def test_the_sum_is_the_logit(model: BagOfFeatures) -> None:
    x = batch(model)
    with torch.inference_mode():
        logits = model(x)
    for target in (None, 1, [0, 1, 2, 0], torch.tensor([2, 2, 1, 0])):
        expected = logits.max(1).values if target is None else logits[torch.arange(4), torch.as_tensor(target).expand(4)]
        shares = pixel_evidence(model, x, target)
        assert shares.shape == x.shape
        torch.testing.assert_close(shares.sum((1, 2, 3)), expected, rtol=1e-4, atol=1e-5)


def test_a_pixel_has_a_part_of_each_of_its_windows(model: BagOfFeatures) -> None:
    """By a loop over windows and their pixels."""
    x = batch(model)[:1]
    with torch.inference_mode():
        values = model.evidence(x)[0, 2].double().numpy()
    expected = np.zeros(x.shape[2:])
    for row, column in np.ndindex(*values.shape):
        window = model.geometry.window(row, column)
        pixels = np.zeros_like(expected, dtype=bool)
        pixels[max(0, window.top) : window.bottom, max(0, window.left) : window.right] = True
        expected[pixels] += values[row, column] / values.size / pixels.sum()
    np.testing.assert_allclose(pixel_evidence(model, x, 2).sum(1)[0], expected, atol=1e-6)


def test_bad_targets(model: BagOfFeatures) -> None:
    with pytest.raises(ValueError, match="2 targets for 4 images"):
        pixel_evidence(model, batch(model), [0, 1])
    with pytest.raises(IndexError, match="there are 3 classes"):
        pixel_evidence(model, batch(model), 3)


def test_captums_metrics(model: BagOfFeatures) -> None:
    metrics = pytest.importorskip("captum.metrics")
    x, evidence = batch(model), captum_evidence(model)
    shares, delta = evidence.attribute(x, target=1, return_convergence_delta=True)
    assert evidence.has_convergence_delta()
    assert delta.abs().max() < 1e-4
    torch.testing.assert_close(shares, pixel_evidence(model, x, 1))

    def blank(inputs: Tensor) -> tuple[Tensor, Tensor]:
        change = torch.zeros_like(inputs)
        change[..., 10:20, 10:20] = 0.1
        return change, inputs - change

    with torch.inference_mode(False):
        assert metrics.infidelity(model, blank, x, shares.clone(), target=1).shape == (4,)
    assert (metrics.sensitivity_max(evidence.attribute, x, target=1) >= 0).all()


def test_a_missing_package_is_named(model: BagOfFeatures, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(ImportError, match=r"pip install 'bagnet\[compare\]'"):
        captum_evidence(model)


@pytest.mark.slow
def test_quantus_runs_on_it(model: BagOfFeatures) -> None:
    quantus = pytest.importorskip("quantus")
    x, y = batch(model).numpy(), np.array([0, 1, 2, 0])
    metric = quantus.FaithfulnessCorrelation(
        nr_runs=5, subset_size=50, perturb_baseline="mean", return_aggregate=False, disable_warnings=True
    )

    def above_least(**words: Any) -> NDArray[Any]:
        shares = explain_func(**words)
        return shares - shares.min() + 1e-6  # quantus refuses maps that are nowhere positive

    scores = metric(model=model, x_batch=x, y_batch=y, explain_func=above_least, softmax=False, device="cpu")
    assert len(scores) == 4
    assert np.isfinite(scores).all()
    boxes = np.zeros((4, 1, 37, 42), bool)
    boxes[..., 5:30, 5:30] = True

    hits = quantus.PointingGame(disable_warnings=True)(
        model=model, x_batch=x, y_batch=y, s_batch=boxes, explain_func=above_least, device="cpu"
    )
    assert set(hits) <= {True, False}


@pytest.mark.slow
def test_road_of_pytorch_grad_cam(model: BagOfFeatures) -> None:
    road = pytest.importorskip("pytorch_grad_cam.metrics.road")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    x = batch(model)
    maps = pixel_evidence(model, x, 1).sum(1).numpy()
    scores = road.ROADMostRelevantFirst(percentile=75)(x, maps, [targets.ClassifierOutputTarget(1)] * 4, model)
    assert np.isfinite(scores).all()
