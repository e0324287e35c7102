"""What a step of training sees: batches in an order that a seed fixes, each image in a view that its key fixes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from .augment import Augmentation, Mixing, View, WindowSampling
from .decode import BadImage
from .labels import LabelledImages
from .order import SampleKey
from .pixels import Pixels
from .sources import BadParts, Large

_PARTNER = 3  # as Mixing takes 1 and 2; to numpy (1, 2, 3) and (1, 2, 3, 0) are one seed, and the views would be alike


class BadTile(NamedTuple):
    """A tile of a slide that could not be read.

    Args:
        row: of the slide.
        tile: where it lies, in words.
        reason: why.
    """

    row: int
    tile: str
    reason: str


class Batch(NamedTuple):
    """Images of one step.

    Args:
        images: (B, C, H, W) pixels, uint8, or float32 where images are mixed; or (B, N, C, side, side) some windows or tiles of
            each.
            They are normalised where the network is: bytes travel to a GPU in a quarter of the time.
        targets: (B, K) float32 shares of the classes; of one label, all 1 in one place.
        teacher: (B, K) probabilities or logits that a teacher gave, or (B, 0).
        unreadable: (row, reason) of images that could not be read; another image stands in their place.
        bad_tiles: of slides; other tiles of the same slide stand in their place.
    """

    images: Tensor
    targets: Tensor
    teacher: Tensor
    unreadable: list[tuple[int, str]]
    bad_tiles: Sequence[BadTile] = ()


class Samples(Dataset[Batch]):
    """Augmented training images, a batch for each list of keys that `Order` gives.

    Args:
        images: with their labels.
        pixels: of the images.
        views: epoch -> what is done to each image.
        mixing: of images with each other.
        seed: with epoch and row, the only source of randomness.
        teacher: (N, K) probabilities or logits that a teacher gave, where there is one.
        starts: first rows of groups within which images are mixed with each other.

    Raises:
        BadImage: not one image can be read.
    """

    def __init__(
        self,
        images: LabelledImages,
        pixels: Pixels,
        views: Callable[[int], View],
        mixing: Mixing,
        seed: int,
        teacher: Tensor | None = None,
        starts: Sequence[int] = (0,),
    ) -> None:
        if len(pixels.unreadable) == len(pixels):
            raise BadImage(f"none of the {len(pixels)} images can be read: {next(iter(pixels.unreadable.values()))}")
        self.images, self.pixels, self.starts = images, pixels, starts
        self.views, self.mixing, self.seed = views, mixing, seed
        self.teacher = torch.zeros(len(images), 0) if teacher is None else teacher

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, keys: Sequence[SampleKey]) -> Batch:
        """A whole batch."""
        kept, view = self.pixels.kept, self.views(keys[0][0])
        if kept is not None and isinstance(view, Augmentation) and view.only_crops(kept.shape[2:]):
            batch = self._crops(kept, view, [(self.seed, epoch, row) for epoch, row in keys])
            if batch is not None:
                return batch
        problems = _Problems([], [])
        views, targets, teacher = zip(*(self._sample(epoch, row, problems) for epoch, row in keys), strict=True)
        return Batch(torch.stack(views), torch.stack(targets), torch.stack(teacher), *problems)

    def _crops(self, kept: Tensor, view: Augmentation, keys: Sequence[tuple[int, int, int]]) -> Batch | None:
        """The samples of keys (seed, epoch, row) from pixels in memory, cropped all at once; None where one cannot be read."""
        rows = [row for _, _, row in keys]
        partners = [self._partner(key[2], key) for key in keys] if self.mixing else []
        if not self.pixels.unreadable.keys().isdisjoint((*rows, *partners)):
            return None
        crops, targets, teacher = view.crops(kept, rows, keys), self.images.shares(rows), self.teacher[rows].float()
        if not self.mixing:
            return Batch(crops, targets, teacher, [])
        others = view.crops(kept, partners, [(*key, _PARTNER) for key in keys])
        mixed = [self.mixing.mix(crop, other, key) for crop, other, key in zip(crops, others, keys, strict=True)]
        share = torch.tensor([part for _, part in mixed], dtype=torch.float32)[:, None]
        targets = torch.lerp(self.images.shares(partners), targets, share)
        teacher = torch.lerp(self.teacher[partners].float(), teacher, share)
        return Batch(torch.stack([image for image, _ in mixed]), targets, teacher, [])

    def _partner(self, row: int, key: Sequence[int]) -> int:
        """The row of the image that is mixed into a row's."""
        first, end = self._group(row)
        return first + self.mixing.partner(key, end - first)

    def _sample(self, epoch: int, row: int, problems: _Problems) -> tuple[Tensor, Tensor, Tensor]:
        key = (self.seed, epoch, row)
        view, row = self._view(row, key, problems)
        target, teacher = self.images.shares(row), self.teacher[row].float()
        if self.mixing:
            partner, other_row = self._view(self._partner(row, key), (*key, _PARTNER), problems)
            view, share = self.mixing.mix(view, partner, key)
            target = torch.lerp(self.images.shares(other_row), target, share)
            teacher = torch.lerp(self.teacher[other_row].float(), teacher, share)
        return view, target, teacher

    def _group(self, row: int) -> tuple[int, int]:
        """(first row, end) of those that a row may be mixed with: what is read together with it, where that matters."""
        group = bisect_right(self.starts, row)
        return self.starts[group - 1], self.starts[group] if group < len(self.starts) else len(self)

    def _view(self, row: int, key: Sequence[int], problems: _Problems) -> tuple[Tensor, int]:
        """(a view of a row, the row): of the next readable one where it cannot be read."""
        for further in range(len(self)):
            readable, bad = (row + further) % len(self), BadParts()
            try:
                view = _seen(self.views(key[1]), self.pixels[readable], key, bad)
            except BadImage as error:
                problems.unreadable.append((readable, str(error)))
                continue
            problems.bad_tiles.extend(BadTile(readable, *part) for part in bad)
            return view, readable
        raise BadImage(f"none of the {len(self)} images can be read")


class _Problems(NamedTuple):
    """What of a batch could not be read, as it has it."""

    unreadable: list[tuple[int, str]]
    bad_tiles: list[BadTile]


def _seen(view: View, pixels: Tensor | Large, key: Sequence[int], bad: BadParts) -> Tensor:
    if isinstance(view, WindowSampling):
        return view(pixels, key, bad)
    assert isinstance(pixels, Tensor), "crops are of images in memory"
    return view(pixels, key)
