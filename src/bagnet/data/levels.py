"""Grey levels of more than 8 bits, and the pictures of 8 bits that are made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


class NoPicture(ValueError):
    """Levels of which no picture can be made. The message says why, and what to do."""


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """An upright grey image as its file has it.

    Args:
        values: (H, W) whole numbers of more than 8 bits or floating point, in the units that the file says.
        negative: the least level is the brightest.
        clear: the level that is transparent, which becomes white; None where none is.
        usual: (H, W) in 8 bits as the file says it is to be seen, before a negative is turned; None where it says nothing.
    """

    values: NDArray[Any]
    negative: bool = False
    clear: int | None = None
    usual: NDArray[np.uint8] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        height, width = self.values.shape
        return width, height

    def picture(self, grey: tuple[float, float] | None = None) -> Image.Image:
        """In 8 bits, RGB.

        Args:
            grey: the levels that become black and white (of a negative, white and black), those in between spread evenly and
                those beyond as these; None for what the file says, and where it says nothing the upper 8 bits of 16, or
                floating point from 0 to 1.

        Raises:
            NoPicture: levels are no numbers; or without `grey`, they are beyond those of 16 bits, or of 0 to 1.
        """
        eight = self._usual() if grey is None else spread(self.values, *grey)
        if self.negative:
            eight = 255 - eight
        if self.clear is not None:
            eight = np.where(self.values == self.clear, np.uint8(255), eight)
        return Image.fromarray(eight).convert("RGB")

    def _usual(self) -> NDArray[np.uint8]:
        return _upper_bits(self.values) if self.usual is None else self.usual


def spread(values: NDArray[Any], black: float, white: float) -> NDArray[np.uint8]:
    """Levels in 8 bits: `black` and below are 0, `white` and above 255. NoPicture: some are no numbers."""
    _check_numbers(values)
    shares = (values.astype(np.float64) - black) / (float(white) - float(black) or 1e-12)  # a DICOM window may have no width
    eight: NDArray[np.uint8] = np.round(255 * shares.clip(0, 1)).astype(np.uint8)
    return eight


def _check_numbers(values: NDArray[Any]) -> None:
    if values.dtype.kind == "f" and np.isnan(values).any():
        raise NoPicture("holds pixels that are no numbers (NaN); give them a level first")


def _upper_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """What levels are where nobody says which are black and white."""
    floating = values.dtype.kind == "f"
    most, remedy = (1 if floating else 65535), "say which are black and white (--grey, Preprocessing.grey), or bring them to"
    _check_numbers(values)
    low, high = values.min(), values.max()
    if low < 0 or high > most:
        kind = "floating-point grey levels" if floating else "grey levels"
        raise NoPicture(f"{kind} run from {low:g} to {high:g}: {remedy} [0, {most}]")
    eight: NDArray[np.uint8] = (np.round(values * 255) if floating else values >> 8).astype(np.uint8)
    return eight
