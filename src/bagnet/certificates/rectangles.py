"""Sums of maps over all rectangles of cells that a patch can touch, at once: products with the rows and columns they hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..geometry import Span

Array = NDArray[np.float64]


def sums(maps: Array, rows: Sequence[Span], columns: Sequence[Span]) -> Array:
    """(K, h, w) -> (K, R, C): the sum over each run of rows times each run of columns; an empty run sums to 0."""
    count, height, width = maps.shape
    across = (maps.reshape(-1, width) @ _held(columns, width).T).reshape(count, height, len(columns))
    totals: Array = _held(rows, height) @ across
    return totals


def _held(runs: Sequence[Span], length: int) -> Array:
    """(N, length) 1 for the places that each run holds, else 0."""
    starts, stops = (np.array(edges)[:, None] for edges in ([run.start for run in runs], [run.stop for run in runs]))
    places = np.arange(length)
    return ((starts <= places) & (places < stops)).astype(np.float64)


def overlaps(runs: Sequence[Span]) -> list[Span]:
    """Of each two of them, those before and including it: where they overlap; empty runs where they do not."""
    return [_overlap(first, second) for first in runs for second in runs]


def _overlap(first: Span, second: Span) -> Span:
    start, stop = max(first.start, second.start), min(first.stop, second.stop)
    return Span(start, max(start, stop))
