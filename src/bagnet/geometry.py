"""Where windows lie: on the network's input (Geometry) and in the person's image (Placement).

Integers only, no images and no tensors. Tiling, pictures, edits and proofs are all questions to these two classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import NamedTuple


class Box(NamedTuple):
    """A half-open rectangle: columns left..right-1, rows top..bottom-1.

    The order is Pillow's, so `image.crop(box)` works. The unit (pixels of the image, pixels of the network's input, cells
    of the grid) is stated by whoever returns one.
    """

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return max(0, self.right - self.left)

    @property
    def height(self) -> int:
        return max(0, self.bottom - self.top)

    @property
    def area(self) -> int:
        """Number of unit squares inside; 0 where the box is empty."""
        return self.width * self.height

    @property
    def slices(self) -> tuple[slice, slice]:
        """(rows, columns), to index the last two axes of an array."""
        return slice(self.top, max(self.top, self.bottom)), slice(self.left, max(self.left, self.right))

    def intersect(self, other: Box) -> Box:
        """The part that both boxes share; it has area 0 where there is none."""
        return Box(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        )

    def contains(self, other: Box) -> bool:
        """Whether all of `other` lies inside."""
        return other.area == 0 or self.intersect(other) == other

    def shift(self, columns: int, rows: int) -> Box:
        return Box(self.left + columns, self.top + rows, self.right + columns, self.bottom + rows)


class Span(NamedTuple):
    """A half-open run of pixels, or of cells, along one axis."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        return max(0, self.stop - self.start)


def _box(columns: Span, rows: Span) -> Box:
    return Box(columns.start, rows.start, columns.stop, rows.stop)


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
        """Pixels that neighbouring windows share: two tiles cut between cells must overlap by this much to be exact."""
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

    def cut_out(self, cells: Box, height: int, width: int) -> tuple[Box, Box]:
        """What to cut out of an image so that the network computes some cells of it exactly.

        The cut begins at a multiple of the stride and holds the whole windows of the cells, or ends where the image does: a
        network with padding puts its zeros around the cut too, and they reach only other cells.

        Returns:
            The cut, in pixels of the image, and the same cells on the grid of the cut.
        """
        field = self.field(cells)
        column, row = max(0, field.left) // self.stride, max(0, field.top) // self.stride
        cut = Box(column * self.stride, row * self.stride, min(width, field.right), min(height, field.bottom))
        return cut, cells.shift(-column, -row)

    def cells_touching(self, box: Box, height: int, width: int) -> Box:
        """The cells, as a box of the grid, whose windows hold at least one pixel of `box` on an image of that size.

        Pixels of `box` outside the image touch nothing. The box of cells has area 0 where no window holds any.
        """
        rows, columns = self.grid(height, width)
        seen = box.intersect(Box(0, 0, width, height))
        return _box(
            self._touching(Span(seen.left, seen.right), columns),
            self._touching(Span(seen.top, seen.bottom), rows),
        )

    def unseen(self, height: int, width: int) -> list[Box]:
        """The parts of an image that no window sees, as boxes that do not overlap: changing them changes no logit.

        Usually a strip at the right and one at the bottom, where (image - size) is no multiple of the stride.
        """
        self.grid(height, width)
        across = [Box(gap.start, 0, gap.stop, height) for gap in self._gaps(width)]
        seen = self._seen(width)
        down = [_box(span, gap) for gap in self._gaps(height) for span in seen]
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


