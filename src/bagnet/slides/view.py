"""What there is to see of a slide, near and far: tiles of its image and of its maps."""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.decode import printable
from ..geometry import Box, Pyramid
from ..progress import Listener, unheard
from ..runs.store import Rows, held_settings
from .outputs import logit_at
from .overview import means_of_blocks
from .plan import Plan
from .readers import Pixels, Reader, open_reader
from .run import TILES, Slide, open_slide
from .scaled import WithOverview, readable, scaled

SIDE = 256  # of a tile, in pixels and in cells
SKIPPED = np.float32(np.inf)  # in a tile of a map: a cell that was skipped as white; NaN is one that could not be computed
AROUND = 64  # pixels about a window that can be shown with it, at most
_PIECE = 16  # pixels: the side of the pieces of what is about a window, where it cannot be read whole
_TYPICAL = 0.99  # of the sizes of the logits are no larger than the scale begins with


class View:
    """A slide and its image, in tiles. Made by `open_view`.

    Args:
        name: of the image.
        slide: the evidence.
        reader: of the image.
        skipped: boxes of cells that were skipped.
        progress: told of reading an image that has no small level.
    """

    def __init__(self, name: str, slide: Slide, reader: Reader, skipped: list[Box], progress: Listener = unheard) -> None:
        self.name, self.slide = name, slide
        self._reader = WithOverview(reader, progress=progress)
        self._skipped = skipped
        largest = reader.levels[0]
        self.image = Pyramid(largest.height, largest.width, SIDE)
        _, rows, columns = slide.evidence.shape
        self.map = Pyramid(rows, columns, SIDE)
        self.microns_per_pixel = reader.microns_per_pixel  # of the largest level
        self.skipped_cells = sum(box.area for box in skipped)
        self.missing_cells = _missing(slide) - self.skipped_cells

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the largest level that one of the level with the evidence stands for, (across, down)."""
        height, width = self.slide.size
        return self.image.width / width, self.image.height / height

    def typical(self) -> float:
        """A logit that few windows exceed, of whatever class and sign: where colours may end."""
        return max(abs(logit_at(values, share)) for values in self.slide.evidence for share in (1 - _TYPICAL, _TYPICAL))

    def pixels(self, halvings: int, row: int, column: int) -> Pixels | None:
        """(h, w, 3) of a tile of the image; None where there is no such tile. What cannot be read is grey."""
        box = self.image.tile(halvings, row, column)
        if box is None:
            return None
        return scaled(self._reader, box, -(-box.height >> halvings), -(-box.width >> halvings))

    def values(self, number: int, halvings: int, row: int, column: int) -> NDArray[np.float32] | None:
        """(h, w) logits of a tile of a map, or where it was halved their means over the windows that were computed.

        NaN where none of them could be computed, `SKIPPED` where all of them were skipped.

        Args:
            number: of the class, among the slide's.
            halvings: 0 for the windows themselves.
            row: of the tile.
            column: of the tile.
        """
        cells = self.map.tile(halvings, row, column)
        if cells is None or not 0 <= number < len(self.slide.classes):
            return None
        block = 1 << halvings
        part = self.slide.evidence[number][cells.slices]
        values = np.array(part) if halvings == 0 else means_of_blocks(part, block)
        if np.isnan(values).any():
            whole = np.outer(_lengths(cells.height, block), _lengths(cells.width, block))
            values[np.isnan(values) & (self._skipped_in(cells, block) == whole)] = SKIPPED
        return values

    def window(self, row: int, column: int, around: int = 0) -> Pixels | None:
        """(h, w, 3): what a window sees, as the network gets it, and some pixels around it; white outside the image.

        What cannot be read is grey. None where there is no such window, or more around it is asked for than `AROUND`.
        """
        if not (0 <= row < self.map.height and 0 <= column < self.map.width and 0 <= around <= AROUND):
            return None
        left, top, right, bottom = self.slide.geometry.window(row, column)
        box = Box(left - around, top - around, right + around, bottom + around)
        height, width = self.slide.size
        seen = box.intersect(Box(0, 0, width, height))
        pixels = np.full((box.height, box.width, 3), 255, np.uint8)
        pixels[seen.shift(-box.left, -box.top).slices] = readable(self._reader, self.slide.level, seen, _PIECE)
        return pixels

    def close(self) -> None:
        """No more reading."""
        self._reader.close()

    def _skipped_in(self, cells: Box, block: int) -> NDArray[np.int64]:
        """How many cells of each block of a tile were skipped."""
        counts = np.zeros((-(-cells.height // block), -(-cells.width // block)), np.int64)
        for box in self._skipped:
            seen = box.intersect(cells)
            if seen.area:
                inside = seen.shift(-cells.left, -cells.top)
                rows = _overlaps(inside.top, inside.bottom, block)
                columns = _overlaps(inside.left, inside.right, block)
                where = inside.top // block, inside.left // block
                counts[where[0] : where[0] + len(rows), where[1] : where[1] + len(columns)] += np.outer(rows, columns)
        return counts


def open_view(folder: str | PathLike[str], progress: Listener = unheard) -> View:
    """What `slide` wrote, and the image that it is of.

    Args:
        folder: that `slide` wrote.
        progress: told of reading an image that has no small level: all of it, once, a strip at a time.

    Raises:
        ValueError: the folder holds no slide, one that is not finished, or a part of one; or its image has changed since.
        FileNotFoundError: its image is gone.
        BadImage, ImportError: as `open_reader`.
    """
    path = Path(fspath(folder))
    slide = open_slide(path)
    settings = held_settings(path) or {}
    if "shard" in settings:
        raise ValueError(f"{path}: holds a part of a slide: join all parts first (bagnet merge)")
    image = Path(settings["image"])
    _check_image(path, image, settings)
    reader = open_reader(image)
    try:
        return View(image.name, slide, reader, _skipped(slide, settings), progress)
    except BaseException:
        reader.close()
        raise


def _check_image(folder: Path, image: Path, settings: dict[str, Any]) -> None:
    """See that an image is what the evidence is of."""
    if not image.exists():
        raise FileNotFoundError(f"{folder}: its image, {printable(str(image))}, is gone: put it back where it was")
    status = image.stat()
    if (status.st_size, status.st_mtime_ns) != (settings["bytes"], settings["changed"]):
        raise ValueError(f"{folder}: its image, {printable(str(image))}, has changed since: compute it again (bagnet slide)")


def _skipped(slide: Slide, settings: dict[str, Any]) -> list[Box]:
    """The cells of tiles that were skipped."""
    if not slide.skipped:
        return []
    rows = dict(Rows(slide.folder / f"{TILES}.jsonl", lambda: None, resumed=True))
    plan = Plan(slide.geometry, *slide.size, settings["tile pixels"])
    return [part.fresh for part in plan.parts() if rows.get(str(part.number), {}).get("skipped")]


def _missing(slide: Slide) -> int:
    """Cells without evidence."""
    if not slide.skipped and not slide.bad:
        return 0
    return sum(int(np.isnan(row).sum()) for row in slide.evidence[0])


def _lengths(cells: int, block: int) -> NDArray[np.int64]:
    """Cells of each block of a run that begins with a block."""
    return _overlaps(0, cells, block)


def _overlaps(start: int, stop: int, block: int) -> NDArray[np.int64]:
    """Of the blocks along an axis that a run touches, how many cells of each it holds."""
    edges = np.arange(start // block, -(-stop // block) + 1, dtype=np.int64) * block
    return np.minimum(edges[1:], stop) - np.maximum(edges[:-1], start)
