"""The figures that fit a task, what says most of it first, each with the interval that its images leave open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..figures.words import percent
from ..statistics import Estimate, bootstrap, mean, mean_of_shares, roc_auc, shares

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
    """

    labels: Ints
    ranks: Ints
    classes: int
    margins: NDArray[Any] | None = None

    @classmethod
    def of(cls, logits: NDArray[Any], labels: NDArray[Any]) -> Answers:
        """From (N, K) logits and (N,) labels."""
        margins = logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else None
        return cls(np.asarray(labels, np.int64), rank_of_label(logits, labels), logits.shape[1], margins)

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
        return shares(self.right, self.counts)

    def measures(self) -> list[Measure]:
        """The measures that fit the task, the one to go by first.

        Of few classes (up to 20), or of unequally common ones, that is balanced accuracy, and of two classes the area under the
        ROC curve comes next. Of fewer than ten the best five say nothing.
        """
        top1 = [self._measure("top1", "top-1", mean(self.ranks < 1))]
        if self.classes >= TOP5_CLASSES:
            top1.append(self._measure("top5", "top-5", mean(self.ranks < 5)))
        balanced = [self._measure("balanced_accuracy", "balanced accuracy", mean_of_shares(self.right, self.counts))]
        if self.margins is not None:
            auc = roc_auc(self.margins, self.labels == 1)
            balanced.append(Measure("roc_auc", "ROC AUC", auc, len(self.labels), in_percent=False))
        return balanced + top1 if balances(self.counts) else top1 + balanced

    def _measure(self, key: str, title: str, estimate: Estimate) -> Measure:
        return Measure(key, title, estimate, len(self.labels))


def measures_of_questions(scores: NDArray[Any], truth: NDArray[np.bool_]) -> list[Measure]:
    """The same of images that show several classes or none: (N, K) logits, and whether each class is shown.

    Of many classes the interval would take long, and there is none.
    """
    images, classes = scores.shape
    estimate = Estimate(mean_average_precision(scores, truth), np.nan, np.nan)
    if images <= FEW_IMAGES and classes <= FEW_CLASSES:
        both = np.concatenate([scores, truth], 1)
        estimate = bootstrap(both, lambda rows: mean_average_precision(rows[:, :classes], rows[:, classes:] > 0))
    measures = [Measure("mean_average_precision", "mean average precision", estimate, images)]
    if classes == 1:
        measures.append(Measure("roc_auc", "ROC AUC", roc_auc(scores[:, 0], truth[:, 0]), images, in_percent=False))
    return measures


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
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.cumsum(truth[order])[ends]
    return float((hits / (ends + 1) * np.diff(hits, prepend=0)).sum() / hits[-1])
