"""How right a classifier is on labelled images: accuracy of each class, confusions, calibration, speed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..card import Card
from ..data.decode import BadImage
from ..data.labelled import BadLabels, LabelledImages, open_labelled
from ..data.names import ClassNames
from ..data.transforms import Preprocessing
from ..missing import needs
from .batches import read_batches

BINS = 15  # of the calibration error
Progress = Callable[[int, int], None]  # images done, images in all


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What was found of one classifier on one set of images.

    Args:
        model: name of the card.
        data: name of the images.
        classes: K classes of the images, which the logits were restricted to.
        labels: (N,) true classes of the images that could be read, in their order; of several labels (N, K) bool.
        scores: (N, K) float32 logits.
        bad: (image, reason) of those that could not be read.
        seconds: spent on all of it.
    """

    model: str
    data: str
    classes: ClassNames
    labels: NDArray[Any]
    scores: NDArray[np.float32]
    bad: tuple[tuple[str, str], ...]
    seconds: float

    @property
    def multilabel(self) -> bool:
        """Whether an image may show several classes, or none."""
        return self.labels.ndim == 2

    @property
    def images(self) -> int:
        """How many were classified."""
        return len(self.labels)

    @property
    def images_per_second(self) -> float:
        """Reading and classifying together."""
        return self.images / self.seconds

    @property
    def probabilities(self) -> Tensor:
        """(N, K) float32: softmax over the classes of the images, or sigmoid of each where there are several labels."""
        scores = torch.from_numpy(self.scores)
        return scores.sigmoid() if self.multilabel else scores.softmax(1)

    def top(self, count: int) -> float:
        """Share of images whose label is among the best classes, of so many."""
        self._one_label()
        better = (self.scores > np.take_along_axis(self.scores, self.labels[:, None], 1)).sum(1)
        return float((better < count).mean())

    @property
    def confusion(self) -> NDArray[np.int64]:
        """(K, K) images of each true class (row) by the best class (column)."""
        self._one_label()
        table = np.zeros((len(self.classes),) * 2, np.int64)
        np.add.at(table, (self.labels, self.scores.argmax(1)), 1)
        return table

    @property
    def by_class(self) -> NDArray[np.float64]:
        """(K,) share of each class's images that are right; of several labels, its average precision. NaN without images."""
        if self.multilabel:
            precision = needs("torchmetrics.functional.classification", "train").multilabel_average_precision
            truth = torch.from_numpy(self.labels).long()
            found = precision(self.probabilities, truth, len(self.classes), average="none").double().numpy()
            return np.asarray(np.where(self.labels.any(0), found, np.nan))
        table = self.confusion
        with np.errstate(invalid="ignore"):
            return np.asarray(np.diag(table) / table.sum(1))

    @property
    def calibration_error(self) -> float:
        """Expected calibration error (Guo et al. 2017) in 15 bins: how far confidence is from accuracy, on average."""
        measures = needs("torchmetrics.functional.classification", "train")
        truth = torch.from_numpy(self.labels)
        if self.multilabel:
            return float(measures.binary_calibration_error(self.probabilities.flatten(), truth.long().flatten(), n_bins=BINS))
        return float(measures.multiclass_calibration_error(self.probabilities, truth, len(self.classes), n_bins=BINS))

    def reliability(self) -> list[tuple[float, float, int]]:
        """(mean confidence, accuracy, images) of each bin that has images, from unsure to sure."""
        self._one_label()
        confidence, best = (found.numpy() for found in self.probabilities.max(1))
        place = np.minimum((confidence * BINS).astype(int), BINS - 1)
        right = best == self.labels
        members = [place == number for number in range(BINS)]
        return [(float(confidence[m].mean()), float(right[m].mean()), int(m.sum())) for m in members if m.any()]

    def confused(self, count: int = 10) -> list[tuple[int, int, int]]:
        """(true class, class taken for it, images) of the most common mistakes."""
        table = self.confusion.copy()
        np.fill_diagonal(table, 0)
        order = np.argsort(-table, axis=None, kind="stable")[:count]
        pairs = [(int(place) // len(table), int(place) % len(table)) for place in order]
        return [(true, taken, int(table[true, taken])) for true, taken in pairs if table[true, taken]]

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON can hold it, without the scores."""
        names = [str(entry) for entry in self.classes]
        by_class = [None if np.isnan(value) else round(float(value), 6) for value in self.by_class]
        record = {
            "model": self.model,
            "data": self.data,
            "images": self.images,
            "bad": [list(pair) for pair in self.bad],
            "calibration_error": self.calibration_error,
            "images_per_second": self.images_per_second,
            "by_class": dict(zip([entry.wnid or str(entry) for entry in self.classes], by_class, strict=True)),
        }
        if self.multilabel:
            return {**record, "mean_average_precision": float(np.nanmean(self.by_class))}
        confused = [{"true": names[true], "taken_for": names[taken], "images": images} for true, taken, images in self.confused()]
        return {**record, "top1": self.top(1), "top5": self.top(5), "confused": confused}

    def _one_label(self) -> None:
        if self.multilabel:
            raise BadLabels(f"{self.data}: its images have several labels each, and so no single right answer")


@torch.inference_mode()
def evaluate(
    model: Any,
    source: str | PathLike[str] | LabelledImages,
    split: str = "val",
    *,
    batch_size: int = 64,
    workers: int | None = None,
    transform: Preprocessing | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure a classifier on labelled images.

    The classes of the images are looked up among the model's by WordNet id or name, and only their logits count: a model of
    ImageNet's 1000 classes is measured on images of 200 of them as a classifier of those 200.

    Args:
        model: a BagNet, a prepared one, or an `OtherNetwork`.
        source: as for `open_labelled`, or what that returned.
        split: of the source.
        batch_size: images at a time.
        workers: processes that read images; one per core but one, where None.
        transform: instead of the card's preprocessing.
        progress: told after every batch.

    Raises:
        FileNotFoundError, BadLabels, ValueError: as `open_labelled`; no image can be read.
        UnknownClass: the model lacks a class of the images.
    """
    images = source if isinstance(source, LabelledImages) else open_labelled(source, split)
    card: Card | None = model.card
    multilabel = card is not None and card.multilabel
    if multilabel and not images.multilabel:
        images = images.questions()
    columns = _columns(images.classes, model.classes)
    names = images.images.names
    rows: list[int] = []
    scores: list[Tensor] = []
    bad: list[tuple[str, str]] = []
    start = time.perf_counter()
    device = next(model.parameters()).device if isinstance(model, torch.nn.Module) else "cpu"
    for batch in read_batches(images.images, range(len(images)), transform or model.transform, batch_size, workers):
        for group, x in batch.groups:
            rows += group
            scores.append(model(x.to(device)).float().cpu()[:, columns])
        bad += [(names[row], reason) for row, reason in batch.bad]
        if progress is not None:
            progress(len(rows) + len(bad), len(images))
    if not rows:
        raise BadImage(f"none of the {len(images)} images can be read: {bad[0][1]}")
    order = np.argsort(rows)
    return Evaluation(
        model=card.name if card else "",
        data=f"{Path(fspath(source)).name} {split}" if not isinstance(source, LabelledImages) else "the images given",
        classes=images.classes,
        labels=images.targets.numpy()[np.asarray(rows)[order]],
        scores=torch.cat(scores).numpy()[order],
        bad=tuple(bad),
        seconds=time.perf_counter() - start,
    )


def _columns(classes: ClassNames, known: ClassNames) -> list[int]:
    """Where the classes of some images are among a model's logits; as they are, where both are but numbered."""
    return list(range(len(classes))) if classes == known else classes.among(known)
