"""Sums of maps over all rectangles of cells that a patch can touch, at once, from one table of running sums."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..geometry import Span

Array = NDArray[np.float64]


def running(maps: Array) -> Array:
    """(..., h, w) -> (..., h + 1, w + 1): sums of all above and to the left."""
    table = np.zeros((*maps.shape[:-2], maps.shape[-2] + 1, maps.shape[-1] + 1))
    table[..., 1:, 1:] = maps.cumsum(-2).cumsum(-1)
    return table


def sums(table: Array, rows: Sequence[Span], columns: Sequence[Span]) -> Array:
    """(..., R, C): the sum over each run of rows times each run of columns; an empty run sums to 0."""
    top, bottom, left, right = (np.array(edges, np.intp) for edges in (*_edges(rows), *_edges(columns)))
    strips = table[..., bottom, :] - table[..., top, :]
    totals: Array = strips[..., right] - strips[..., left]
    return totals


def overlaps(runs: Sequence[Span]) -> list[Span]:
    """Of each two of them, those before and including it: where they overlap; empty runs where they do not."""
    return [_overlap(first, second) for first in runs for second in runs]


def _overlap(first: Span, second: Span) -> Span:
    start, stop = max(first.start, second.start), min(first.stop, second.stop)
    return Span(start, max(start, stop))


def _edges(runs: Sequence[Span]) -> tuple[list[int], list[int]]:
    return [run.start for run in runs], [run.stop for run in runs]
