"""Which cells an edit touches, and the few rectangles to compute them by."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..geometry import Box, Geometry
from .cut import cut_for

RECTANGLES = 48  # to begin with, at most: more are first put together blindly
RUN_PIXELS = 1024  # what it costs to run one more cut, however small, in pixels of the image

Cells = NDArray[np.bool_]


def touched_cells(geometry: Geometry, mask: Tensor) -> Tensor:
    """(H, W) changed pixels -> (h, w) cells whose windows hold one of them, both bool. ValueError: smaller than one window."""
    geometry.grid(*mask.shape)
    padded = F.pad(mask.float()[None, None], [-geometry.origin] * 4)
    tall = F.max_pool2d(padded, (geometry.size, 1), (geometry.stride, 1))
    return F.max_pool2d(tall, (1, geometry.size), (1, geometry.stride))[0, 0] > 0


def cover(geometry: Geometry, touched: Tensor, height: int, width: int) -> list[tuple[Box, Box, Box]]:
    """Rectangles of cells that together hold all touched ones and cost little to compute, at most what the whole image does.

    Args:
        geometry: of the network.
        touched: (h, w) bool.
        height: of the image, in pixels.
        width: the same.

    Returns:
        For each: its cells, the cut of the image that computes them, and the same cells on the grid of the cut.
    """
    cells = touched.cpu().numpy()
    rows, columns = cells.shape
    rectangles = list(_rectangles(cells))
    block = 1
    while len(rectangles) > RECTANGLES:
        block *= 2
        rectangles = [
            Box(block * left, block * top, min(columns, block * right), min(rows, block * bottom))
            for left, top, right, bottom in _rectangles(_coarse(cells, block))
        ]

    def cut(box: Box) -> tuple[Box, Box]:
        return cut_for(geometry, box, min(rows, _round(box.height)), min(columns, _round(box.width)), height, width)

    def cost(box: Box) -> int:
        return cut(box)[0].area + RUN_PIXELS

    merged = _merged(rectangles, cost)
    whole = Box(0, 0, columns, rows)
    if sum(map(cost, merged)) > cost(whole):
        merged = [whole]
    return [(box, *cut(box)) for box in merged]


def _rectangles(cells: Cells) -> Iterator[Box]:
    """The runs of each row, together with the same runs of the rows below."""
    open_runs: dict[tuple[int, int], int] = {}
    for row, line in enumerate([*cells, np.zeros_like(cells[0])]):
        edges = np.flatnonzero(np.diff(line.astype(np.int8), prepend=0, append=0))
        runs = {(int(left), int(right)) for left, right in edges.reshape(-1, 2)}
        for run in [run for run in open_runs if run not in runs]:
            yield Box(run[0], open_runs.pop(run), run[1], row)
        for run in sorted(runs):
            open_runs.setdefault(run, row)


def _coarse(cells: Cells, block: int) -> Cells:
    """The same grid in blocks of block x block cells: those with a touched cell."""
    for axis, length in enumerate(cells.shape):
        cells = np.logical_or.reduceat(cells, range(0, length, block), axis)
    return cells


def _merged(rectangles: list[Box], cost: Callable[[Box], int]) -> list[Box]:
    """Two become one where that costs no more, until no two do."""
    done: list[Box] = []
    waiting = list(rectangles)
    while waiting:
        one = waiting.pop()
        for place, other in enumerate(done):
            both = Box(
                min(one.left, other.left), min(one.top, other.top), max(one.right, other.right), max(one.bottom, other.bottom)
            )
            if cost(both) <= cost(one) + cost(other):
                waiting.append(both)
                del done[place]
                break
        else:
            done.append(one)
    return done


def _round(cells: int) -> int:
    """The next of 1, 2, 3, 4, 6, 8, 12, 16, 24 ...: few shapes, as some runtimes compile a program for each."""
    power = 1 << (cells - 1).bit_length()
    return power * 3 // 4 if power >= 4 and cells <= power * 3 // 4 else power
