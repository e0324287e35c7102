"""What a window says that is no number, or more than any network does: it moves no more than the bounds allow."""

from __future__ import annotations

import numpy as np
import pytest

from bagnet.certificates.bounded import AGGREGATIONS, CEILING, finite
from bagnet.certificates.voting import Masked, _means, rounding, vote
from bagnet.geometry import Span

RUNS = [Span(cell, cell + 1) for cell in range(6)]
LOUD = (np.nan, np.inf, -np.inf, 1e300, -1e300)


def evidence(said: float) -> np.ndarray:
    """(3, 6, 6) that is for class 1 everywhere but at one window."""
    values = np.zeros((3, 6, 6))
    values[1] = 5.0
    values[2, 0, 0] = said
    return values


def test_finite_leaves_what_networks_say_as_it_is() -> None:
    values = evidence(3.0)
    assert finite(values) is values


def test_finite_is_within_the_ceiling() -> None:
    values = np.array([np.nan, -np.inf, np.inf, 2e4, -1.0])
    np.testing.assert_array_equal(finite(values), [-CEILING, -CEILING, CEILING, CEILING, -1.0])


@pytest.mark.parametrize("said", LOUD)
def test_a_loud_window_does_not_change_a_certified_vote(said: float) -> None:
    clean = vote([Masked(evidence(0.0), RUNS, RUNS)])
    assert clean.label == 1
    assert clean.certified
    assert vote([Masked(evidence(said), RUNS, RUNS)]).label == 1


@pytest.mark.parametrize("said", LOUD)
@pytest.mark.parametrize("name", AGGREGATIONS)
def test_a_loud_window_keeps_within_the_bounds(name: str, said: float) -> None:
    bounds = AGGREGATIONS[name]
    clean, loud = bounds.bound(evidence(0.0)), bounds.bound(evidence(said))
    assert (loud >= bounds.low).all()
    assert (loud <= bounds.high).all()
    elsewhere = np.ones((6, 6), bool)
    elsewhere[0, 0] = False
    np.testing.assert_array_equal(loud[:, elsewhere], clean[:, elsewhere])


def test_what_a_masked_window_leaves_in_the_sums_is_within_the_rounding() -> None:
    """At the ceiling, too: by the means outside its mask, beside those of a window that says nothing."""
    random = np.random.default_rng(0)
    values = random.normal(0, 3, (3, 6, 6))
    loud = values.copy()
    loud[:, 0, 0] = CEILING
    singles, pairs = (
        np.abs(after[..., :1] - before[..., :1]).max()
        for before, after in zip(_means([Masked(values, RUNS, RUNS)]), _means([Masked(loud, RUNS, RUNS)]), strict=True)
    )  # the first mask, and the first two, hold that window
    assert max(singles, pairs) <= rounding(36)
