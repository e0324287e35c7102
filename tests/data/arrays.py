"""Images made in memory: of one colour each, of noise, and some that cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from bagnet.data.arrays import ArrayImages
from bagnet.data.decode import BadImage, Photo
from bagnet.data.labels import LabelledImages
from bagnet.data.names import ClassNames
from bagnet.data.sources import ImageFiles, Images


def flat(rows: int, size: tuple[int, int] = (4, 4), channels: int = 1) -> ArrayImages:
    """Images of one colour each: 10 times the row."""
    values = np.arange(0, 10 * rows, 10, dtype=np.uint8)[:, None, None, None]
    return ArrayImages(np.broadcast_to(values, (rows, *size, channels)).copy(), "flat")


def noise(rows: int, size: tuple[int, int], channels: int = 3) -> ArrayImages:
    return ArrayImages(np.random.default_rng(0).integers(0, 256, (rows, *size, channels), np.uint8), "noise")


@dataclass(frozen=True)
class Broken(Images):
    """Images of which some cannot be read."""

    images: Images
    bad: Sequence[int]

    @property
    def names(self) -> Sequence[str]:
        return self.images.names

    def photo(self, row: int) -> Photo:
        return self.images.photo(row)

    def pixels(self, row: int, channels: int, grey: Any = None) -> Any:
        if row in self.bad:
            raise BadImage(f"{self.names[row]}: broken")
        return self.images.pixels(row, channels, grey)


def labelled(images: Images) -> LabelledImages:
    """A class for each image."""
    count = len(images.names)
    return LabelledImages(images, torch.arange(count), ClassNames.numbered(count))


def files(folder: Path, sizes: Sequence[tuple[int, int]]) -> ImageFiles:
    """PNG files of noise, by (width, height)."""
    random = np.random.default_rng(1)
    for row, (width, height) in enumerate(sizes):
        Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)).save(folder / f"{row}.png")
    return ImageFiles(tuple(folder / f"{row}.png" for row in range(len(sizes))), folder)
