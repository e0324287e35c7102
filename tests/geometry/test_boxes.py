"""Boxes and spans by hand, and against sets of unit squares."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bagnet.geometry.boxes import Box, Span, ceil_div

EDGES = st.integers(-4, 6)
BOXES = st.builds(Box, EDGES, EDGES, EDGES, EDGES)
SIDES = st.integers(1, 8)
FILLED = st.builds(lambda left, top, width, height: Box(left, top, left + width, top + height), EDGES, EDGES, SIDES, SIDES)


def squares(box: Box) -> set[tuple[int, int]]:
    """The unit squares inside a box, (column, row)."""
    return set(product(range(box.left, box.right), range(box.top, box.bottom)))


def test_spans() -> None:
    assert Span(2, 7).length == 5
    assert Span(7, 2).length == 0
    assert Box.from_spans(Span(1, 4), Span(2, 9)) == Box(1, 2, 4, 9)


def test_a_box_is_pillows_and_its_slices_are_an_arrays() -> None:
    box = Box(left=1, top=2, right=4, bottom=7)
    assert (box.width, box.height, box.area) == (3, 5, 15)
    assert box.slices == (slice(2, 7), slice(1, 4))
    assert box.shift(columns=10, rows=-2) == Box(11, 0, 14, 5)


def test_what_is_empty_has_no_area_and_selects_nothing() -> None:
    for box in (Box(3, 0, 3, 5), Box(4, 0, 2, 5), Box(0, 5, 3, 1)):
        assert box.area == 0
        assert np.zeros((9, 9))[box.slices].size == 0
    assert Box(0, 0, 1, 1).contains(Box(50, 50, 50, 60)), "nothing lies in everything"


@given(BOXES, BOXES)
def test_intersection_and_containment_are_those_of_the_squares(left: Box, right: Box) -> None:
    assert left.area == len(squares(left))
    assert squares(left.intersect(right)) == squares(left) & squares(right)
    assert left.contains(right) == (squares(right) <= squares(left))


@given(FILLED, FILLED)
def test_the_hull_is_the_smallest_box_around_both(left: Box, right: Box) -> None:
    hull = left.hull(right)
    assert hull.contains(left)
    assert hull.contains(right)
    columns, rows = zip(*squares(left) | squares(right), strict=True)
    assert hull == Box(min(columns), min(rows), max(columns) + 1, max(rows) + 1)


@given(st.integers(-100, 100), st.integers(1, 20))
def test_ceil_div_is_the_least_integer_not_below_the_quotient(numerator: int, denominator: int) -> None:
    quotient = ceil_div(numerator, denominator)
    assert (quotient - 1) * denominator < numerator <= quotient * denominator
