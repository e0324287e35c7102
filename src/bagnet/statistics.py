"""The few statistics of the experiments and audits, each with the interval that its images leave open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
LEVEL = 0.95

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


def bootstrap(columns: Any, statistic: Callable[[Floats], float], seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    """A statistic with its percentile bootstrap interval (Efron 1979): images are drawn again, with replacement.

    Args:
        columns: (N,) or (N, M), a row an image.
        statistic: of such an array, one number.
        seed: of the draws.
        resamples: how many.

    Raises:
        ValueError: no images.
    """
    values = np.asarray(columns, np.float64)
    if not len(values):
        raise ValueError("an estimate needs at least one image")
    random, count = np.random.default_rng(seed), len(values)
    found = np.array([statistic(values[random.integers(0, count, count)]) for _ in range(resamples)])
    tail = 50 * (1 - LEVEL)
    low, high = np.nanpercentile(found, (tail, 100 - tail)) if np.isfinite(found).any() else (np.nan, np.nan)
    return Estimate(float(statistic(values)), float(low), float(high))


def mean(columns: Any, seed: int = 0) -> Estimate:
    """The mean over (N,) values; of a share, where all are 0 or 1, with Wilson's interval, which is right at the ends, too."""
    found = np.asarray(columns, np.float64)
    if len(found) and np.isin(found, (0, 1)).all():
        return _share(float(found.mean()), len(found))
    return bootstrap(columns, lambda values: float(values.mean()), seed)


def correlation(first: Any, second: Any, seed: int = 0) -> Estimate:
    """Pearson's correlation of two (N,) measures of the same images."""
    return bootstrap(np.stack([first, second], 1), lambda both: pearson(both[:, 0], both[:, 1]), seed)


def pearson(first: Any, second: Any) -> float:
    """Pearson's correlation of two (N,) arrays; NaN where one does not vary."""
    one, other = (np.asarray(values, np.float64) - np.mean(values, dtype=np.float64) for values in (first, second))
    size = np.sqrt((one @ one) * (other @ other))
    return float(one @ other / size) if size > 0 else float("nan")


def spearman(first: Any, second: Any) -> float:
    """Rank correlation of two arrays, equal values sharing the mean of their ranks; NaN where one does not vary."""
    return pearson(_ranks(first), _ranks(second))


def kappa(first: Any, second: Any) -> float:
    """Error consistency of two (N,) arrays of right answers (Geirhos et al. 2020): agreement beyond that of chance.

    Cohen's kappa of "right or wrong": 1 where both err on the same images, 0 where as often as independent ones would; NaN
    where both are always right or always wrong, so that chance alone agrees.
    """
    one, other = (np.asarray(values, np.float64) for values in (first, second))
    chance = one.mean() * other.mean() + (1 - one.mean()) * (1 - other.mean())
    agreement = float((one == other).mean())
    return float((agreement - chance) / (1 - chance)) if chance < 1 else float("nan")


def _share(value: float, count: int) -> Estimate:
    """Wilson 1927."""
    z = NormalDist().inv_cdf(0.5 + LEVEL / 2)
    middle = (value + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * np.sqrt(value * (1 - value) / count + z * z / (4 * count * count))
    return Estimate(value, max(0.0, middle - half), min(1.0, middle + half))


def _ranks(values: Any) -> Floats:
    flat = np.asarray(values, np.float64).ravel()
    _, places, counts = np.unique(flat, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[places]
