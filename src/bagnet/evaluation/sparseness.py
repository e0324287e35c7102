"""How clean a BagNet's maps are: evidence of the classes that an image shows, against evidence of those that it does not."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.labels import LabelledImages
from ..data.names import ClassNames
from ..data.transforms import Preprocessing
from ..engine.classifier import Predictor, has_evidence, model_name
from ..progress import Listener
from ..runs.sweep import check_some, sweep
from .evaluate import matched
from .measures import rounded

QUIET = 0.01  # of the largest absolute evidence of a class; a window with less says nothing about it


@dataclass(frozen=True, slots=True, eq=False)
class Sparseness:
    """What the maps of K classes hold, in absolute logits.

    Args:
        model: name of the card.
        data: name of the images.
        classes: K classes of the images.
        images: (K,) images that show each class.
        shown: (K,) mean absolute evidence per window over the images that show the class; NaN without any.
        absent: (K,) the same over the images that do not.
        largest: (K,) over all windows of all images.
        quiet: (K,) share of all windows whose absolute evidence is below 1 % of `largest`; 1 for a class without evidence.
        bad: (image, reason) of images that could not be read.
    """

    model: str
    data: str
    classes: ClassNames
    images: NDArray[np.int64]
    shown: NDArray[np.float64]
    absent: NDArray[np.float64]
    largest: NDArray[np.float64]
    quiet: NDArray[np.float64]
    bad: tuple[tuple[str, str], ...]

    def mean(self, measure: str) -> float:
        """Over the classes that have it: "shown", "absent", "largest" or "quiet". NaN where none has."""
        values: NDArray[np.float64] = getattr(self, measure)
        return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON can hold it."""
        measures = ("shown", "absent", "largest", "quiet")
        by_class: list[dict[str, Any]] = [
            {
                "class": str(entry),
                "wnid": entry.wnid,
                "images": int(self.images[label]),
                **{measure: rounded(getattr(self, measure)[label]) for measure in measures},
            }
            for label, entry in enumerate(self.classes)
        ]
        means = {measure: rounded(self.mean(measure)) for measure in measures}
        return {"model": self.model, "data": self.data, "mean": means, "by_class": by_class}


def sparseness(
    model: Predictor,
    source: str | PathLike[str] | LabelledImages,
    split: str = "val",
    *,
    batch_size: int = 64,
    workers: int | None = None,
    transform: Preprocessing | None = None,
    progress: Listener | None = None,
) -> Sparseness:
    """Measure how clean a BagNet's evidence maps are on labelled images, in one pass and with memory for one batch.

    The evidence is what `explain` shows: signed logits of every window, the head's bias among them.

    Args:
        model: a BagNet or a prepared one.
        source: as for `open_labelled`, or what that returned.
        split: of the source.
        batch_size: images at a time.
        workers: processes that read images, as for `read_batches`.
        transform: instead of the card's preprocessing.
        progress: told after every batch.

    Raises:
        ValueError: the model has no evidence; otherwise as `evaluate`.
    """
    if not has_evidence(model):
        raise ValueError(f"{model_name(model)}: is not a bag of windows and has no evidence to measure")
    data, images, columns = matched(model, source, split)
    names = images.images.names
    totals = _Totals(len(columns))
    bad: list[tuple[str, str]] = []
    stage = f"{model_name(model)}, maps"
    for batch in sweep(
        model, images.images, transform=transform, batch_size=batch_size, workers=workers, progress=progress, stage=stage
    ):
        if batch.rows:
            size = model.evidence(batch.x, columns).float().abs().cpu()
            totals.add(size, torch.stack([images.shares(row) for row in batch.rows]) > 0)
        bad += [(names[row], reason) for row, reason in batch.bad]
    check_some(range(totals.done), bad)
    return Sparseness(
        model=model_name(model),
        data=data,
        classes=images.classes,
        images=totals.images.numpy(),
        shown=(totals.sums[1] / totals.windows[1]).numpy(),
        absent=(totals.sums[0] / totals.windows[0]).numpy(),
        largest=totals.largest.double().numpy(),
        quiet=totals.sizes.below(QUIET * totals.largest).numpy(),
        bad=tuple(bad),
    )


class _Totals:
    """What is added up over the images. Without (0) and with (1) the class in view: sums of evidence, and windows."""

    def __init__(self, classes: int) -> None:
        self.done = 0
        self.images = torch.zeros(classes, dtype=torch.int64)
        self.sums, self.windows = torch.zeros(2, classes, dtype=torch.float64), torch.zeros(2, classes, dtype=torch.float64)
        self.largest = torch.zeros(classes)
        self.sizes = _Histogram(classes)

    def add(self, size: Tensor, shows: Tensor) -> None:
        """(B, K, h, w) absolute evidence of images that show (B, K) classes."""
        sums = size.sum((2, 3), dtype=torch.float64)
        for shown, chosen in enumerate((~shows, shows)):
            self.sums[shown] += (sums * chosen).sum(0)
            self.windows[shown] += chosen.sum(0) * size[0, 0].numel()
        self.done += len(size)
        self.images += shows.sum(0)
        self.largest = torch.maximum(self.largest, size.amax((0, 2, 3)))
        for sizes in size:
            self.sizes.add(sizes.flatten(1))


class _Histogram:
    """How many numbers >= 0 of each class lie where, without knowing beforehand how large they become.

    A bin is named after the first bits of a float32, which sort as the numbers do: 128 bins to a doubling, from 2^-40 on.
    """

    _DROPPED = 16  # bits of the 23 that follow the exponent
    _FIRST = (127 - 40) << 7
    _BINS = 64 << 7

    def __init__(self, classes: int) -> None:
        self.counts = torch.zeros(classes, self._BINS, dtype=torch.int64)

    def add(self, values: Tensor) -> None:
        """(K, n) float32."""
        bins = self._bins(values)
        self.counts.scatter_add_(1, bins, torch.ones_like(bins))

    def below(self, limits: Tensor) -> Tensor:
        """(K,) share of each class's numbers below its limit, which is rounded down by less than one part in 128."""
        under = torch.arange(self._BINS) < self._bins(limits)[:, None]
        share = (self.counts * under).sum(1) / self.counts.sum(1).double()
        return torch.where(limits > 0, share, 1.0)

    def _bins(self, values: Tensor) -> Tensor:
        bits = values.contiguous().view(torch.int32).long() >> self._DROPPED
        return (bits - self._FIRST).clamp(0, self._BINS - 1)
