"""Each class against the rest: what the thresholds on its score give, in as many bootstrap draws as one likes at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..statistics import UNDEFINED, Estimate, Floats, Resamples, shares_of_draws

_ROUNDING = 1e-9  # of a share of images


class Ranked:
    """Images in the order of one score; equal ones are accepted together.

    Every measure takes (R, N) weights, how often each draw has each image, and gives (R,) values; NaN where it is not defined.

    Args:
        scores: (N,).
        truth: (N,) bool.
    """

    def __init__(self, scores: NDArray[Any], truth: NDArray[np.bool_]) -> None:
        self.order = np.argsort(-scores, kind="stable")
        self.ends = np.append(np.flatnonzero(np.diff(scores[self.order])), len(scores) - 1)
        self.truth = truth[self.order]

    def average_precision(self, weights: Floats) -> Floats:
        """Mean over the true ones of the precision at the threshold that just accepts each (area under the steps)."""
        hits, alarms = self._accepted(weights)
        precision = hits / np.maximum(hits + alarms, 1)
        with np.errstate(invalid="ignore"):
            return np.asarray((precision * np.diff(hits, axis=1, prepend=0)).sum(1) / hits[:, -1])

    def sensitivity(self, weights: Floats, specificity: float) -> Floats:
        """The largest share of the true ones that a threshold accepts which leaves out at least such a share of the others."""
        hits, alarms = self._accepted(weights)
        allowed = alarms <= _most(alarms, specificity)
        with np.errstate(invalid="ignore"):
            best = np.where(allowed, hits, 0).max(1) / hits[:, -1]
        return np.where(alarms[:, -1] > 0, best, np.nan)

    def last_accepted(self, specificity: float) -> int | None:
        """The image with the lowest score that this threshold accepts; None where it accepts none."""
        _, alarms = self._accepted(np.ones((1, len(self.order))))
        allowed = np.flatnonzero(alarms[0] <= _most(alarms, specificity)[0])
        return int(self.order[self.ends[allowed[-1]]]) if len(allowed) else None

    def roc_auc(self, weights: Floats) -> Floats:
        """How often a true one has the higher score than another, equal ones half."""
        hits, alarms = self._accepted(weights)
        new = np.diff(alarms, axis=1, prepend=0)
        above = (np.diff(hits, axis=1, prepend=0) * (alarms[:, -1:] - alarms + new / 2)).sum(1)
        with np.errstate(invalid="ignore"):
            return np.asarray(above / (hits[:, -1] * alarms[:, -1]))

    def _accepted(self, weights: Floats) -> tuple[Floats, Floats]:
        """(R, T) true ones and others at or above each threshold, from the strictest on."""
        drawn = weights[:, self.order]
        return (drawn * self.truth).cumsum(1)[:, self.ends], (drawn * ~self.truth).cumsum(1)[:, self.ends]


def _most(alarms: Floats, specificity: float) -> Floats:
    """(R, 1) how many of the others may be accepted."""
    return (1 - specificity + _ROUNDING) * alarms[:, -1:]


@dataclass(frozen=True, slots=True)
class ClassCurve:
    """One class against the rest.

    Args:
        average_precision: the area under its precision-recall curve.
        sensitivity: at the specificity asked for; undefined where none is.
        threshold: the lowest probability that is accepted then; NaN where none is.
    """

    average_precision: Estimate
    sensitivity: Estimate
    threshold: float


@dataclass(frozen=True, slots=True)
class Curves:
    """All classes, and their means over those that some image shows."""

    classes: Sequence[ClassCurve]
    mean_average_precision: Estimate
    mean_sensitivity: Estimate


def curves_of(
    scores: NDArray[Any],
    truth: NDArray[np.bool_],
    probabilities: NDArray[Any],
    specificity: float | None = None,
    resamples: Resamples | None = None,
) -> Curves:
    """Measure each class against the rest.

    A bootstrap interval has no width where all is right, however few the images are: there it is Wilson's, of as many trials as
    images, or groups of them, show the class (areas taken for shares of these, as by Boyd, Eng and Page 2013).

    Args:
        scores: (N, K) by which the images are ranked for each class, see `against_the_rest`.
        truth: (N, K) whether each shows it.
        probabilities: (N, K) that thresholds are told in.
        specificity: at which the sensitivity is told; None for none.
        resamples: of the images; without them there are no intervals.
    """
    rankings = [Ranked(scores[:, label], truth[:, label]) for label in range(scores.shape[1])]
    trials = truth.sum(0) if resamples is None else resamples.units_with(truth)

    def areas(weights: Floats) -> Floats:
        return np.stack([ranking.average_precision(weights) for ranking in rankings], 1)

    precision, mean_precision = shares_of_draws(areas, trials, len(scores), resamples)
    if specificity is None:
        return Curves([ClassCurve(area, UNDEFINED, float("nan")) for area in precision], mean_precision, UNDEFINED)

    def sensitivities(weights: Floats) -> Floats:
        return np.stack([ranking.sensitivity(weights, specificity) for ranking in rankings], 1)

    sensitivity, mean_sensitivity = shares_of_draws(sensitivities, trials, len(scores), resamples)
    classes = []
    for label, (area, share) in enumerate(zip(precision, sensitivity, strict=True)):
        last = None if np.isnan(share.value) else rankings[label].last_accepted(specificity)
        classes.append(ClassCurve(area, share, float("nan") if last is None else float(probabilities[last, label])))
    return Curves(classes, mean_precision, mean_sensitivity)


def against_the_rest(logits: NDArray[Any]) -> Floats:
    """(N, K) logits of which one is right -> (N, K) log-odds of each: the order of its probability, without that one's rounding.

    Next to 1 probabilities are equal long before their odds are.
    """
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(1, keepdims=True)
    power, rows, best = np.exp(shifted), np.arange(len(logits)), shifted.argmax(1)
    total = power.sum(1, keepdims=True)
    power[rows, best] = 0
    of_best = power.sum(1)  # which a difference would have lost
    rest = np.subtract(total, power, out=power)
    rest[rows, best] = of_best
    with np.errstate(divide="ignore"):
        shifted -= np.log(rest, out=rest)
    return shifted
