"""Sums over rectangles, against slices."""

from __future__ import annotations

import numpy as np

from bagnet.certificates.rectangles import overlaps, sums
from bagnet.geometry import Span

RUNS = [Span(0, 2), Span(1, 5), Span(4, 4), Span(3, 6)]


def test_sums_are_those_of_slices() -> None:
    maps = np.random.default_rng(0).normal(size=(3, 6, 7))
    columns = [Span(0, 7), Span(2, 3)]
    totals = sums(maps, RUNS, columns)
    assert totals.shape == (3, 4, 2)
    for number, row in enumerate(RUNS):
        for place, column in enumerate(columns):
            expected = maps[:, row.start : row.stop, column.start : column.stop].sum((1, 2))
            np.testing.assert_allclose(totals[:, number, place], expected, atol=1e-12)


def test_overlaps_of_each_two() -> None:
    both = overlaps(RUNS)
    assert [(span.start, span.stop) for span in both[:4]] == [(0, 2), (1, 2), (4, 4), (3, 3)]
    assert all(span.length >= 0 for span in both)
