"""What a step of training sees: batches in an order that a seed fixes, each image in a view that its key fixes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from .augment import Mixing, View
from .decode import BadImage
from .labels import LabelledImages
from .order import SampleKey
from .pixels import Pixels
from .transforms import Preprocessing


class Batch(NamedTuple):
    """Images of one step, ready for the network.

    Args:
        images: (B, C, H, W) float32, normalised; or (B, N, C, side, side) some windows of each image.
        targets: (B, K) float32 shares of the classes; of one label, all 1 in one place.
        teacher: (B, K) probabilities or logits that a teacher gave, or (B, 0).
        unreadable: (row, reason) of images that could not be read; another image stands in their place.
    """

    images: Tensor
    targets: Tensor
    teacher: Tensor
    unreadable: list[tuple[int, str]]


class Samples(Dataset[Batch]):
    """Augmented training images, a batch for each list of keys that `Order` gives.

    Args:
        images: with their labels.
        pixels: of the images.
        preprocessing: for its mean and std.
        views: epoch -> what is done to each image.
        mixing: of images with each other.
        seed: with epoch and row, the only source of randomness.
        teacher: (N, K) probabilities or logits that a teacher gave, where there is one.
        starts: first rows of groups within which images are mixed with each other.
        layout: of batches in memory.

    Raises:
        BadImage: not one image can be read.
    """

    def __init__(
        self,
        images: LabelledImages,
        pixels: Pixels,
        preprocessing: Preprocessing,
        views: Callable[[int], View],
        mixing: Mixing,
        seed: int,
        teacher: Tensor | None = None,
        starts: Sequence[int] = (0,),
        layout: torch.memory_format = torch.channels_last,
    ) -> None:
        if len(pixels.unreadable) == len(pixels):
            raise BadImage(f"none of the {len(pixels)} images can be read: {next(iter(pixels.unreadable.values()))}")
        self.images, self.pixels, self.preprocessing = images, pixels, preprocessing
        self.views, self.mixing, self.seed = views, mixing, seed
        self.starts, self.layout = starts, layout
        self.teacher = torch.zeros(len(images), 0) if teacher is None else teacher

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, keys: Sequence[SampleKey]) -> Batch:
        """A whole batch."""
        unreadable: list[tuple[int, str]] = []
        views, targets, teacher = zip(*(self._sample(epoch, row, unreadable) for epoch, row in keys), strict=True)
        images = self.preprocessing.normalise(torch.stack(views))
        pictures = images.flatten(0, -4).contiguous(memory_format=self.layout)
        return Batch(torch.unflatten(pictures, 0, images.shape[:-3]), torch.stack(targets), torch.stack(teacher), unreadable)

    def _sample(self, epoch: int, row: int, unreadable: list[tuple[int, str]]) -> tuple[Tensor, Tensor, Tensor]:
        key = (self.seed, epoch, row)
        view, row = self._view(row, key, unreadable)
        target, teacher = self.images.shares(row), self.teacher[row].float()
        if self.mixing:
            # 3, as Mixing takes 1 and 2; to numpy (1, 2, 3) and (1, 2, 3, 0) are one seed, and the views would be alike.
            first, end = self._group(row)
            partner, other_row = self._view(first + self.mixing.partner(key, end - first), (*key, 3), unreadable)
            view, share = self.mixing.mix(view, partner, key)
            target = torch.lerp(self.images.shares(other_row), target, share)
            teacher = torch.lerp(self.teacher[other_row].float(), teacher, share)
        return view, target, teacher

    def _group(self, row: int) -> tuple[int, int]:
        """(first row, end) of those that a row may be mixed with: what is read together with it, where that matters."""
        group = bisect_right(self.starts, row)
        return self.starts[group - 1], self.starts[group] if group < len(self.starts) else len(self)

    def _view(self, row: int, key: Sequence[int], unreadable: list[tuple[int, str]]) -> tuple[Tensor, int]:
        """(a view of a row, the row): of the next readable one where it cannot be read."""
        for further in range(len(self)):
            readable = (row + further) % len(self)
            try:
                return self.views(key[1])(self.pixels[readable], key), readable
            except BadImage as error:
                unreadable.append((readable, str(error)))
        raise BadImage(f"none of the {len(self)} images can be read")
