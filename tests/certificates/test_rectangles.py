"""Sums over rectangles, against slices."""

from __future__ import annotations

import numpy as np

from bagnet.certificates.rectangles import classes_last, held, sums
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


def test_products_of_what_runs_hold_are_their_overlaps() -> None:
    rows = held(RUNS, 6)
    np.testing.assert_array_equal(rows[0] * rows[1], [0, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(rows[1] * rows[3], [0, 0, 0, 1, 1, 0])
    assert not rows[2].any()


def test_the_same_maps_with_classes_side_by_side() -> None:
    maps = np.random.default_rng(0).normal(size=(3, 6, 7)).astype(np.float32)
    moved = classes_last(maps)
    np.testing.assert_array_equal(moved, maps)
    assert moved.dtype == np.float64
    assert moved.strides[0] == moved.itemsize
