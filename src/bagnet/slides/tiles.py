"""Slides as bags of tiles, to train and to judge a network where all that is known of a slide is one label."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from os import fspath
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.decode import BadImage, Photo, printable
from ..data.labels import LabelledImages
from ..data.sources import IMAGE_ENDINGS, BadParts, ImageFiles, Images, Large
from ..engine.classifier import Classifier, Predictor, has_evidence, model_name
from ..geometry import Box, all_over, ceil_div
from .readers import READERS, Reader, opened
from .reading import read_boxes

_log = logging.getLogger(__name__)
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

    @classmethod
    def of_recipe(cls, recipe: Mapping[str, Any], side: int) -> Tiling:
        """As a recipe's fields have it."""
        level, microns = (None, recipe["microns"]) if recipe["microns"] else (recipe["level"], None)
        return cls(recipe["tiles"], side, level, microns, recipe["skip_white"])

    @property
    def scale(self) -> str:
        """At which slides are seen, in words."""
        return f"level {self.level or 0}" if self.microns is None else f"{self.microns:g} microns per pixel"

    @property
    def words(self) -> str:
        """What of a slide it is judged by."""
        return f"at most {JUDGED_BY * self.count} tiles of {self.side} px at {self.scale}"

    def of(self, images: LabelledImages) -> LabelledImages:
        """Labelled files as slides with those labels. ValueError: they are no files."""
        if not isinstance(images.images, ImageFiles):
            raise ValueError(
                "tiles are of slides, each a file: name a CSV that lists them, or a folder with a folder for each class"
            )
        return replace(images, images=SlideImages(images.images, self))

    def of_files(self, images: LabelledImages) -> LabelledImages:
        """The same, but images that are no files are seen whole."""
        return self.of(images) if isinstance(images.images, ImageFiles) else images


def tiling_of(model: Predictor) -> Tiling | None:
    """Which tiles a model was trained on, as its card says; None where it was not trained on slides."""
    recipe = {} if model.card is None else model.card.more.get("recipe", {})
    try:
        return Tiling.of_recipe(recipe, recipe["train_crop"]) if recipe["tiles"] else None
    except (KeyError, TypeError):  # of a card that says it otherwise, or not at all
        return None


def scale_of(model: Predictor, level: int | None, microns: float | None) -> tuple[int | None, float | None]:
    """(level, microns per pixel) at which a model sees slides: as asked for, else as it was trained on them, which is logged."""
    trained = tiling_of(model)
    if trained is None or level is not None or microns is not None:
        return level, microns
    _log.info("pixels are seen at %s, as %s was trained", trained.scale, model_name(model))
    return trained.level, trained.microns


def tiling_for(
    model: Predictor, tiles: int | None = None, level: int | None = None, microns: float | None = None
) -> Tiling | None:
    """Which tiles a model is to judge slides by: those that it was trained on, but for what is asked for.

    Args:
        model: whose card may say how it was trained.
        tiles: of each slide in a step of training, see `Tiling`; 0 for none, as images are seen whole.
        level: as for `bagnet.slide`.
        microns: as for `bagnet.slide`.

    Returns:
        None where no tiles are asked for and the model was not trained on any.

    Raises:
        ValueError: there is a level without tiles, the model is no bag of windows or takes other than three channels, or nothing
            says how large its tiles are.
    """
    trained = tiling_of(model)
    if tiles == 0 or (tiles is None and trained is None):
        if level is not None or microns is not None:
            raise ValueError("level and microns are of slides: say how many tiles of each are to be seen (--tiles 16)")
        return None
    if not has_evidence(model):
        raise ValueError(f"tiles are for bags of windows, whose answer for a slide is a mean; {model_name(model)} is none")
    check_channels(model_name(model), len(model.transform.mean))
    if trained is None:
        side = side_of(model, model.transform.crop)
        if not side:
            raise ValueError(
                f"{model_name(model)} was not trained on tiles, and nothing says how large they are: train it on slides"
            )
        trained = Tiling(tiles or 0, side)
    if level is not None or microns is not None:
        trained = replace(trained, level=level, microns=microns)
    return replace(trained, count=tiles or trained.count)


def side_of(model: Classifier, crop: int | None) -> int:
    """Of the tiles that a model is shown: the crop's, of windowed networks else a window's; 0 where nothing says it."""
    return crop or (model.geometry.size if model.windows_apart else 0)


def check_channels(name: str, channels: int) -> None:
    """See that a network takes tiles. ValueError: it takes other than three channels."""
    if channels != 3:
        raise ValueError(f"tiles of slides have three channels, and {name} takes {channels}")


def seen_by(
    model: Predictor, tiles: int | None = None, level: int | None = None, microns: float | None = None
) -> Callable[[LabelledImages], LabelledImages]:
    """What makes of labelled files what a model is to see of them: slides by tiles, images whole.

    Args:
        model: as for `tiling_for`.
        tiles: as for `tiling_for`.
        level: as for `tiling_for`.
        microns: as for `tiling_for`.

    Raises:
        ValueError: as `tiling_for`; what it returns raises it where files are slides and no tiles are asked for, or tiles of what
            is no file.
    """
    tiling = tiling_for(model, tiles, level, microns)
    if tiling is None:
        return seen_whole
    return tiling.of if tiles else tiling.of_files


