"""Slides as bags of tiles, to train a network on where all that is known of a slide is one label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import fspath
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..data.decode import BadImage, Photo, printable
from ..data.labels import LabelledImages
from ..data.sources import ImageFiles, Images, Large
from ..geometry import Box, all_over, ceil_div
from .readers import Reader
from .reading import read_boxes
from .run import opened

JUDGED_BY = 4  # times as many tiles as a step has: without gradients they cost less, and few may miss what a slide shows


@dataclass(frozen=True, slots=True)
class Tiling:
    """Which tiles stand for a slide.

    Args:
        count: how many, in a step of training; a slide is judged by `JUDGED_BY` times as many, or all that it has.
        side: of each, in pixels.
        level: of the slide, as for `bagnet.slide`.
        microns: as for `bagnet.slide`.
        skip_white: take other tiles instead of those whose every pixel is nearly white.
    """

    count: int
    side: int
    level: int | None = None
    microns: float | None = None
    skip_white: bool = True

    def of(self, images: LabelledImages) -> LabelledImages:
        """Labelled files as slides with those labels. ValueError: they are no files."""
        if not isinstance(images.images, ImageFiles):
            raise ValueError(
                "tiles are of slides, each a file: name a CSV that lists them, or a folder with a folder for each class"
            )
        return replace(images, images=SlideImages(images.images, self))


@dataclass(frozen=True)
class SlideImages(Images):
    """Slides, of which only tiles are ever read.

    Args:
        files: of them.
        tiling: which tiles.
    """

    files: ImageFiles
    tiling: Tiling

    @property
    def names(self) -> Sequence[str]:
        return self.files.names

    @property
    def fingerprint(self) -> str:
        return self.files.fingerprint

    def photo(self, row: int) -> Photo:
        """BadImage: always, as a slide is no picture to be seen at once."""
        raise BadImage(f"{printable(self.names[row])}: is a slide, of which only tiles are read (bagnet slide maps all of it)")

    def pixels(self, row: int, channels: int) -> NDArray[np.uint8]:
        """(N, side, side, 3): tiles from all over a slide, the same ones each time, by which it is judged.

        Raises:
            BadImage: none can be read.
        """
        if channels != 3:
            raise BadImage(f"tiles of slides have three channels, where {channels} are expected")
        tiling = self.tiling
        return np.stack(LargeSlide(self.files.paths[row], tiling).spread(tiling.side, tiling.side, JUDGED_BY * tiling.count))

    def large(self, row: int) -> Large:
        return LargeSlide(self.files.paths[row], self.tiling)

    def take(self, rows: Sequence[int]) -> Images:
        return replace(self, files=replace(self.files, paths=tuple(self.files.paths[row] for row in rows)))


@dataclass(frozen=True, slots=True)
class LargeSlide(Large):
    """A slide, opened anew for each bag of its tiles, so that it can be sent to processes that read.

    Args:
        path: of its file.
        tiling: how it is seen.
    """

    path: Path
    tiling: Tiling

    def check(self) -> None:
        with self._opened():
            pass

    def sampled(self, height: int, width: int, count: int, random: np.random.Generator) -> NDArray[np.uint8]:
        """(count, height, width, 3) of tiles from all over the slide, each place of which is as likely as any other.

        The places are dealt into as many parts as there are tiles in the slide; no part is drawn from twice before all have been.
        Along an axis on which the slide is smaller, tiles are as large as it is.

        Raises:
            BadImage: as `spread`.
        """
        with self._opened() as (reader, level):
            seen = reader.levels[level]
            tall, wide = min(height, seen.height), min(width, seen.width)
            tiles: list[NDArray[np.uint8]] = []
            while len(tiles) < count:
                boxes = _anywhere(seen.height, seen.width, tall, wide, random)
                more, _ = self._read(reader, level, boxes, count - len(tiles))
                tiles += more or self._all_over(reader, level, tall, wide, count - len(tiles))
        return np.stack(tiles)

    def spread(self, height: int, width: int, count: int) -> list[NDArray[np.uint8]]:
        """At most so many tiles, from all over the slide, the same ones each time; each pixel is in some, of enough of them.

        Raises:
            BadImage: not one can be read that is no background, or the slide is smaller than a tile.
        """
        with self._opened() as (reader, level):
            return self._all_over(reader, level, height, width, count)

    def _all_over(self, reader: Reader, level: int, tall: int, wide: int, count: int) -> list[NDArray[np.uint8]]:
        seen = reader.levels[level]
        tops, lefts = _starts(seen.height, tall), _starts(seen.width, wide)
        places = (divmod(number, len(lefts)) for number in all_over(len(tops) * len(lefts)))
        boxes = (Box(lefts[column], tops[row], lefts[column] + wide, tops[row] + tall) for row, column in places)
        tiles, reasons = self._read(reader, level, boxes, count)
        if not tiles:
            white = f"{printable(fspath(self.path))}: every tile is white: there is nothing to see"
            raise BadImage(reasons[0] if reasons else white)
        return tiles

    def _read(self, reader: Reader, level: int, boxes: Iterator[Box], count: int) -> tuple[list[NDArray[np.uint8]], list[str]]:
        """(at most so many tiles that can be read and are no background, why others cannot be read)."""
        tiles, reasons = list[NDArray[np.uint8]](), list[str]()
        for _, pixels in read_boxes(reader, level, boxes, skip_white=self.tiling.skip_white, usable=count, readers=1):
            if isinstance(pixels, BadImage):
                reasons.append(str(pixels))
            elif pixels is not None:
                tiles.append(pixels)
        return tiles, reasons

    @contextmanager
    def _opened(self) -> Iterator[tuple[Reader, int]]:
        """A reader, and the number of the level. BadImage: the slide cannot be opened, or is smaller than a tile."""
        tiling = self.tiling
        try:
            opening = opened(self.path, tiling.level, tiling.microns)
            with opening as (reader, level):
                seen = reader.levels[level]
                if min(seen.height, seen.width) < tiling.side:
                    size = f"{seen.width:,} x {seen.height:,} pixels (level {level})"
                    raise BadImage(f"{printable(fspath(self.path))}: {size} are smaller than a tile of {tiling.side}")
                yield reader, level
        except BadImage:
            raise
        except (OSError, ValueError) as error:
            raise BadImage(" ".join(str(error).split())) from None


def _starts(length: int, side: int) -> list[int]:
    """Where tiles side by side begin along an axis; the last one is moved inwards, so that no pixel is missed."""
    return [*range(0, length - side, side), length - side]


def _anywhere(height: int, width: int, tall: int, wide: int, random: np.random.Generator) -> Iterator[Box]:
    """Boxes of a level at random, stratified: of all places there are equal parts, from each of which one place is drawn."""
    rows, columns = ceil_div(height, tall), ceil_div(width, wide)
    order = all_over(rows * columns)
    first = int(random.integers(len(order)))
    shifts = random.random((len(order), 2))
    for number in (*order[first:], *order[:first]):
        row, column = divmod(number, columns)
        top = int((row + shifts[number, 0]) / rows * (height - tall + 1))
        left = int((column + shifts[number, 1]) / columns * (width - wide + 1))
        yield Box(left, top, left + wide, top + tall)
