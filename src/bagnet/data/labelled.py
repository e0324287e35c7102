"""Labelled images held in memory, and what training sees of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from ..missing import needs
from .names import ClassNames
from .transforms import Preprocessing


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """Images of one size with their labels, decoded.

    Args:
        pixels: (N, C, H, W) uint8.
        labels: (N,) int64, indices into `classes`.
        classes: what the labels stand for.
    """

    pixels: Tensor
    labels: Tensor
    classes: ClassNames

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray[Any, np.dtype[np.int64]]) -> LabelledImages:
        """Those rows alone."""
        index = torch.from_numpy(rows)
        return replace(self, pixels=self.pixels[index], labels=self.labels[index])

    def hold_out(self, share: float = 0.05) -> tuple[LabelledImages, LabelledImages]:
        """(the rest, a fixed share for selection): the same rows every time, whatever the seed of a run."""
        order = np.random.default_rng(0).permutation(len(self))
        held = round(share * len(self))
        return self.take(np.sort(order[held:])), self.take(np.sort(order[:held]))


def read_parquet(folder: str | Path, split: str) -> LabelledImages:
    """Read `<split>.parquet`, or `<split>-0.parquet`, `<split>-1.parquet` and so on, of a folder.

    The files have an `image` column (encoded bytes) and a `label` column whose metadata names the classes, as the
    `datasets` library writes them.

    Raises:
        FileNotFoundError: the folder has no such file.
        ValueError: the images differ in size, or the labels have no names.
        ImportError: `datasets` is missing.
    """
    datasets = needs("datasets", "train")
    folder = Path(folder)
    files = sorted(str(path) for path in [*folder.glob(f"{split}.parquet"), *folder.glob(f"{split}-*.parquet")])
    if not files:
        raise FileNotFoundError(f"{folder} has no {split}.parquet and no {split}-0.parquet, ...")
    table = datasets.Dataset.from_parquet(files, keep_in_memory=True)
    names = getattr(table.features["label"], "names", None)
    if names is None:
        raise ValueError(f"the labels of {files[0]} have no names: write its label column as a ClassLabel feature")
    labels = torch.tensor(table["label"][:])
    first = np.array(table[0]["image"].convert("RGB"))
    pixels = torch.empty((len(labels), 3, *first.shape[:2]), dtype=torch.uint8)
    for row, image in enumerate(table["image"]):
        if image.size != first.shape[1::-1]:
            raise ValueError(f"image {row} of {folder} is {image.size}, not {first.shape[1::-1]} (width, height)")
        pixels[row] = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    return LabelledImages(pixels, labels, ClassNames.from_words(names))


class Shuffled(Sampler[tuple[int, int]]):
    """(epoch, row) pairs, every row once an epoch in an order that (seed, epoch) fixes.

    The epoch travels with the row, so that random augmentation can be a function of (seed, epoch, row) in any worker.
    """

    def __init__(self, rows: int, seed: int) -> None:
        self.rows, self.seed, self.epoch = rows, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.rows

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.rows)
        return ((self.epoch, int(row)) for row in order)


class Augmented(Dataset[tuple[Tensor, Tensor]]):
    """Random crops and mirror images, as normalised batches. Rows are asked for as (epoch, row), as `Shuffled` gives them.

    Args:
        images: what to draw from.
        preprocessing: for its mean and std.
        seed: with epoch and row, the only source of randomness.
        crop: side of the square cut at a random place, at the image's own scale.
    """

    def __init__(self, images: LabelledImages, preprocessing: Preprocessing, seed: int, crop: int) -> None:
        self.images, self.preprocessing, self.seed, self.crop = images, preprocessing, seed, crop

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
        """A batch at once: (B, C, crop, crop) float32 and (B,) labels."""
        pixels = torch.stack([self._view(epoch, row) for epoch, row in keys])
        labels = self.images.labels[[row for _, row in keys]]
        return self.preprocessing.normalise(pixels).contiguous(memory_format=torch.channels_last), labels

    def _view(self, epoch: int, row: int) -> Tensor:
        random = np.random.default_rng((self.seed, epoch, row))
        image = self.images.pixels[row]
        room = [side - self.crop + 1 for side in image.shape[1:]]
        top, left = (int(start) for start in random.integers(room))
        view = image[:, top : top + self.crop, left : left + self.crop]
        return view.flip(2) if random.random() < 0.5 else view
