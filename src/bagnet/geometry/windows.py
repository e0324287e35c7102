"""Geometry: where a network's windows lie, and which of them hold a pixel."""

from __future__ import annotations

from dataclasses import dataclass

from .boxes import Box, Span, ceil_div


@dataclass(frozen=True, slots=True)
class Geometry:
    """Square windows of `size` pixels, one every `stride` pixels; the first begins at `origin` on both axes.

    A network without padding has origin 0. One with "same" padding has origin -(size - 1) / 2: its outer windows stick out
    of the image by as much on every side, where they see zeros.

    Args:
        size: side of a window in pixels, >= 1.
        stride: distance between neighbouring windows in pixels, >= 1.
        origin: first row and column of the first window, <= 0; the image is taken to be padded by -origin on all four sides.
            Its absolute value is less than the size, so that every window sees something of the image.
    """

    size: int
    stride: int
    origin: int = 0

    def __post_init__(self) -> None:
        if self.size < 1 or self.stride < 1 or not -self.size < self.origin <= 0:
            raise ValueError(f"a geometry needs size >= 1, stride >= 1 and -size < origin <= 0, got {self}")

    @property
    def smallest_input(self) -> int:
        """The fewest pixels per side that give a grid of at least one cell."""
        return max(1, self.size + 2 * self.origin)

    @property
    def overlap(self) -> int:
        """Pixels that neighbouring windows share: two tiles that part between cells must overlap by this much to be exact."""
        return max(0, self.size - self.stride)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns (h, w) of cells on an image of that many pixels.

        Raises:
            ValueError: the image is smaller than one window.
        """
        if min(height, width) < self.smallest_input:
            raise ValueError(
                f"an image of {height} x {width} pixels (height x width) is too small for windows of {self.size} pixels: "
                f"the smallest size is {self.smallest_input} x {self.smallest_input}"
            )
        return self._cells(height), self._cells(width)

    def window(self, row: int, column: int) -> Box:
        """The pixels that cell (row, column) sees. With padding, the box of an outer cell sticks out of the image."""
        left, top = self.origin + self.stride * column, self.origin + self.stride * row
        return Box(left, top, left + self.size, top + self.size)

    def centre_square(self, row: int, column: int) -> Box:
        """A stride x stride square about the centre of the cell's window: the cell as pictures draw it, without overlap."""
        inset = (self.size - self.stride) // 2
        left, top = self.window(row, column)[:2]
        return Box(left + inset, top + inset, left + inset + self.stride, top + inset + self.stride)

    def field(self, cells: Box) -> Box:
        """The pixels that a non-empty box of cells sees together; it may stick out of the image, as `window` does."""
        first, last = self.window(cells.top, cells.left), self.window(cells.bottom - 1, cells.right - 1)
        return Box(first.left, first.top, last.right, last.bottom)

    def cells_touching(self, box: Box, height: int, width: int) -> Box:
        """The cells, as a box of the grid, whose windows hold at least one pixel of `box` on an image of that size.

        Pixels of `box` outside the image touch nothing. The box of cells has area 0 where no window holds any.
        """
        rows, columns = self.grid(height, width)
        seen = box.intersect(Box(0, 0, width, height))
        return Box.from_spans(
            self._touching(Span(seen.left, seen.right), columns),
            self._touching(Span(seen.top, seen.bottom), rows),
        )

    def touched(self, pixels: Span, length: int) -> Span:
        """The cells along one axis of so many pixels whose windows hold at least one pixel of a run."""
        start, stop = max(0, pixels.start), min(length, pixels.stop)
        return self._touching(Span(start, max(start, stop)), self._cells(length))

    def most_cells_touching(self, pixels: int, cells: int) -> int:
        """The most cells along one axis that a run of pixels touches, wherever it lies; `cells` is the grid's own number."""
        return min(cells, ceil_div(max(1, pixels) + self.size - 1, self.stride))

    def unseen(self, height: int, width: int) -> list[Box]:
        """The parts of an image that no window sees, as boxes that do not overlap: changing them changes no logit.

        Usually a strip at the right and one at the bottom, where (image - size) is no multiple of the stride.
        """
        self.grid(height, width)
        across = [Box(gap.start, 0, gap.stop, height) for gap in self._gaps(width)]
        seen = self._seen(width)
        down = [Box.from_spans(span, gap) for gap in self._gaps(height) for span in seen]
        return across + down

    def covered_size(self, pixels: int) -> int:
        """The largest image side <= `pixels` whose windows reach its edge, so that no strip there goes unseen.

        Raises:
            ValueError: `pixels` is less than one window.
        """
        self.grid(pixels, pixels)
        return min(pixels, self._end(pixels))

    def _cells(self, length: int) -> int:
        return (length - self.size - 2 * self.origin) // self.stride + 1

    def _end(self, length: int) -> int:
        """One past the last pixel that the last window sees."""
        return self.origin + self.stride * (self._cells(length) - 1) + self.size

    def _touching(self, pixels: Span, cells: int) -> Span:
        if not pixels.length:
            return Span(0, 0)
        first = ceil_div(pixels.start - self.origin - self.size + 1, self.stride)
        last = (pixels.stop - 1 - self.origin) // self.stride
        return Span(max(0, first), max(0, first, min(cells, last + 1)))

    def _seen(self, length: int) -> list[Span]:
        """The seen pixels of one axis, in order: one span, unless windows are further apart than they are long."""
        if self.stride <= self.size:
            spans = [Span(self.origin, self._end(length))]
        else:
            starts = range(self.origin, self._end(length), self.stride)
            spans = [Span(start, start + self.size) for start in starts]
        return [Span(max(0, span.start), min(length, span.stop)) for span in spans]

    def _gaps(self, length: int) -> list[Span]:
        seen = self._seen(length)
        edges = [0, *(edge for span in seen for edge in span), length]
        gaps = [Span(start, stop) for start, stop in zip(edges[::2], edges[1::2], strict=True)]
        return [gap for gap in gaps if gap.length]
