"""Which part of an image to run so that some cells come out exact: one tile, all tiles of an image, or those an edit touches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import isqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .boxes import Box, Span, ceil_div
from .windows import Geometry

BATCH_SIZES = (64, 16, 4, 1)  # crops that are run together: few sizes, as some runtimes compile a program for each
BATCH_PIXELS = 1 << 18  # in one batch, at most: enough to keep the cores busy, little enough to stay in memory
RECTANGLES = 48  # to begin with, at most: more are first put together blindly
RUN_PIXELS = 1024  # what it costs to run one more crop, however small, in pixels of the image

Mask = NDArray[np.bool_]


class Tile(NamedTuple):
    """Some cells and the part of the image that computes them exactly.

    Args:
        cells: on the grid of the image.
        crop: pixels of the image to run: the windows of the cells, or more.
        inside: the same cells on the grid of the crop.
    """

    cells: Box
    crop: Box
    inside: Box


def tile_of(geometry: Geometry, cells: Box, height: int, width: int, room: tuple[int, int] | None = None) -> Tile:
    """A crop of an image with some cells in it.

    All crops with room for as many cells have the same shape: at the border of the image they reach further inwards. Where
    the image is smaller than that, the crop is the image along that axis.

    Args:
        geometry: of the network.
        cells: to be computed exactly; not empty.
        height: of the image, in pixels.
        width: of the image, in pixels.
        room: rows and columns of cells that the crop has room for, at least those of `cells`; just these where None.
    """
    rows, columns = room or (cells.height, cells.width)
    crop = Box.from_spans(
        _crop_span(geometry, cells.left, columns, width),
        _crop_span(geometry, cells.top, rows, height),
    )
    return Tile(cells, crop, cells.shift(-crop.left // geometry.stride, -crop.top // geometry.stride))


def tiles_of(geometry: Geometry, height: int, width: int, most_cells: int) -> Iterator[Tile]:
    """Tiles of at most so many cells until the grid of an image is complete.

    All have as many cells, for the sake of runtimes that compile for a shape: the last ones overlap their neighbours.

    Args:
        geometry: of the network.
        height: of the image, in pixels.
        width: of the image, in pixels.
        most_cells: of each tile, at least 1.
    """
    rows, columns = geometry.grid(height, width)
    side = max(1, isqrt(most_cells))
    across = columns if columns <= 2 * side else _even_length(columns, side)
    down = _even_length(rows, max(1, most_cells // across))
    for top in _tile_starts(rows, down):
        for left in _tile_starts(columns, across):
            yield tile_of(geometry, Box(left, top, left + across, top + down), height, width)


def cells_within(geometry: Geometry, pixels: int) -> int:
    """How many cells a square crop of so many pixels has, at least 1."""
    side = max(1, (isqrt(pixels) - geometry.size) // geometry.stride + 1)
    return side * side


def tile_touching(geometry: Geometry, box: Box, height: int, width: int) -> Tile | None:
    """The cells whose windows hold a pixel of a box, in a crop whose shape depends on the size of the box alone.

    None where no window holds any. Pixels of the box outside the image touch nothing.
    """
    cells = geometry.cells_touching(box, height, width)
    if not cells.area:
        return None
    rows, columns = geometry.grid(height, width)
    room = geometry.most_cells_touching(box.height, rows), geometry.most_cells_touching(box.width, columns)
    return tile_of(geometry, cells, height, width, room)


def cell_tiles(geometry: Geometry, cells: Mask | Box, height: int, width: int) -> list[Tile]:
    """A tile for each cell by itself, for networks that compute each window by itself.

    Args:
        geometry: of the network.
        cells: a box of the grid, or (h, w) which of them.
        height: of the image, in pixels.
        width: of the image, in pixels.
    """
    if isinstance(cells, Box):
        places = list(product(range(cells.top, cells.bottom), range(cells.left, cells.right)))
    else:
        places = [(int(row), int(column)) for row, column in np.argwhere(cells)]
    return [tile_of(geometry, Box(column, row, column + 1, row + 1), height, width) for row, column in places]


def touched_cells(geometry: Geometry, mask: Mask) -> Mask:
    """(H, W) changed pixels -> (h, w) cells whose windows hold one of them. ValueError: the mask is smaller than one window."""
    rows, columns = geometry.grid(*mask.shape)
    totals = np.pad(mask, ((1, 0), (1, 0))).cumsum(0).cumsum(1)  # of all pixels above and to the left
    tops, bottoms = _window_edges(geometry, rows, mask.shape[0])
    lefts, rights = _window_edges(geometry, columns, mask.shape[1])
    counts = totals[bottoms][:, rights] - totals[tops][:, rights] - totals[bottoms][:, lefts] + totals[tops][:, lefts]
    touched: Mask = counts > 0
    return touched


def covering_tiles(geometry: Geometry, touched: Mask, height: int, width: int) -> list[Tile]:
    """Tiles that together hold all touched cells and cost little to compute, at most what the whole image does.

    Args:
        geometry: of the network.
        touched: (h, w) cells.
        height: of the image, in pixels.
        width: of the image, in pixels.
    """
    rows, columns = touched.shape
    rectangles = list(_rectangles(touched))
    block = 1
    while len(rectangles) > RECTANGLES:
        block *= 2
        rectangles = [
            Box(block * left, block * top, min(columns, block * right), min(rows, block * bottom))
            for left, top, right, bottom in _rectangles(_coarse(touched, block))
        ]

    def tile(cells: Box) -> Tile:
        room = min(rows, _rounded_up(cells.height)), min(columns, _rounded_up(cells.width))
        return tile_of(geometry, cells, height, width, room)

    def cost(cells: Box) -> int:
        return tile(cells).crop.area + RUN_PIXELS

    merged = _merged(rectangles, cost)
    whole = Box(0, 0, columns, rows)
    if sum(map(cost, merged)) > cost(whole):
        merged = [whole]
    return [tile(cells) for cells in merged]


def batches_of(tiles: Sequence[Tile]) -> Iterator[list[int]]:
    """Numbers of tiles that can be run together: crops of one shape, in batches of a few sizes."""
    by_shape: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, tile in enumerate(tiles):
        by_shape[tile.crop.height, tile.crop.width].append(number)
    for (height, width), numbers in by_shape.items():
        most, start = BATCH_PIXELS // (height * width), 0
        for size in BATCH_SIZES:
            while len(numbers) - start >= size and (size <= most or size == 1):
                yield numbers[start : start + size]
                start += size


def all_over(count: int) -> list[int]:
    """The numbers of so many things that lie side by side, in an order of which any run is spread over them.

    Steps of the golden section, around.
    """
    order: list[int] = np.argsort(np.arange(count) * 0.6180339887498949 % 1, kind="stable").tolist()
    return order


def squares(side: int, height: int, width: int) -> list[Box]:
    """Boxes of side x side pixels side by side, row by row; those at the right and bottom are smaller where they do not fit."""
    return [
        Box(left, top, min(left + side, width), min(top + side, height))
        for top in range(0, height, side)
        for left in range(0, width, side)
    ]


def _crop_span(geometry: Geometry, first: int, count: int, length: int) -> Span:
    """Begins at a multiple of the stride, so that the crop's grid is a part of the image's."""
    stride = geometry.stride
    ahead = geometry.origin // stride
    pixels = geometry.origin - ahead * stride + (count - 1) * stride + geometry.size
    if geometry.origin:
        # The network pads the crop too. The last cells come out exact only where the crop ends with the image.
        pixels += (length - pixels) % stride
    if pixels >= length:
        return Span(0, length)
    start = stride * min(max(0, first + ahead), (length - pixels) // stride)
    return Span(start, start + pixels)


def _window_edges(geometry: Geometry, cells: int, length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First pixel of each cell's window along one axis, and one past its last; inside the image."""
    starts = geometry.origin + geometry.stride * np.arange(cells)
    return starts.clip(0, length), (starts + geometry.size).clip(0, length)


