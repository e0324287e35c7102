"""Decoded pixels of a collection, kept in memory where they fit; of images larger than that, who reads parts of them."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from .decode import LARGEST, BadImage
from .sources import Images, Large

_KEPT = 4 << 30  # bytes of decoded pixels that are kept in memory


class Pixels:
    """The decoded pixels of a collection of images: kept in memory where all are of one size and fit, else read each time.

    Args:
        images: to read.
        channels: that the network takes.
        grey: the levels that become black and white, as `Preprocessing.grey`.
        shorter: resize the shorter side to so many pixels; None leaves images as they are.
        keep: most bytes to keep.
    """

    def __init__(
        self,
        images: Images,
        channels: int,
        grey: tuple[float, float] | None = None,
        shorter: int | None = None,
        keep: int = _KEPT,
    ) -> None:
        self.images, self.channels, self.grey, self.shorter = images, channels, grey, shorter
        self.rows = len(images.names)
        self.unreadable: dict[int, str] = {}
        self.kept = self._read_all(keep)

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, row: int) -> Tensor | Large:
        """(C, H, W) uint8, or what reads parts of an image larger than memory.

        Raises:
            BadImage: it cannot be read.
        """
        if row in self.unreadable:
            raise BadImage(self.unreadable[row])
        if self.kept is not None:
            return self.kept[row]
        return self.images.large(row) or self._read(row)

    def _read(self, row: int) -> Tensor:
        try:
            pixels = torch.from_numpy(self.images.pixels(row, self.channels, self.grey)).permute(2, 0, 1)
        except OSError as error:
            raise BadImage(" ".join(str(error).split())) from None
        if self.shorter not in (None, min(pixels.shape[1:])):
            height, width = pixels.shape[1:]
            if self.shorter**2 * max(height, width) > LARGEST * min(height, width):
                raise BadImage(
                    f"{self.images.names[row]}: {width} x {height} pixels would be more than {LARGEST:,} with a shorter side of "
                    f"{self.shorter}; crop it to a squarer shape"
                )
            pixels = resize(pixels, [self.shorter], antialias=True)
        return pixels

    def _read_all(self, limit: int) -> Tensor | None:
        """(N, C, H, W) uint8, zeros where unreadable; None where they are too many or of several sizes."""
        kept: Tensor | None = None
        for row in range(self.rows):
            try:
                if (large := self.images.large(row)) is not None:
                    large.check()
                    continue
                pixels = self._read(row)
            except BadImage as error:
                self.unreadable[row] = str(error)
                continue
            if kept is None:
                if self.rows * pixels.numel() > limit:
                    return None
                kept = torch.zeros(self.rows, *pixels.shape, dtype=torch.uint8)
            if pixels.shape != kept.shape[1:]:
                return None
            kept[row] = pixels
        return kept
