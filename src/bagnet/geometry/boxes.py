"""Rectangles and runs of whole pixels or cells, half-open as slices are."""

from __future__ import annotations

from typing import NamedTuple


class Span(NamedTuple):
    """A half-open run of pixels, or of cells, along one axis."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        return max(0, self.stop - self.start)


class Box(NamedTuple):
    """A half-open rectangle: columns left..right-1, rows top..bottom-1.

    The order is Pillow's, so `image.crop(box)` works. The unit (pixels of the image, pixels of the network's input, cells
    of the grid) is stated by whoever returns one.
    """

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def from_spans(cls, columns: Span, rows: Span) -> Box:
        """The columns and rows that two spans have."""
        return cls(columns.start, rows.start, columns.stop, rows.stop)

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

    def hull(self, other: Box) -> Box:
        """The smallest box that holds both."""
        return Box(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )

    def contains(self, other: Box) -> bool:
        """Whether all of `other` lies inside."""
        return other.area == 0 or self.intersect(other) == other

    def shift(self, columns: int, rows: int) -> Box:
        return Box(self.left + columns, self.top + rows, self.right + columns, self.bottom + rows)


def ceil_div(numerator: int, denominator: int) -> int:
    """Exact integer division, rounded up."""
    return -(-numerator // denominator)