def _rectangles(cells: Mask) -> Iterator[Box]:
    """The runs of each row, together with the same runs of the rows below."""
    open_runs: dict[tuple[int, int], int] = {}
    for row, line in enumerate([*cells, np.zeros_like(cells[0])]):
        edges = np.flatnonzero(np.diff(line.astype(np.int8), prepend=0, append=0))
        runs = {(int(left), int(right)) for left, right in edges.reshape(-1, 2)}
        for run in [run for run in open_runs if run not in runs]:
            yield Box(run[0], open_runs.pop(run), run[1], row)
        for run in sorted(runs):
            open_runs.setdefault(run, row)


def _coarse(cells: Mask, block: int) -> Mask:
    """The same grid in blocks of block x block cells: those with a touched cell."""
    for axis, length in enumerate(cells.shape):
        cells = np.logical_or.reduceat(cells, range(0, length, block), axis)
    return cells


def _merged(rectangles: list[Box], cost: Callable[[Box], int]) -> list[Box]:
    """Two become one where that costs no more, until no two do."""
    done: list[Box] = []
    waiting = list(rectangles)
    while waiting:
        rectangle = waiting.pop()
        for number, neighbour in enumerate(done):
            both = rectangle.hull(neighbour)
            if cost(both) <= cost(rectangle) + cost(neighbour):
                waiting.append(both)
                del done[number]
                break
        else:
            done.append(rectangle)
    return done


def _rounded_up(cells: int) -> int:
    """The next of 1, 2, 3, 4, 6, 8, 12, 16, 24 ...: few shapes, as some runtimes compile a program for each."""
    power = 1 << (cells - 1).bit_length()
    return power * 3 // 4 if power >= 4 and cells <= power * 3 // 4 else power


def _even_length(cells: int, most: int) -> int:
    """The length of the fewest tiles of at most `most` cells, made alike."""
    return ceil_div(cells, ceil_div(cells, most))


def _tile_starts(cells: int, length: int) -> list[int]:
    return [*range(0, cells - length, length), cells - length]
