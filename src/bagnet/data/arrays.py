"""Labelled images as arrays in a .npz file, as MedMNIST has them: any number of channels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .decode import BadImage, Photo, decode
from .labels import BadLabels, LabelledImages, checked, reason, targets_of, words_of
from .names import ClassNames
from .sources import Images

_PICTURES = (1, 3, 4)  # channels of grey, RGB and RGBA


@dataclass(frozen=True)
class ArrayImages(Images):
    """Images of one size as one array.

    Args:
        values: (N, H, W, C) uint8.
        name: of the whole, for the names of the rows.
    """

    values: np.ndarray[Any, np.dtype[np.uint8]]
    name: str

    @property
    def names(self) -> Sequence[str]:
        return [f"{self.name}:{row}" for row in range(len(self.values))]

    def photo(self, row: int) -> Photo:
        name = f"{self.name}:{row}"
        if self.values.shape[3] not in _PICTURES:
            raise BadImage(f"{name}: {self.values.shape[3]} channels are no picture: ask for its pixels")
        return replace(decode(self.values[row]), name=name)

    def pixels(self, row: int, channels: int, grey: tuple[float, float] | None = None) -> np.ndarray[Any, np.dtype[np.uint8]]:
        stored = self.values.shape[3]
        if channels == stored:
            pixels: np.ndarray[Any, np.dtype[np.uint8]] = self.values[row]
            return pixels
        if stored not in _PICTURES or channels not in (1, 3):
            raise BadImage(f"{self.name}:{row}: has {stored} channels, where {channels} are expected")
        return super().pixels(row, channels, grey)


def from_arrays(path: Path, split: str) -> LabelledImages:
    word = array_split(path, split)
    if word is None:
        raise FileNotFoundError(f"{path}: has no {split}_images")
    with _arrays(path) as arrays:
        if f"{word}_labels" not in arrays:
            raise BadLabels(f"{path}: has {word}_images but no {word}_labels")
        values, labels = arrays[f"{word}_images"], arrays[f"{word}_labels"]
    if values.dtype != np.uint8 or values.ndim not in (3, 4):
        raise ValueError(f"{path}: {word}_images must be uint8 of (N, H, W) or (N, H, W, C), got {values.dtype} {values.shape}")
    if labels.ndim not in (1, 2) or labels.shape[1:] == (0,):
        raise BadLabels(f"{path}: {word}_labels must be of shape (N,) or (N, K), got {labels.shape}")
    if len(values) != len(labels):
        raise BadLabels(f"{path}: holds {len(values)} {word}_images, but {len(labels)} {word}_labels")
    images = ArrayImages(values[..., None] if values.ndim == 3 else values, f"{path.name} {word}")
    if labels.ndim == 2 and labels.shape[1] > 1:
        if not np.isin(labels, (0, 1)).all():
            raise BadLabels(f"{path}: {word}_labels of shape {labels.shape} must be 0 or 1 for each class")
        targets, classes = torch.from_numpy(labels.astype(bool)), ClassNames.numbered(labels.shape[1])
    else:
        targets, classes = targets_of(labels.reshape(-1).tolist(), False, None, str(path))
    return checked(LabelledImages(images, targets, classes), str(path))


def array_split(path: Path, split: str) -> str | None:
    with _arrays(path) as arrays:
        return next((word for word in words_of(split) if f"{word}_images" in arrays), None)


@contextmanager
def _arrays(path: Path) -> Iterator[Any]:
    """The arrays of a .npz file, each read when it is asked for."""
    try:
        with np.load(path) as arrays:
            yield arrays
    except BadLabels:
        raise
    except Exception as error:  # numpy, zipfile and zlib raise whatever they stumble over in a broken file
        raise ValueError(f"{path}: is no .npz file, or a broken one ({reason(error)})") from None
