"""A large image and its evidence, small enough to look at."""

from __future__ import annotations

from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..figures.colours import coloured
from ..files import replacing
from ..geometry import Box
from .readers import Pixels, Reader
from .run import Slide

SIDE = 1600  # of an overview, in pixels at most
OPACITY = 0.6  # of the strongest cells
_STRIP = 1 << 22  # pixels that are read at a time


def overview(slide: Slide, reader: Reader, target: int | str, *, scale: float | None = None, side: int = SIDE) -> Image.Image:
    """The image, small, with the evidence for a class laid over it: red speaks for the class, blue against it.

    Cells that were not computed leave the image as it is.

    Args:
        slide: the evidence.
        reader: of its image.
        target: the class, as for `Slide.map`.
        scale: the logit at both ends of the colours, to compare slides; the 99th percentile of the map where None.
        side: of the picture, in pixels at most.

    Raises:
        UnknownClass, AmbiguousClass, BadImage: as `Slide.map` and `Reader.read`.
    """
    picture = Image.fromarray(thumbnail(reader, slide.level, side))
    values = block_means(slide.map(target), side)
    known = np.nan_to_num(values)
    limit = scale or float(np.percentile(np.abs(known), 99)) or 1.0
    strength = np.minimum(np.abs(known) / limit, 1) * OPACITY * 255
    cells = Image.fromarray(np.dstack([coloured(known, limit), np.rint(strength).astype(np.uint8)]), "RGBA")
    layer = cells.resize(picture.size, Image.Resampling.NEAREST)
    picture.paste(layer, (0, 0), layer)
    return picture


def write_overview(slide: Slide, reader: Reader, target: int | str, path: Path) -> None:
    """The overview of a class as a PNG file, wholly or not at all. Raises as `overview`; NotWritten: it cannot be written."""
    picture = overview(slide, reader, target)
    with replacing(path) as part:
        picture.save(part, "PNG")


def thumbnail(reader: Reader, level: int, side: int) -> Pixels:
    """(h, w, 3): every n-th pixel of a level, read from the smallest level that has enough of them, a strip at a time."""
    seen = reader.levels[level]
    factor = max(1, ceil(max(seen.height, seen.width) / side)) * seen.downsample
    source = max((number for number, each in enumerate(reader.levels) if each.downsample <= factor), default=0)
    whole = reader.levels[source]
    step = max(1, round(factor / whole.downsample))
    rows = max(step, _STRIP // whole.width // step * step)
    strips = [
        reader.read(source, Box(0, top, whole.width, min(top + rows, whole.height)))[::step, ::step]
        for top in range(0, whole.height, rows)
    ]
    return np.ascontiguousarray(np.concatenate(strips))


def block_means(values: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """A map of at most side x side cells: `means_of_blocks` as small as that takes."""
    return means_of_blocks(values, max(1, ceil(max(values.shape) / side)))


def means_of_blocks(values: NDArray[np.float32], block: int) -> NDArray[np.float32]:
    """Means of blocks of block x block cells, of those of their cells that are numbers; NaN where none is."""
    rows = []
    for top in range(0, values.shape[0], block):
        strip = np.asarray(values[top : top + block])
        known = np.isfinite(strip)
        starts = np.arange(0, values.shape[1], block)
        total = np.add.reduceat(np.where(known, strip, 0).sum(0, dtype=np.float64), starts)
        count = np.add.reduceat(known.sum(0), starts)
        with np.errstate(invalid="ignore"):
            rows.append(total / count)
    return np.stack(rows).astype(np.float32)
