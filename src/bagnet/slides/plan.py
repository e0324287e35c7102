"""How a large image is cut into tiles: each cell of its grid once, each tile with all pixels that its cells see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..geometry import Box, Geometry, Tile, cells_within, squares, tile_of, tiles_of
from ..runs.shards import Shard, shard_of

TILE_PIXELS = 1 << 20  # of a tile, about: the halo is a few per cent of it
PIECE = 128  # pixels: about the side of the pieces of a tile that cannot be read whole


@dataclass(frozen=True, slots=True)
class Part:
    """A tile, and which of its cells no earlier tile has.

    Args:
        number: in the order in which they are computed.
        tile: what to read, and which cells come out exact.
        fresh: the cells that count as this tile's.
    """

    number: int
    tile: Tile
    fresh: Box

    @property
    def inside(self) -> Box:
        """The fresh cells on the grid of the crop."""
        tile = self.tile
        return self.fresh.shift(tile.inside.left - tile.cells.left, tile.inside.top - tile.cells.top)


@dataclass(frozen=True, slots=True)
class Plan:
    """The tiles of an image.

    Args:
        geometry: of the network.
        height: of the image, in pixels.
        width: of the image, in pixels.
        pixels: of a tile, about.

    Raises:
        ValueError: the image is smaller than a window.
    """

    geometry: Geometry
    height: int
    width: int
    pixels: int = TILE_PIXELS

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        return self.geometry.grid(self.height, self.width)

    def parts(self) -> Iterator[Part]:
        """All tiles, row by row: their fresh cells are each cell of the grid once."""
        left = above = bottom = 0  # cells to the left and above that earlier tiles have
        for number, tile in enumerate(tiles_of(self.geometry, self.height, self.width, cells_within(self.geometry, self.pixels))):
            cells = tile.cells
            if cells.left == 0:
                left, above = 0, bottom
            yield Part(number, tile, Box(max(cells.left, left), max(cells.top, above), cells.right, cells.bottom))
            left, bottom = cells.right, cells.bottom

    def shard(self, shard: Shard | None) -> list[Part]:
        """The tiles of a part of the work; all where None."""
        every = list(self.parts())
        return [every[number] for number in shard_of(len(every), shard, block=1)]

    def rows_of(self, parts: Sequence[Part]) -> range:
        """The rows of cells in which some neighbouring tiles have fresh cells."""
        return range(min((part.fresh.top for part in parts), default=0), max((part.fresh.bottom for part in parts), default=0))

    def pieces(self, part: Part) -> Iterator[Part]:
        """The fresh cells of a tile again, in tiles of little more than `PIECE` pixels a side."""
        geometry, fresh = self.geometry, part.fresh
        for box in squares(max(1, PIECE // geometry.stride), fresh.height, fresh.width):
            cells = box.shift(fresh.left, fresh.top)
            yield Part(part.number, tile_of(geometry, cells, self.height, self.width), cells)

    @property
    def halo(self) -> float:
        """Pixels that are computed more than once, as a share of the image."""
        return sum(part.tile.crop.area for part in self.parts()) / (self.height * self.width) - 1
