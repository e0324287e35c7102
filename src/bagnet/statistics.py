"""The few statistics of the experiments and audits, each with the interval that its images leave open."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 1000
LEVEL = 0.95
_WIDTH = NormalDist().inv_cdf(0.5 + LEVEL / 2)  # standard errors to either side
_TOGETHER = 1 << 20  # rows that are drawn at a time

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and its 95 % interval.

    Args:
        value: of the images at hand; NaN where it is not defined.
        low: its lower end.
        high: its upper end.
    """

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float | None]:
        """As JSON can hold it: None where it is no number."""
        return {name: None if np.isnan(value := getattr(self, name)) else float(value) for name in ("value", "low", "high")}

    def text(self, digits: int = 3, factor: float = 1.0) -> str:
        """In words: value [low, high]."""
        if np.isnan(self.value):
            return "undefined"
        return f"{factor * self.value:.{digits}f} [{factor * self.low:.{digits}f}, {factor * self.high:.{digits}f}]"


UNDEFINED = Estimate(float("nan"), float("nan"), float("nan"))


def bootstrap(rows: ArrayLike, statistic: Callable[[Floats], float], seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """A statistic with its percentile bootstrap interval (Efron 1979): images are drawn again, with replacement.

    `scipy.stats.bootstrap` makes the same draws and so the same interval, but has none for a single image, nor where the
    statistic is not defined for a few of the draws; here those are left out.

    Args:
        rows: (N,) or (N, M), a row an image.
        statistic: of such an array, one number.
        seed: of the draws.
        resamples: how many.

    Raises:
        ValueError: no images.
    """
    values = np.asarray(rows, np.float64)
    drawn = np.array([statistic(values[draw]) for draws in _draws(len(values), seed, resamples) for draw in draws])
    return of_draws(float(statistic(values)), drawn)


@dataclass(frozen=True, slots=True, eq=False)
class Resamples:
    """Bootstrap draws of images, or of groups of images that are not independent (of one patient, one part): as weights.

    A group is drawn with all of its images (Field and Welsh 2007), so that several images of a patient do not count as several
    patients. Each image by itself gives the draws of `bootstrap`.

    Args:
        unit_of: (N,) the group of each image, numbered from 0.
        seed: of the draws.
    """

    unit_of: NDArray[np.int64]
    seed: int = 0

    @classmethod
    def of(cls, images: int, groups: Sequence[str] = ()) -> Resamples:
        """Of so many images, each by itself where there are no groups."""
        if not groups:
            return cls(np.arange(images))
        return cls(np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1).astype(np.int64))

    @property
    def units(self) -> int:
        """How many groups there are."""
        return int(self.unit_of.max()) + 1

    def units_with(self, shown: NDArray[np.bool_]) -> NDArray[np.int64]:
        """(K,) groups that have an image for which a column of (N, K) is true."""
        columns = np.asarray(shown, bool).reshape(len(self.unit_of), -1).T
        return np.array([len(np.unique(self.unit_of[column])) for column in columns], np.int64)

    def weights(self) -> Iterator[Floats]:
        """(n, N) how often each image is in each of some draws, `RESAMPLES` draws in all."""
        together = max(1, _TOGETHER // len(self.unit_of))
        for draws in _draws(self.units, self.seed, RESAMPLES):
            for batch in np.array_split(draws, -(-len(draws) // together)):
                numbered = batch + self.units * np.arange(len(batch))[:, None]
                counts = np.bincount(numbered.ravel(), minlength=self.units * len(batch)).reshape(len(batch), self.units)
                yield counts[:, self.unit_of].astype(np.float64)

    def estimate(self, statistic: Callable[[Floats], Floats]) -> Estimate:
        """A statistic with its percentile interval.

        Args:
            statistic: (n, N) weights of the images -> (n,) values.
        """
        drawn = np.concatenate([statistic(weights) for weights in self.weights()])
        return of_draws(float(statistic(np.ones((1, len(self.unit_of))))[0]), drawn)


def shares_of_draws(
    measure: Callable[[Floats], Floats], trials: ArrayLike, images: int, resamples: Resamples | None
) -> tuple[list[Estimate], Estimate]:
    """Shares of (K,) classes, and their mean over those that have one, with the intervals that draws of the images leave.

    A bootstrap interval has no width where all is right or all wrong, however few the images are; there it is Wilson's.

    Args:
        measure: (n, N) weights of the images -> (n, K) shares; NaN where they are not defined.
        trials: (K,) independent ones that a share is of, for Wilson's interval.
        images: N.
        resamples: of the images; without them there are no intervals.
    """
    values, count = measure(np.ones((1, images)))[0], np.asarray(trials, np.float64)
    if resamples is None:
        drawn = np.full((1, len(values)), np.nan)
    else:
        drawn = np.concatenate([measure(weights) for weights in resamples.weights()])
    every = [_share(values[label : label + 1], drawn[:, label], count[label : label + 1]) for label in range(len(values))]
    shown = np.isfinite(values)
    if not shown.any():
        return every, UNDEFINED
    defined = np.isfinite(drawn[:, shown])
    with np.errstate(invalid="ignore"):
        means = np.where(defined, drawn[:, shown], 0).sum(1) / defined.sum(1)
    return every, _share(values[shown], means, count[shown])


def _share(values: Floats, drawn: Floats, trials: Floats) -> Estimate:
    """The mean of some shares, of which it was drawn (n,) times."""
    estimate = of_draws(float(values.mean()), drawn)
    return mean_of_shares(values * trials, trials) if estimate.low == estimate.high else estimate


def mean(values: ArrayLike, seed: int = 0) -> Estimate:
    """The mean over (N,) values; of a share, where all are 0 or 1, with Wilson's interval, which is right at the ends, too.

    Raises:
        ValueError: no values.
    """
    flat = np.asarray(values, np.float64)
    if len(flat) and np.isin(flat, (0, 1)).all():
        return shares([flat.sum()], [len(flat)])[0]
    drawn = np.concatenate([flat[draws].mean(1) for draws in _draws(len(flat), seed, RESAMPLES)])  # as `bootstrap`, but fast
    return of_draws(float(flat.mean()), drawn)


def shares(counts: ArrayLike, totals: ArrayLike) -> list[Estimate]:
    """Of (K,) groups the share that is counted, each with Wilson's interval; undefined where a group is empty."""
    found, of = np.asarray(counts, np.float64), np.asarray(totals, np.float64)
    filled = np.maximum(of, 1)
    ends = zip(found / filled, *_wilson(found / filled, filled), of, strict=True)
    return [Estimate(float(value), float(low), float(high)) if total else UNDEFINED for value, low, high, total in ends]


def mean_of_shares(counts: ArrayLike, totals: ArrayLike) -> Estimate:
    """The mean of the shares of (K,) groups, each of which counts alike: of classes, the balanced accuracy.

    Its interval is put together of those of the groups, which are independent (MOVER; Zou and Donner 2008): it stays honest
    where a share is 0 or 1, at which a bootstrap of a few images does not move. Empty groups are left out.
    """
    groups = [share for share in shares(counts, totals) if not np.isnan(share.value)]
    if not groups:
        return UNDEFINED
    value, low, high = np.array([(share.value, share.low, share.high) for share in groups]).T
    middle, count = float(value.mean()), len(groups)
    below, above = (float(np.sqrt(((ends - value) ** 2).sum())) / count for ends in (low, high))
    return Estimate(middle, max(0.0, middle - below), min(1.0, middle + above))


def roc_auc(scores: ArrayLike, truth: ArrayLike) -> Estimate:
    """The area under the ROC curve: how often one that is true has the higher score than one that is not, equal ones half.

    Its interval holds the areas of which this one is less than 1.96 of their own standard errors away (Newcombe 2006, method 5):
    where the classes are told apart without a mistake, DeLong's and a bootstrap's would have no width, however few they are.

    Args:
        scores: (N,) of which larger ones speak for the truth.
        truth: (N,) bool. Where all or none are true the area is undefined.
    """
    from scipy.stats import rankdata

    true = np.asarray(truth, bool)
    positive, negative = int(true.sum()), int((~true).sum())
    if not positive or not negative:
        return UNDEFINED
    above = rankdata(scores)[true].sum() - positive * (positive + 1) / 2
    value = float(above / (positive * negative))
    return auc_estimate(value, positive, negative)


def auc_estimate(value: float, positive: int, negative: int) -> Estimate:
    """An area under the ROC curve with Newcombe's interval, of so many independent true ones and others."""
    from scipy.optimize import brentq

    def end(limit: int) -> float:
        sign = 1 if limit else -1

        def beyond(auc: float) -> float:
            return sign * (auc - value) - _WIDTH * _auc_error(auc, positive, negative)

        return float(limit if value == limit else brentq(beyond, value + sign * 1e-9, limit))

    return Estimate(value, end(0), end(1))


def correlation(first: ArrayLike, second: ArrayLike, seed: int = 0) -> Estimate:
    """Pearson's correlation of two (N,) measures of the same images."""
    return bootstrap(np.stack([first, second], 1), lambda pairs: pearson(pairs[:, 0], pairs[:, 1]), seed)


def pearson(first: ArrayLike, second: ArrayLike) -> float:
    """Pearson's correlation of two (N,) arrays; NaN where one does not vary.

    Not `scipy.stats.pearsonr`, which finds a p-value, too, and takes fifteen times as long: a bootstrap asks a thousand times.
    """
    x, y = (values - values.mean() for values in (np.asarray(first, np.float64), np.asarray(second, np.float64)))
    size = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / size) if size > 0 else float("nan")


def spearman(first: ArrayLike, second: ArrayLike) -> float:
    """Rank correlation of two arrays, equal values sharing the mean of their ranks; NaN where one does not vary."""
    from scipy.stats import rankdata

    return pearson(rankdata(first), rankdata(second))


def kappa(first: ArrayLike, second: ArrayLike) -> float:
    """Error consistency of two (N,) arrays of right answers (Geirhos et al. 2020): agreement beyond that of chance.

    Cohen's kappa of "right or wrong": 1 where both err on the same images, 0 where as often as independent ones would; NaN
    where both are always right or always wrong, so that chance alone agrees.
    """
    x, y = (np.asarray(values, np.float64) for values in (first, second))
    chance = x.mean() * y.mean() + (1 - x.mean()) * (1 - y.mean())
    agreement = float((x == y).mean())
    return float((agreement - chance) / (1 - chance)) if chance < 1 else float("nan")


def _wilson(share: Floats, images: Floats) -> tuple[Floats, Floats]:
    """The ends of Wilson's intervals: those of `scipy.stats.binomtest`, which tests a hypothesis first and takes milliseconds."""
    squared = _WIDTH**2
    middle, scale = share + squared / (2 * images), 1 + squared / images
    half = _WIDTH * np.sqrt(share * (1 - share) / images + squared / (4 * images**2))
    return np.where(share == 0, 0, (middle - half) / scale), np.where(share == 1, 1, (middle + half) / scale)


def _auc_error(auc: float, positive: int, negative: int) -> float:
    """The standard error of an area under the ROC curve that is truly `auc`."""
    together = (positive + negative) / 2 - 1
    spread = 1 + together * ((1 - auc) / (2 - auc) + auc / (1 + auc))
    return float(np.sqrt(auc * (1 - auc) * spread / (positive * negative)))


def _draws(count: int, seed: int, resamples: int) -> Iterator[NDArray[np.int64]]:
    """(n, count) rows drawn with replacement, some of the resamples at a time, so that many rows take little memory."""
    if not count:
        raise ValueError("an estimate needs at least one image")
    random, together = np.random.default_rng(seed), max(1, _TOGETHER // count)
    for start in range(0, resamples, together):
        yield random.integers(0, count, (min(together, resamples - start), count))


def of_draws(value: float, drawn: Floats) -> Estimate:
    """A value with the percentile interval of bootstrap draws, of which those that are not defined (NaN) are left out."""
    tail = 50 * (1 - LEVEL)
    low, high = np.nanpercentile(drawn, (tail, 100 - tail)) if np.isfinite(drawn).any() else (np.nan, np.nan)
    return Estimate(value, float(low), float(high))
