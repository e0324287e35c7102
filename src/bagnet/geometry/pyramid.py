"""An image, or a map, at half its size and half of that and so on, in square tiles: which part of the whole a tile shows."""

from __future__ import annotations

from dataclasses import dataclass

from .boxes import Box, ceil_div


@dataclass(frozen=True, slots=True)
class Pyramid:
    """The sizes and tiles of something that is looked at from near and from far.

    Args:
        height: of the whole, in pixels or cells.
        width: of the whole.
        side: of a tile; those at the right and bottom may be smaller.

    Raises:
        ValueError: a length is not positive.
    """

    height: int
    width: int
    side: int

    def __post_init__(self) -> None:
        if min(self.height, self.width, self.side) < 1:
            raise ValueError(f"a pyramid needs positive lengths, got {self}")

    @property
    def levels(self) -> int:
        """How many sizes there are: the whole, and its halves until all is one tile."""
        return 1 + (ceil_div(max(self.height, self.width), self.side) - 1).bit_length()

    def shape(self, halvings: int) -> tuple[int, int]:
        """Rows and columns of the whole after so many halvings; what is left over at the right and bottom counts as one."""
        return ceil_div(self.height, 1 << halvings), ceil_div(self.width, 1 << halvings)

    def tile(self, halvings: int, row: int, column: int) -> Box | None:
        """The part of the whole, at full size, that a tile shows; None where there is no such tile."""
        if not 0 <= halvings < self.levels or row < 0 or column < 0:
            return None
        covered = self.side << halvings
        box = Box(column * covered, row * covered, (column + 1) * covered, (row + 1) * covered)
        shown = box.intersect(Box(0, 0, self.width, self.height))
        return shown if shown.area else None
