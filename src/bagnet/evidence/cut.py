"""Which part of an image to run so that some cells come out exact: of one shape, wherever the cells lie."""

from __future__ import annotations

from collections.abc import Iterator

from ..geometry import Box, Geometry, Span, ceil_div

BATCHES = (64, 16, 4, 1)  # how many cuts are run together: few sizes, as some runtimes compile a program for each
BATCH_PIXELS = 1 << 18  # in one batch, at most: enough to keep the cores busy, little enough to stay in memory


def cells_across(geometry: Geometry, pixels: int, most: int) -> int:
    """The most cells along one axis that a run of pixels touches, wherever it lies; `most` is the grid's own number."""
    return min(most, ceil_div(max(1, pixels) + geometry.size - 1, geometry.stride))


def cut_for(geometry: Geometry, cells: Box, rows: int, columns: int, height: int, width: int) -> tuple[Box, Box]:
    """A cut of an image that has room for rows x columns cells, with some cells in it.

    All cuts for as many rows and columns have the same shape: at the border of the image they reach further inwards. Where the
    image is smaller than that, the cut is the image along that axis.

    Args:
        geometry: of the network.
        cells: to be computed exactly; not empty, and of at most that many rows and columns.
        rows: of cells that the cut has room for.
        columns: the same.
        height: of the image, in pixels.
        width: the same.

    Returns:
        The cut, in pixels of the image, and the same cells on the grid of the cut.
    """
    across, down = _span(geometry, cells.left, columns, width), _span(geometry, cells.top, rows, height)
    cut = Box(across.start, down.start, across.stop, down.stop)
    return cut, cells.shift(-cut.left // geometry.stride, -cut.top // geometry.stride)


def _span(geometry: Geometry, first: int, count: int, length: int) -> Span:
    """Begins at a multiple of the stride, so that the cut's grid is a part of the image's."""
    stride = geometry.stride
    ahead = geometry.origin // stride
    pixels = geometry.origin - ahead * stride + (count - 1) * stride + geometry.size
    if geometry.origin:
        # The network pads the cut too. The last cells come out exact only where the cut ends with the image.
        pixels += (length - pixels) % stride
    if pixels >= length:
        return Span(0, length)
    start = stride * min(max(0, first + ahead), (length - pixels) // stride)
    return Span(start, start + pixels)


def batches(count: int, cut: Box) -> Iterator[slice]:
    """Some cuts of one shape in batches of a few sizes."""
    most, start = BATCH_PIXELS // cut.area, 0
    for size in BATCHES:
        while count - start >= size and (size <= most or size == 1):
            yield slice(start, start + size)
            start += size
