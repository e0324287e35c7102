"""What one window may say at most: without a bound, a single touched window could say anything, and nothing could be proved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
HIGHEST = 15.0  # logits of a clipped window
SLOPE, SHIFT = 0.05, -1.0  # of logits, before the tanh
CEILING = 1e4  # no network says as much of a window as it is: only an adversary does


def finite(values: Array) -> Array:
    """Logits within -CEILING and CEILING, with the least for what is no number.

    The first step of every certified classifier. Windows are left out of a sum by subtraction, so that one that says infinity, or
    nothing, or 1e300, would otherwise be in the sums without it, too; and a softmax over infinity is no number.
    """
    if np.abs(values).max() <= CEILING:  # false where one is no number
        return values
    return np.clip(np.nan_to_num(values, nan=-CEILING), -CEILING, CEILING)


@dataclass(frozen=True, slots=True)
class Aggregation:
    """How evidence is bounded before it is averaged: a classifier of its own, whose answers may be others than the model's.

    Args:
        name: of `AGGREGATIONS`.
        low: the least that a window can say to a class.
        high: the most.
        apart: the least that what a window says to one class can be above what it says to another.
        steepest: how much at most a score changes where all logits change by up to 1.
        bound: (K, ...) logits of windows -> (K, ...) scores.
    """

    name: str
    low: float
    high: float
    apart: float
    steepest: float
    bound: Callable[[Array], Array]


def probabilities(values: Array) -> Array:
    """Softmax over the classes."""
    values = finite(values)
    powers = np.exp(values - values.max(0))
    shares: Array = powers / powers.sum(0)
    return shares


def clipped(values: Array) -> Array:
    """Between nothing and 15 logits for a class (Clipped BagNet, PatchGuard)."""
    return np.clip(finite(values), 0.0, HIGHEST)


def squashed(values: Array) -> Array:
    """tanh(0.05 e - 1) (Zhang et al. 2020)."""
    return np.tanh(SLOPE * finite(values) + SHIFT)


AGGREGATIONS: Mapping[str, Aggregation] = MappingProxyType(
    {
        "probabilities": Aggregation("probabilities", 0.0, 1.0, -1.0, 1.0, probabilities),
        "clipped": Aggregation("clipped", 0.0, HIGHEST, -HIGHEST, 1.0, clipped),
        "tanh": Aggregation("tanh", -1.0, 1.0, -2.0, SLOPE, squashed),
    }
)


def aggregation(name: str) -> Aggregation:
    """By name. ValueError: there is none, or it would not be bounded."""
    if name == "logits":
        raise ValueError(
            "the mean of logits is not bounded, so that one touched window could say anything: choose among "
            f"{', '.join(AGGREGATIONS)}, or the method 'voting', which leaves windows out"
        )
    if name not in AGGREGATIONS:
        raise ValueError(f"there is no aggregation {name!r}: choose among {', '.join(AGGREGATIONS)}")
    return AGGREGATIONS[name]
