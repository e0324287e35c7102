"""Temperature scaling: Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017.

Logits are divided by one number before they become probabilities. No order of classes changes, nor any logit or map: how sure a
model says it is does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp, log
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..card import Card
from ..data.names import ClassNames
from ..engine.classifier import Predictor, model_name
from .evaluate import Evaluation

_RANGE = (0.01, 100.0)  # temperatures beyond say that something else is wrong
_FEWEST = 20  # images, or groups of them


@dataclass(frozen=True, slots=True)
class Calibration:
    """A temperature, and what it is good for on images that it was not fitted on.

    Args:
        temperature: fitted on all images.
        images: how many they are.
        error_before: calibration error of the probabilities as they were.
        error_after: that with each half of the images at the temperature of the other half.
        loss_before: mean negative log-likelihood of the labels, as they were.
        loss_after: with each half at the temperature of the other.
        temperatures_of_halves: which these are; how far they are apart says how sure the temperature is.
    """

    temperature: float
    images: int
    error_before: float
    error_after: float
    loss_before: float
    loss_after: float
    temperatures_of_halves: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "temperature": self.temperature,
            "images": self.images,
            "calibration_error": {"before": self.error_before, "after_on_other_images": self.error_after},
            "loss": {"before": self.loss_before, "after_on_other_images": self.loss_after},
            "temperatures_of_halves": list(self.temperatures_of_halves),
        }


def calibrate(evaluation: Evaluation) -> Calibration:
    """Fit a temperature to labelled images, and measure it across two halves of them; of groups none is in both.

    Args:
        evaluation: of a model on all of its classes, on images that it was not trained on.

    Raises:
        ValueError: there are fewer than 20 images, or groups of them; they are all right, or the answers say nothing, so that no
            temperature is the best.
    """
    halves = _halves(evaluation)
    temperature = fitted_temperature(evaluation)
    first, second = (fitted_temperature(_part(evaluation, half)) for half in halves)
    crossed = evaluation.scores.copy()
    for half, of_the_other in zip(halves, (second, first), strict=True):
        crossed[half] /= of_the_other
    after = replace(evaluation, scores=crossed, temperature=1.0)
    return Calibration(
        temperature,
        evaluation.images,
        evaluation.calibration_error,
        after.calibration_error,
        _loss(_logits(evaluation), _labels(evaluation), evaluation.temperature),
        _loss(_logits(after), _labels(after), 1.0),
        (first, second),
    )


def fitted_temperature(evaluation: Evaluation) -> float:
    """At which the labels are likeliest, whatever the temperature is now. ValueError: there is none."""
    from scipy.optimize import minimize_scalar

    logits, labels = _logits(evaluation), _labels(evaluation)
    if _all_right(logits, labels):  # the surer the likelier
        raise ValueError(
            f"{evaluation.data}: {evaluation.images:,} images that are all answered rightly fit no temperature; take more of them"
        )
    low, high = map(log, _RANGE)
    result = minimize_scalar(
        lambda x: _loss(logits, labels, exp(x)), bounds=(low, high), method="bounded", options={"xatol": 1e-6}
    )
    if result.x > high - 0.01:
        raise ValueError(f"{evaluation.data}: the answers of {evaluation.model} say nothing about its labels, at any temperature")
    return exp(float(result.x))


def calibrated_card(model: Predictor, evaluation: Evaluation, calibration: Calibration) -> Card:
    """The model's card with a temperature.

    Raises:
        ValueError: it has no card, or the images show but some of its classes, among which probabilities are others.
    """
    check_calibrates(model, evaluation.data, evaluation.classes)
    assert model.card is not None
    fitted_on = f"{calibration.images:,} images ({evaluation.data})"
    note = f"Probabilities are at temperature {calibration.temperature:.4g}, which was fitted on {fitted_on}."
    name = model.card.name if model.card.temperature != 1 else f"{model.card.name}-calibrated"
    return replace(
        model.card, name=name, temperature=round(calibration.temperature, 6), notes=f"{model.card.notes} {note}".strip()
    )


def check_calibrates(model: Predictor, data: str, classes: ClassNames) -> None:
    """See that a temperature can be fitted to images of these classes, and kept. Raises as `calibrated_card`."""
    if model.card is None:
        raise ValueError(f"{model_name(model)}: has no card to keep a temperature on")
    if len(classes) != model.num_classes:
        raise ValueError(
            f"{model_name(model)} has {model.num_classes:,} classes, and {data} {len(classes):,} of them: "
            "its probabilities are among all; fit a temperature to images of all classes"
        )


def _halves(evaluation: Evaluation) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of either, drawn at random by whole groups."""
    groups = np.asarray(evaluation.groups or range(evaluation.images))
    units, of_image = np.unique(groups, return_inverse=True)
    if len(units) < _FEWEST:
        what = f"groups of images ({evaluation.group})" if evaluation.groups else "images"
        raise ValueError(f"{evaluation.data}: has {len(units)} {what}, too few to fit a temperature; take {_FEWEST} at least")
    first = np.isin(of_image, np.random.default_rng(0).permutation(len(units))[: len(units) // 2])
    return np.flatnonzero(first), np.flatnonzero(~first)


def _part(evaluation: Evaluation, rows: NDArray[np.int64]) -> Evaluation:
    return replace(evaluation, labels=evaluation.labels[rows], scores=evaluation.scores[rows], names=(), groups=())


def _logits(evaluation: Evaluation) -> Tensor:
    return torch.from_numpy(evaluation.scores).double()


def _labels(evaluation: Evaluation) -> Tensor:
    labels = torch.from_numpy(evaluation.labels)
    return labels.double() if evaluation.multilabel else labels.long()


def _all_right(logits: Tensor, labels: Tensor) -> bool:
    if labels.ndim == 2:
        return bool(((logits > 0) == (labels > 0)).all())
    best = logits.topk(2).values
    return bool(((logits.argmax(1) == labels) & (best[:, 0] > best[:, 1])).all())


def _loss(logits: Tensor, labels: Tensor, temperature: float) -> float:
    """Mean negative log-likelihood of (N,) labels, or of (N, K) answers of yes and no."""
    scaled = logits / temperature
    if labels.ndim == 2:
        return float(F.binary_cross_entropy_with_logits(scaled, labels))
    return float(F.cross_entropy(scaled, labels))
