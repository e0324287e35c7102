"""Images with their labels, whatever they were read from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .names import ClassNames
from .sources import Images

SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation", "test")}


_MANY = 100_000  # classes that nobody names
_SMALL = 2000  # images of which a share alone could miss a class


class BadLabels(ValueError):
    """Images without the labels that training or evaluation needs. The message names them and says what to do."""


@dataclass(frozen=True)
class LabelledImages:
    """Images and what they show.

    Args:
        images: in the order of the targets.
        targets: (N,) int64 indices into `classes`, or (N, K) bool where an image may show several classes or none.
        classes: what the targets stand for.
    """

    images: Images
    targets: Tensor
    classes: ClassNames

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def multilabel(self) -> bool:
        """Whether an image may show several classes, or none."""
        return self.targets.ndim == 2

    @property
    def counts(self) -> Tensor:
        """(K,) images that show each class."""
        return self.targets.sum(0) if self.multilabel else torch.bincount(self.targets, minlength=len(self.classes))

    def shares(self, rows: int | Sequence[int]) -> Tensor:
        """(K,) float32: 1 for each class that an image shows; (B, K) of several images."""
        targets = self.targets[rows]
        return (targets if self.multilabel else F.one_hot(targets, len(self.classes))).float()

    def questions(self) -> LabelledImages:
        """The same with a yes or no to each class by itself; of two classes only the second is asked for."""
        if self.multilabel:
            return self
        targets = F.one_hot(self.targets, len(self.classes)).bool()
        first = 1 if len(self.classes) == 2 else 0
        return replace(self, targets=targets[:, first:], classes=self.classes[first:])

    def take(self, rows: Sequence[int] | np.ndarray[Any, Any]) -> LabelledImages:
        """Those rows alone."""
        index = [int(row) for row in rows]
        return replace(self, images=self.images.take(index), targets=self.targets[index])

    def hold_out(self, share: float = 0.05) -> tuple[LabelledImages, LabelledImages]:
        """(the rest, a fixed share for selection, at least one image): the same rows every time, whatever the seed of a run.

        Of a small set the share is taken of each class by itself, so that the rare ones are there.
        """
        order = np.random.default_rng(0).permutation(len(self))
        held = order[: max(1, round(share * len(self)))]
        if not self.multilabel and len(self) < _SMALL:
            classes = self.targets.numpy()[order]
            rows = [order[classes == index] for index in range(len(self.classes))]
            each = [
                of_class[: max(round(share * len(of_class)), min(1, len(of_class) - 1))] for of_class in rows if len(of_class)
            ]
            held = np.concatenate(each) if any(map(len, each)) else held
        return self.take(np.setdiff1d(order, held)), self.take(np.sort(held))


def targets_of(values: Sequence[Any], several: bool, names: Sequence[str] | None, where: str) -> tuple[Tensor, ClassNames]:
    """Class numbers or names, one or several a row, as targets."""
    rows = [value if several else (value,) for value in values]
    for row, labels in enumerate(rows):
        if labels is None or None in labels:
            raise BadLabels(f"{where}: row {row} has no label")
    if any(isinstance(label, str) for labels in rows for label in labels):
        names = sorted({str(label) for labels in rows for label in labels})
        number = {name: index for index, name in enumerate(names)}
        rows = [[number[str(label)] for label in labels] for labels in rows]
    for row, labels in enumerate(rows):
        for label in labels:
            if not isinstance(label, (int, float)) or not float(label).is_integer():
                raise BadLabels(f"{where}: row {row} has label {label!r}, which is neither the number of a class nor its name")
    numbers = [[int(label) for label in labels] for labels in rows]
    flat = [label for labels in numbers for label in labels]
    count = len(names) if names is not None else max(flat, default=-1) + 1
    if names is None and count > max(_MANY, 10 * len(rows)):
        raise BadLabels(f"{where}: has labels up to {count - 1} for {len(rows)} images: are they numbers of classes?")
    for row, labels in enumerate(numbers):
        for label in labels:
            if not 0 <= label < count:
                raise BadLabels(f"{where}: row {row} has label {label}, but the classes are numbered 0 to {count - 1}")
    classes = ClassNames.from_words(names) if names is not None else ClassNames.numbered(count)
    if not several:
        if names is None and len(set(flat)) == 1:
            raise BadLabels(f"{where}: has only one class ({classes[flat[0]]}); a classifier needs two or more")
        return torch.tensor(flat, dtype=torch.int64), classes
    targets = torch.zeros(len(rows), count, dtype=torch.bool)
    for row, labels in enumerate(numbers):
        targets[row, labels] = True
    return targets, classes


def checked(images: LabelledImages, where: str) -> LabelledImages:
    if not len(images):
        raise BadLabels(f"{where}: holds no images")
    if not len(images.classes):
        raise BadLabels(f"{where}: not one of its images has a label")
    if len(images.classes) < 2 and not images.multilabel:
        raise BadLabels(f"{where}: has only one class ({images.classes[0]}); a classifier needs two or more")
    return images


def reason(error: Exception) -> str:
    """On one line; the cause says more than what wraps it."""
    return (" ".join(str(error.__cause__ or error).split()) or type(error).__name__)[:200]


def words_of(split: str) -> Sequence[str]:
    """What people call a split; where a source has several of them, the first counts."""
    return SPLITS.get(split, (split,))
