"""Parts of a large image at any smaller size: from the level that fits, a strip at a time."""

from __future__ import annotations

from math import ceil, floor

import numpy as np
from PIL import Image

from ..data.decode import BadImage
from ..geometry import Box, Pyramid, squares
from ..progress import Listener, Progress, unheard
from .plan import PIECE
from .readers import Level, Pixels, Reader

OVERVIEW = 2048  # pixels: the longer side of what is held in memory of an image without small levels, at most
UNREADABLE = 128  # of 255: the grey of what cannot be read
_STRIP = 1 << 20  # pixels that are read at a time
_SLACK = 1.01  # levels of scanners are rounded to whole pixels


def scaled(reader: Reader, box: Box, height: int, width: int, progress: Listener = unheard) -> Pixels:
    """(height, width, 3): a part of an image, each pixel the mean of those that it stands for; what cannot be read is grey.

    Read from the smallest level that has as many pixels. Where that has just as many they are its pixels, unchanged.

    Args:
        reader: of the image.
        box: the part, in pixels of the largest level; not empty.
        height: of the result, at most that of the box.
        width: of the result.
        progress: told after every strip.
    """
    largest = reader.levels[0]
    number = max(
        (number for number, level in enumerate(reader.levels) if level.downsample <= _SLACK * box.width / width), default=0
    )
    level = reader.levels[number]
    across, down = level.width / largest.width, level.height / largest.height
    left, right = box.left * across, min(box.right * across, level.width)
    top, bottom = box.top * down, min(box.bottom * down, level.height)
    rows = max(1, floor(_STRIP * height / ((right - left) * (bottom - top) + 1)))
    strips = []
    for first in range(0, height, rows):
        last = min(first + rows, height)
        upper, lower = (top + (bottom - top) * row / height for row in (first, last))
        outer = Box(floor(left), floor(upper), ceil(right), min(ceil(lower), level.height))
        pixels = readable(reader, number, outer)
        if (outer.height, outer.width) != (last - first, width):
            inner = (left - outer.left, upper - outer.top, right - outer.left, min(lower, level.height) - outer.top)
            pixels = np.asarray(Image.fromarray(pixels).resize((width, last - first), Image.Resampling.BOX, inner))
        strips.append(pixels)
        progress(Progress("reading the image", last, height, "rows"))
    return strips[0] if len(strips) == 1 else np.concatenate(strips)


def readable(reader: Reader, level: int, box: Box, piece: int = PIECE) -> Pixels:
    """What can be read of a box of a level, if need be in pieces of so many pixels a side; grey where nothing can."""
    try:
        return reader.read(level, box)
    except BadImage:
        pixels = np.full((box.height, box.width, 3), UNREADABLE, np.uint8)
    for part in squares(piece, box.height, box.width):
        try:
            pixels[part.slices] = reader.read(level, part.shift(box.left, box.top))
        except BadImage:
            continue
    return pixels


class WithOverview:
    """A reader with one more level, held in memory, where the file has none that is small: else the whole image would have to be
    decoded each time that it is seen from far.

    Args:
        reader: of the image.
        side: of the largest that the level may be, in pixels.
        progress: told of reading for it.
    """

    def __init__(self, reader: Reader, side: int = OVERVIEW, progress: Listener = unheard) -> None:
        self._reader = reader
        self.levels: tuple[Level, ...] = tuple(reader.levels)
        self.microns_per_pixel, self.georeference = reader.microns_per_pixel, reader.georeference
        smallest, largest = self.levels[-1], self.levels[0]
        if max(smallest.height, smallest.width) > side:
            sizes = Pyramid(largest.height, largest.width, side)
            height, width = sizes.shape(sizes.levels - 1)
            self._overview = scaled(reader, Box(0, 0, largest.width, largest.height), height, width, progress)
            self.levels += (Level(height, width, largest.width / width),)

    def read(self, level: int, box: Box) -> Pixels:
        if level < len(self._reader.levels):
            return self._reader.read(level, box)
        return self._overview[box.slices]

    def close(self) -> None:
        self._reader.close()