def ceil_div(numerator: int, denominator: int) -> int:
    """Exact integer division, rounded up."""
    return -(-numerator // denominator)


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a Placement: how `source` pixels became `resized` ones, of which the network sees `length` from `start`.

    Args:
        source: pixels of the person's image along this axis.
        resized: pixels after the resize.
        start: first resized pixel that the network sees; negative where the crop pads.
        length: pixels that the network sees.
        filter_radius: half-width of the resize filter in output pixels (1 for bilinear, 2 bicubic, 3 Lanczos), as Pillow
            defines it: it widens with the reduction, and never shrinks when enlarging. Unused where nothing is resized.
    """

    source: int
    resized: int
    start: int
    length: int
    filter_radius: float

    @property
    def scale(self) -> float:
        """Source pixels per resized pixel."""
        return self.source / self.resized

    def display(self, span: Span) -> Span:
        """Network pixels -> source pixels, edges rounded, clipped to the image."""
        start, stop = (round((edge + self.start) * self.scale) for edge in span)
        return Span(min(max(start, 0), self.source), min(max(stop, 0), self.source))

    def influence(self, span: Span) -> Span:
        """Network pixels -> an outer bound on the source pixels that they were computed from."""
        first, last = max(span.start + self.start, 0), min(span.stop + self.start, self.resized) - 1
        if last < first:
            return Span(0, 0)
        return Span(self._taps(first).start, self._taps(last).stop)

    def influenced(self, span: Span) -> Span:
        """Source pixels -> an outer bound on the network pixels that were computed from any of them."""
        start, stop = max(span.start, 0), min(span.stop, self.source)
        if stop <= start:
            return Span(0, 0)
        # Taps move right with the pixel, so the touched pixels are a run and its two ends can be counted.
        first = sum(self._taps(pixel).stop <= start for pixel in range(self.resized))
        last = sum(self._taps(pixel).start < stop for pixel in range(self.resized))
        first, last = max(first - self.start, 0), min(last - self.start, self.length)
        return Span(first, max(first, last))

    def _taps(self, pixel: int) -> Span:
        """Source pixels with a place in the filter of one resized pixel: Pillow's own rounding, widened by one pixel."""
        if self.source == self.resized:
            return Span(pixel, pixel + 1)
        centre, radius = (pixel + 0.5) * self.scale, self.filter_radius * max(self.scale, 1.0)
        return Span(max(floor(centre - radius) - 1, 0), min(ceil(centre + radius) + 1, self.source))


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the network's input lies in the person's image, through rotation, antialiased resize and crop.

    Boxes of the person's image are in pixels of the upright picture, as every viewer shows it and as
    `PIL.ImageOps.exif_transpose` returns it; `stored_box` turns one into pixels of the file as stored.

    Args:
        horizontal: the columns.
        vertical: the rows.
        orientation: EXIF orientation of the file, 1 to 8; 1 is upright.
    """

    horizontal: Axis
    vertical: Axis
    orientation: int = 1

    @classmethod
    def identity(cls, height: int, width: int) -> Placement:
        """The placement of an image that is given to the network as it is."""
        return cls(Axis(width, width, 0, width, 0.0), Axis(height, height, 0, height, 0.0))

    @property
    def image_size(self) -> tuple[int, int]:
        """(width, height) of the person's image, upright, in pixels."""
        return self.horizontal.source, self.vertical.source

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the network's input in pixels."""
        return self.vertical.length, self.horizontal.length

    def display_box(self, box: Box) -> Box:
        """A box of the network's input as a box of the person's image, rounded and clipped: for pictures."""
        columns, rows = Span(box.left, box.right), Span(box.top, box.bottom)
        return _box(self.horizontal.display(columns), self.vertical.display(rows))

    def influence_box(self, box: Box) -> Box:
        """A box of the person's image that holds every pixel on which the given box of the network's input depends.

        An outer bound, for proofs and edits: it includes the support of the resize filter.
        """
        columns, rows = Span(box.left, box.right), Span(box.top, box.bottom)
        return _box(self.horizontal.influence(columns), self.vertical.influence(rows))

    def influenced_box(self, box: Box) -> Box:
        """A box of the network's input that holds every pixel which depends on the given box of the person's image.

        The other way round than `influence_box`, and an outer bound too: what an edit of the image may change.
        """
        columns, rows = Span(box.left, box.right), Span(box.top, box.bottom)
        return _box(self.horizontal.influenced(columns), self.vertical.influenced(rows))

    def stored_box(self, box: Box) -> Box:
        """A box of the upright image in pixels of the file as stored, before its EXIF orientation is applied."""
        width, height = self.image_size
        if self.orientation >= 5:  # the stored file is transposed, so its width is the upright height
            mirrored = {5: (False, False), 6: (True, False), 7: (True, True), 8: (False, True)}
        else:
            mirrored = {1: (False, False), 2: (True, False), 3: (True, True), 4: (False, True)}
        # Whether the upright x, and the upright y, runs against the stored axis it lies on.
        against_x, against_y = mirrored[self.orientation]
        left, right = (width - box.right, width - box.left) if against_x else (box.left, box.right)
        top, bottom = (height - box.bottom, height - box.top) if against_y else (box.top, box.bottom)
        return Box(top, left, bottom, right) if self.orientation >= 5 else Box(left, top, right, bottom)
