"""The figures that fit a task, what says most of it first, each with the interval that its images leave open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..figures.words import percent
from ..statistics import Estimate, Resamples, auc_estimate, mean, mean_of_shares, roc_auc, shares, shares_of_draws
from .curves import Ranked, curves_of

FEW_CLASSES = 20  # up to which the recall of each is told, and each counts alike in the first measure
FEW_IMAGES = 2_000  # up to which intervals are told: beyond, a share is known to two per cent
TOP5_CLASSES = 10  # from which on the best five of them say something
_UNEQUAL = 1e-3  # how likely at most it is that equally common classes had such numbers of images

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Measure:
    """How right a classifier is, in one number.

    Args:
        key: its name in files.
        title: its name in words.
        estimate: a share.
        images: of how many.
        in_percent: how it is told; else between 0 and 1.
    """

    key: str
    title: str
    estimate: Estimate
    images: int
    in_percent: bool = True

    @property
    def number(self) -> str:
        """In words: "71.31 %"."""
        value = self.estimate.value
        if np.isnan(value):
            return "undefined"
        return percent(value, 2) if self.in_percent else f"{value:.3f}"

    @property
    def interval(self) -> str:
        """In words: "[61.2, 80.4]"; "" where images are many, or it has none."""
        if self.images > FEW_IMAGES or np.isnan(self.estimate.low):
            return ""
        factor, digits = (100, 1) if self.in_percent else (1, 2)
        return f"[{factor * self.estimate.low:.{digits}f}, {factor * self.estimate.high:.{digits}f}]"

    @property
    def rounded_interval(self) -> list[float | None]:
        """As JSON can hold it: [low, high]."""
        return [rounded(self.estimate.low), rounded(self.estimate.high)]

    @property
    def text(self) -> str:
        """All of it in words: "top-1 71.31 % [61.2, 80.4]"."""
        return " ".join(filter(None, (self.title, self.number, self.interval)))


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """How a classifier ranks the true classes of images that show one class each.

    Args:
        labels: (N,) true classes.
        ranks: (N,) places of the true classes among all, 0 the best.
        classes: how many there are.
        margins: (N,) logits of the second class less those of the first, where there are two classes.
        groups: draws of whole groups of images, which all intervals are then of; None where each image is by itself.
    """

    labels: Ints
    ranks: Ints
    classes: int
    margins: NDArray[Any] | None = None
    groups: Resamples | None = None

    @classmethod
    def of(cls, logits: NDArray[Any], labels: NDArray[Any], groups: Resamples | None = None) -> Answers:
        """From (N, K) logits and (N,) labels."""
        margins = logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else None
        return cls(np.asarray(labels, np.int64), rank_of_label(logits, labels), logits.shape[1], margins, groups)

    @classmethod
    def joined(cls, parts: list[Answers]) -> Answers:
        """Of several batches, one at least."""
        margins = [part.margins for part in parts if part.margins is not None]
        return cls(
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.ranks for part in parts]),
            parts[0].classes,
            np.concatenate(margins) if margins else None,
        )

    @property
    def counts(self) -> Ints:
        """(K,) images that show each class."""
        return np.bincount(self.labels, minlength=self.classes).astype(np.int64)

    @property
    def right(self) -> Ints:
        """(K,) those of them whose best class it is."""
        return np.bincount(self.labels[self.ranks == 0], minlength=self.classes).astype(np.int64)

    @property
    def recalls(self) -> list[Estimate]:
        """Of each class the share of its images that are right; undefined where it has none."""
        return shares(self.right, self.counts) if self.groups is None else self._recalls_of_groups(self.groups)[0]

    def measures(self) -> list[Measure]:
        """The measures that fit the task, the one to go by first.

        Of few classes (up to 20), or of unequally common ones, that is balanced accuracy, and of two classes the area under the
        ROC curve comes next. Of fewer than ten the best five say nothing.
        """
        top1 = [self._measure("top1", "top-1", self._best(1))]
        if self.classes >= TOP5_CLASSES:
            top1.append(self._measure("top5", "top-5", self._best(5)))
        balanced = [self._measure("balanced_accuracy", "balanced accuracy", self.balanced)]
        if self.margins is not None:
            auc = area(self.margins, self.labels == 1, self.groups)
            balanced.append(self._measure("roc_auc", "ROC AUC", auc, in_percent=False))
        return balanced + top1 if balances(self.counts) else top1 + balanced

    def _measure(self, key: str, title: str, estimate: Estimate, in_percent: bool = True) -> Measure:
        return Measure(key, title, estimate, len(self.labels) if self.groups is None else self.groups.units, in_percent)

    def _best(self, count: int) -> Estimate:
        """The share of images whose label is among the best classes."""
        right, groups = self.ranks < count, self.groups
        if groups is None:
            return mean(right)
        return shares_of_draws(lambda drawn: drawn @ right[:, None] / drawn.sum(1)[:, None], [groups.units], len(right), groups)[
            1
        ]

    @property
    def balanced(self) -> Estimate:
        """The mean recall of the classes that have images."""
        return mean_of_shares(self.right, self.counts) if self.groups is None else self._recalls_of_groups(self.groups)[1]

    def _recalls_of_groups(self, groups: Resamples) -> tuple[list[Estimate], Estimate]:
        """Of each class, and their mean."""
        shown = np.eye(self.classes, dtype=bool)[self.labels]
        right = shown & (self.ranks == 0)[:, None]

        def recalls(weights: NDArray[np.float64]) -> NDArray[np.float64]:
            with np.errstate(invalid="ignore"):
                return np.asarray((weights @ right) / (weights @ shown))

        return shares_of_draws(recalls, groups.units_with(shown), len(self.labels), groups)


def area(scores: NDArray[Any], truth: NDArray[np.bool_], groups: Resamples | None = None) -> Estimate:
    """The area under the ROC curve of (N,) scores; with groups of images its interval is that of draws of them."""
    if groups is None:
        return roc_auc(scores, truth)
    estimate = groups.estimate(Ranked(scores, truth).roc_auc)
    if estimate.low != estimate.high:
        return estimate
    positive, negative = groups.units_with(np.stack([truth, ~truth], 1))
    return auc_estimate(estimate.value, int(positive), int(negative))


def measures_of_questions(scores: NDArray[Any], truth: NDArray[np.bool_], groups: Resamples | None = None) -> list[Measure]:
    """The same of images that show several classes or none: (N, K) logits, and whether each class is shown."""
    resamples = resamples_of(scores, groups)
    images = len(scores) if groups is None else groups.units
    estimate = curves_of(scores, truth, scores, resamples=resamples).mean_average_precision
    measures = [Measure("mean_average_precision", "mean average precision", estimate, images)]
    if scores.shape[1] == 1:
        measures.append(Measure("roc_auc", "ROC AUC", area(scores[:, 0], truth[:, 0], groups), images, in_percent=False))
    return measures


def resamples_of(scores: NDArray[Any], groups: Resamples | None = None) -> Resamples | None:
    """Draws for the intervals of each class of (N, K) scores; None where these would take long, or say nothing."""
    resamples = groups or Resamples.of(len(scores))
    return resamples if resamples.units <= FEW_IMAGES and scores.shape[1] <= FEW_CLASSES else None


def balances(counts: Ints) -> bool:
    """Whether classes count alike in the first measure: they are few, or less equally common than chance would make them.

    Args:
        counts: (K,) images of each class.
    """
    from scipy.stats import chisquare

    shown = counts[counts > 0]
    return len(counts) <= FEW_CLASSES or (len(shown) > 1 and float(chisquare(shown).pvalue) < _UNEQUAL)


def rounded(value: float) -> float | None:
    """As JSON can hold it: None where it is no number."""
    return None if np.isnan(value) else round(float(value), 6)


def rank_of_label(logits: NDArray[Any], labels: NDArray[Any]) -> Ints:
    """(N, K) logits and (N,) true classes -> (N,) place of the true class among all, 0 the best.

    Of equal logits the first class counts as the better one.
    """
    of_label = np.take_along_axis(logits, labels[:, None], 1)
    before = np.arange(logits.shape[1]) < labels[:, None]
    ranks: Ints = ((logits > of_label) | ((logits == of_label) & before)).sum(1)
    return ranks


def average_precisions(scores: NDArray[Any], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(K,) of (N, K) logits and whether each class is shown; NaN where no image shows it."""
    precisions = np.full(scores.shape[1], np.nan)
    for label in np.flatnonzero(truth.any(0)):
        precisions[label] = average_precision(scores[:, label], truth[:, label])
    return precisions


def mean_average_precision(scores: NDArray[Any], truth: NDArray[np.bool_]) -> float:
    """The mean over the classes that some image shows; NaN where none does."""
    precisions = average_precisions(scores, truth)
    return float(np.nanmean(precisions)) if np.isfinite(precisions).any() else float("nan")


def average_precision(scores: NDArray[Any], truth: NDArray[np.bool_]) -> float:
    """Mean over the true ones of the precision at the threshold that just finds each of them (area under the steps).

    Not torchmetrics', which takes seconds to import and computes a sigmoid first, after which large logits are equal.

    Args:
        scores: (N,), of which equal ones are found together.
        truth: (N,), one true at least.
    """
    return float(Ranked(scores, truth).average_precision(np.ones((1, len(scores))))[0])
