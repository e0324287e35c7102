"""Sums of maps over all rectangles of cells that a patch can touch, at once: products with the rows and columns they hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..geometry import Span

Array = NDArray[np.float64]


def classes_last(maps: NDArray[np.floating]) -> Array:
    """The same (K, h, w) maps, with all classes of a cell side by side in memory: sums and maxima over them take a third."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(maps, 0, -1), np.float64), -1, 0)


def sums(maps: Array, rows: Sequence[Span], columns: Sequence[Span]) -> Array:
    """(K, h, w) -> (K, R, C): the sum over each run of rows times each run of columns; an empty run sums to 0."""
    return sums_over(maps, held(rows, maps.shape[1]), held(columns, maps.shape[2]))


def sums_over(maps: Array, rows: Array, columns: Array) -> Array:
    """(K, h, w) -> (K, R, C), of rows (R, h) and columns (C, w) as `held` writes them; classes last in memory."""
    count, height, width = maps.shape
    by_rows = rows @ classes_last(maps).transpose(1, 2, 0).reshape(height, -1)
    return np.moveaxis(columns @ by_rows.reshape(len(rows), width, count), -1, 0)


def held(runs: Sequence[Span], length: int) -> Array:
    """(N, length) 1 for the places that each run holds, else 0: the product of two is where both overlap."""
    starts, stops = (np.array(edges)[:, None] for edges in ([run.start for run in runs], [run.stop for run in runs]))
    places = np.arange(length)
    return ((starts <= places) & (places < stops)).astype(np.float64)