def seen_whole(images: LabelledImages) -> LabelledImages:
    """The same images, none of which is a slide by its name. ValueError: one is; each would be skipped as unreadable."""
    for path in images.images.paths if isinstance(images.images, ImageFiles) else ():
        if path.suffix.lower() not in IMAGE_ENDINGS and any(path.suffix.lower() in kind.endings for kind in READERS.values()):
            raise ValueError(f"{path}: is a slide: say how many tiles of each are to be seen (--tiles 16)")
    return images


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

    @property
    def seen(self) -> str:
        return self.tiling.words

    def photo(self, row: int) -> Photo:
        """BadImage: always, as a slide is no picture to be seen at once."""
        raise BadImage(f"{printable(self.names[row])}: is a slide, of which only tiles are read (bagnet slide maps all of it)")

    def pixels(
        self,
        row: int,
        channels: int,
        grey: tuple[float, float] | None = None,  # noqa: ARG002
    ) -> NDArray[np.uint8]:
        """(N, side, side, 3): tiles from all over a slide, the same ones each time, by which it is judged.

        Those that cannot be read, for which others stand in, are logged.

        Raises:
            BadImage: none can be read.
        """
        if channels != 3:
            raise BadImage(f"tiles of slides have three channels, where {channels} are expected")
        tiling, bad = self.tiling, BadParts()
        slide = LargeSlide(self.files.paths[row], tiling)
        tiles = slide.spread(tiling.side, tiling.side, JUDGED_BY * tiling.count, bad)
        if bad:
            name, reason = printable(self.names[row]), bad[0][1]
            _warn(f"{name}: {len(bad)} of its tiles cannot be read, and others stand in for them ({reason})")
        return np.stack(tiles)

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

    def sampled(
        self, height: int, width: int, count: int, random: np.random.Generator, bad: BadParts | None = None
    ) -> NDArray[np.uint8]:
        """(count, height, width, 3) of tiles from all over the slide, each place of which is as likely as any other.

        The places are dealt into as many parts as there are tiles in the slide; no part is drawn from twice before all have been.
        Along an axis on which the slide is smaller, tiles are as large as it is. `bad` gets those that cannot be read.

        Raises:
            BadImage: as `spread`.
        """
        with self._opened() as (reader, level):
            seen = reader.levels[level]
            tall, wide = min(height, seen.height), min(width, seen.width)
            tiles: list[NDArray[np.uint8]] = []
            parts: BadParts = []
            while len(tiles) < count:
                boxes = _anywhere(seen.height, seen.width, tall, wide, random)
                more = self._read(reader, level, boxes, count - len(tiles), parts)
                tiles += more or self._all_over(reader, level, tall, wide, count - len(tiles), parts)
        if bad is not None:
            bad += parts
        return np.stack(tiles)

    def spread(self, height: int, width: int, count: int, bad: BadParts | None = None) -> list[NDArray[np.uint8]]:
        """At most so many tiles, from all over the slide, the same ones each time; each pixel is in some, of enough of them.

        `bad` gets those that cannot be read.

        Raises:
            BadImage: not one can be read that is no background, or the slide is smaller than a tile.
        """
        with self._opened() as (reader, level):
            return self._all_over(reader, level, height, width, count, [] if bad is None else bad)

    def _all_over(self, reader: Reader, level: int, tall: int, wide: int, count: int, bad: BadParts) -> list[NDArray[np.uint8]]:
        seen = reader.levels[level]
        tops, lefts = _starts(seen.height, tall), _starts(seen.width, wide)
        places = (divmod(number, len(lefts)) for number in all_over(len(tops) * len(lefts)))
        boxes = (Box(lefts[column], tops[row], lefts[column] + wide, tops[row] + tall) for row, column in places)
        tiles = self._read(reader, level, boxes, count, bad)
        if not tiles:
            white = f"{printable(fspath(self.path))}: every tile is white: there is nothing to see"
            raise BadImage(bad[0][1] if bad else white)
        return tiles

    def _read(self, reader: Reader, level: int, boxes: Iterator[Box], count: int, bad: BadParts) -> list[NDArray[np.uint8]]:
        """At most so many tiles that can be read and are no background; `bad` gets those that cannot be read."""
        tiles = list[NDArray[np.uint8]]()
        for box, pixels in read_boxes(reader, level, boxes, skip_white=self.tiling.skip_white, usable=count, readers=1):
            if isinstance(pixels, BadImage):
                bad.append((f"{box.width} x {box.height} at ({box.left}, {box.top}), level {level}", str(pixels)))
            elif pixels is not None:
                tiles.append(pixels)
        return tiles

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


@cache
def _warn(line: str) -> None:
    """Once, as slides that are held out are judged after every epoch."""
    _log.warning("%s", line)


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
