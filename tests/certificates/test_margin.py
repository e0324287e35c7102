from __future__ import annotations

import numpy as np
import pytest

from bagnet.certificates.bounded import AGGREGATIONS, aggregation
from bagnet.certificates.margin import margin
from bagnet.geometry import Box, Span


def test_literals() -> None:
    """Four windows say 1 to the answer and 0 to the rival; one touched window can turn 1 into -1."""
    scores = np.zeros((2, 2, 2))
    scores[0] = 1.0
    cells = [Span(0, 1), Span(1, 2)]
    assert margin(scores, 0, cells, cells, -1.0).value == pytest.approx(3 - 1)
    assert margin(scores, 0, cells, cells, -1.0, count=2).value == pytest.approx(4 - 2 * 2)
    assert margin(scores, 0, cells, cells, -1.0, slack=0.5).value == pytest.approx(1.5)
    scores[0, 1, 0] = 3.0
    assert margin(scores, 0, cells, cells, -1.0).worst == Box(0, 1, 1, 2)


def test_the_best_two_of_three() -> None:
    scores = np.zeros((3, 1, 4))
    scores[0], scores[1] = 1.0, 0.9
    cells = ([Span(0, 1)], [Span(number, number + 1) for number in range(4)])
    assert margin(scores, 0, *cells, -1.0, best=1).value == pytest.approx(0.3 - 1)
    assert margin(scores, 0, *cells, -1.0, best=1).rival == 1
    assert margin(scores, 0, *cells, -1.0, best=2).value == pytest.approx(3 - 1)
    with pytest.raises(ValueError, match="of 3 classes there is no question of the best 3"):
        margin(scores, 0, *cells, -1.0, best=3)


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_bounds_hold(name: str) -> None:
    values = np.random.default_rng(0).normal(0, 100, (4, 50, 50))
    bounds = AGGREGATIONS[name]
    scores = bounds.bound(values)
    assert bounds.low <= scores.min() <= scores.max() <= bounds.high
    assert (scores[:, None] - scores[None]).min() >= bounds.apart
    changed = bounds.bound(values + np.random.default_rng(1).uniform(-1e-3, 1e-3, values.shape))
    assert np.abs(changed - scores).max() <= 1e-3 * bounds.steepest * (1 + 1e-6)


def test_unbounded_evidence_is_refused() -> None:
    with pytest.raises(ValueError, match="one touched window could say anything"):
        aggregation("logits")
    with pytest.raises(ValueError, match="there is no aggregation 'mean'"):
        aggregation("mean")
