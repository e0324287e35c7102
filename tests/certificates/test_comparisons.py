"""Of what other methods prove: literals, and no attack at any place beats it."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from bagnet.certificates.comparisons import COMPARISONS, heaviside, majority, robust_masking
from bagnet.geometry import Span

RUNS = [Span(start, start + 2) for start in range(4)]


def test_majority_needs_a_lead_of_two_votes_for_each_window() -> None:
    """Three of 2 x 2 windows vote for class 0 at most, so that a patch costs it 6: a lead of 17 to 8 will do, 15 to 9 not."""
    values = np.zeros((2, 5, 5))
    values[0] = 1.0
    values[1].flat[[0, 2, 4, 10, 12, 14, 20, 22]] = 2.0
    assert majority(values, RUNS, RUNS) == (0, True)
    values[0, 4, 4] = values[1, 4, 4] = 0.0
    values[1, 4, 3] = 2.0
    assert majority(values, RUNS, RUNS) == (0, False)


def test_votes_within_the_rounding_are_no_votes() -> None:
    values = np.zeros((2, 5, 5))
    values[0] = 1e-3
    assert majority(values, RUNS, RUNS, 1e-4).certified
    assert not majority(values, RUNS, RUNS, 1e-3).certified


def test_heaviside_looks_at_signs_alone() -> None:
    values = np.full((2, 5, 5), -1.0)
    values[0] = 1e-3
    values[1, 0, 0] = 1e3
    assert heaviside(values, RUNS, RUNS) == (0, True)


def test_robust_masking_leaves_out_a_loud_window() -> None:
    values = np.zeros((2, 5, 5))
    values[0] = 1.0
    assert robust_masking(values, RUNS, RUNS) == (0, True)
    values[1, 2, 2] = 1e3
    assert robust_masking(values, RUNS, RUNS) == (0, False)  # a patch elsewhere that is louder makes it heard


@pytest.mark.parametrize("name", COMPARISONS)
def test_no_attack_beats_them(name: str) -> None:
    random, held = np.random.default_rng(0), 0
    for _ in range(40):
        values = random.normal(0, 2, (3, 5, 5))
        values[0] += random.choice([1.0, 4.0])
        label, certified = COMPARISONS[name](values, RUNS, RUNS, 0.0)
        held += certified
        for row, column, rival in product(RUNS, RUNS, range(3)) if certified else ():
            changed = values.copy()
            cells = slice(row.start, row.stop), slice(column.start, column.stop)
            changed[(slice(None), *cells)] = -50.0
            changed[(rival, *cells)] = 50.0
            assert COMPARISONS[name](changed, RUNS, RUNS, 0.0).label == label
    assert held >= 5
