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

from ..data.groups import groups_of
from ..data.labelled import open_labelled
from ..data.labels import BadLabels, LabelledImages
from ..data.names import AmbiguousClass, ClassNames, UnknownClass
from ..data.tables import HUB
from ..data.transforms import Preprocessing
from ..engine.classifier import Predictor, check_loaded, model_name, temperature_of
from ..progress import Listener
from ..runs.sweep import check_finite, check_some, sweep
from ..statistics import Estimate, Resamples
from .curves import Curves, against_the_rest, curves_of
from .measures import (
    Answers,
    Measure,
    average_precisions,
    mean_average_precision,
    measures_of_questions,
    resamples_of,
    rounded,
)

BINS = 15  # of the calibration error
_NEARLY_ALL = 0.9  # of the answers


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
        window: side of the model's windows, in pixels of its input; None where it sees the whole image at once.
        runtime: who ran it.
        precision: that was executed.
        names: (N,) of the images that could be read; () where they were not kept.
        group: what images belong to, as a word; "" where each is by itself.
        groups: (N,) that; all intervals are of draws of groups then. () where each is by itself.
        specificity: at which the sensitivity to each class is told; None for none.
        temperature: of the model's card, at which probabilities are.
        seen: which parts of each image the model saw, in words; "" where it saw images whole.
    """

    model: str
    data: str
    classes: ClassNames
    labels: NDArray[Any]
    scores: NDArray[np.float32]
    bad: tuple[tuple[str, str], ...]
    seconds: float
    window: int | None = None
    runtime: str = "torch"
    precision: str = "float32"
    names: tuple[str, ...] = ()
    group: str = ""
    groups: tuple[str, ...] = ()
    specificity: float | None = None
    temperature: float = 1.0
    seen: str = ""

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
        """(N, K) float32: softmax over the classes of the images, or sigmoid of each where there are several labels.

        Both at the temperature.
        """
        scores = torch.from_numpy(self.scores) / self.temperature
        return scores.sigmoid() if self.multilabel else scores.softmax(1)

    @property
    def counts(self) -> NDArray[np.int64]:
        """(K,) images that show each class."""
        shown = self.labels.sum(0) if self.multilabel else np.bincount(self.labels, minlength=len(self.classes))
        return shown.astype(np.int64)

    @property
    def answers(self) -> Answers:
        """How the true classes are ranked. BadLabels: the images have several each."""
        self._one_label()
        return Answers.of(self.scores, self.labels, self._resamples)

    def measures(self) -> list[Measure]:
        """The measures that fit the task, the one to go by first, as `Answers.measures`."""
        if self.multilabel:
            return measures_of_questions(self.scores, self.labels, self._resamples)
        return self.answers.measures()

    @property
    def curves(self) -> Curves:
        """Each class against the rest, by its probability: precision and recall, and the sensitivity at the specificity."""
        scores = self.scores if self.multilabel else against_the_rest(self.scores)
        shown = self.labels if self.multilabel else np.eye(len(self.classes), dtype=bool)[self.labels]
        resamples = resamples_of(scores, self._resamples)
        return curves_of(scores, shown, self.probabilities.numpy(), self.specificity, resamples)

    @property
    def independent(self) -> int:
        """Of how many independent things intervals are: of groups, or of images."""
        return len(set(self.groups)) or self.images

    @property
    def _resamples(self) -> Resamples | None:
        return Resamples.of(self.images, self.groups) if self.groups else None

    @property
    def recalls(self) -> list[Estimate]:
        """Of each class the share of its images that are right. BadLabels: they have several each."""
        return self.answers.recalls

    def top(self, count: int) -> float:
        """Share of images whose label is among the best classes, of so many. Of equal logits the first counts as the best."""
        return float((self.answers.ranks < count).mean())

    @property
    def balanced_accuracy(self) -> float:
        """Mean over the classes, rare and common alike, of the share that is right; one answer to everything gives 1 / K."""
        self._one_label()
        return float(np.nanmean(self.by_class))

    def ahead_of(self, other: Evaluation) -> Estimate:
        """By which share of the images this is right more often than another, measured on the same images.

        Paired: what both have right or both have wrong widens no interval. Of few classes or many, each image counts alike.

        Raises:
            ValueError: the other was measured on other images, or could not read the same ones.
            BadLabels: the images have several classes each.
        """
        self._one_label()
        bad = [[image for image, _ in evaluation.bad] for evaluation in (self, other)]
        if bad[0] != bad[1] or not np.array_equal(self.labels, other.labels):
            raise ValueError(f"{self.model} and {other.model} were measured on other images: they cannot be compared in pairs")
        right = [evaluation.answers.ranks < 1 for evaluation in (self, other)]
        ahead = right[0].astype(np.float64) - right[1]
        return Resamples.of(self.images, self.groups).estimate(lambda weights: weights @ ahead / weights.sum(1))

    @property
    def one_answer(self) -> str:
        """A sentence where one class is the answer to nearly all images that do not all show it: nothing was learnt; else ""."""
        if self.multilabel or not self.images:
            return ""
        answers = np.bincount(self.scores.argmax(1), minlength=len(self.classes))
        answer = int(answers.argmax())
        given, shown = answers[answer] / self.images, self.counts[answer] / self.images
        if given <= _NEARLY_ALL or shown > _NEARLY_ALL:
            return ""
        return f"{given:.0%} of the answers are {self.classes[answer]}, which {shown:.0%} of the images show: nothing was learnt"

    @property
    def confusion(self) -> NDArray[np.int64]:
        """(K, K) images of each true class (row) by the best class (column)."""
        self._one_label()
        table = np.zeros((len(self.classes),) * 2, np.int64)
        np.add.at(table, (self.labels, self.scores.argmax(1)), 1)
        return table

    def confused(self, count: int = 10) -> list[tuple[int, int, int]]:
        """(true class, class taken for it, images) of the most common mistakes."""
        self._one_label()
        answers = self.scores.argmax(1)
        wrong = answers != self.labels
        pairs, images = np.unique(self.labels[wrong] * len(self.classes) + answers[wrong], return_counts=True)
        order = np.argsort(-images, kind="stable")[:count]
        return [(*divmod(int(pairs[pair]), len(self.classes)), int(images[pair])) for pair in order]

    @property
    def by_class(self) -> NDArray[np.float64]:
        """(K,) share of each class's images that are right; of several labels, its average precision. NaN without images."""
        if self.multilabel:
            return average_precisions(self.scores, self.labels)
        answers = self.answers
        with np.errstate(invalid="ignore"):
            return np.asarray(answers.right / answers.counts)

    @property
    def mean_average_precision(self) -> float:
        """Mean over the classes that some image shows; NaN where none does. BadLabels: the images have one label each."""
        if not self.multilabel:
            raise BadLabels(f"{self.data}: its images have one label each; average precision is for several")
        return mean_average_precision(self.scores, self.labels)

    @property
    def calibration_error(self) -> float:
        """Expected calibration error (Guo et al. 2017) in 15 bins: how far confidence is from accuracy, on average."""
        bins = self.reliability()
        return sum(count * abs(confidence - right) for confidence, right, count in bins) / sum(count for *_, count in bins)

    def reliability(self) -> list[tuple[float, float, int]]:
        """(mean confidence, accuracy, images) of each bin that has images, from unsure to sure.

        Of several labels each class of each image is an answer of its own: (mean probability, share that show it, answers).
        """
        probabilities = self.probabilities.double()
        if self.multilabel:
            confidence, right = probabilities.numpy().ravel(), self.labels.ravel()
        else:
            confidence, right = probabilities.numpy().max(1), self.scores.argmax(1) == self.labels
        bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
        members = [bins == number for number in range(BINS)]
        return [(float(confidence[m].mean()), float(right[m].mean()), int(m.sum())) for m in members if m.any()]

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON can hold it, without the scores."""
        measures = self.measures()
        record: dict[str, Any] = {
            "model": self.model,
            "data": self.data,
            "window": self.window,
            "runtime": self.runtime,
            "precision": self.precision,
            "temperature": self.temperature,
            "images": self.images,
            **({"seen": self.seen} if self.seen else {}),
            **({"group": self.group, "groups": self.independent} if self.groups else {}),
            "bad": [list(pair) for pair in self.bad],
            "seconds": self.seconds,
            "images_per_second": self.images_per_second,
            **{measure.key: rounded(measure.estimate.value) for measure in measures},
            "intervals": {measure.key: measure.rounded_interval for measure in measures},
            "calibration_error": self.calibration_error,
            "reliability": [
                {"confidence": confidence, "accuracy": right, "images": count} for confidence, right, count in self.reliability()
            ],
        }
        if not self.multilabel:
            names = [str(entry) for entry in self.classes]
            record["confused"] = [
                {"true": names[true], "taken_for": names[answer], "images": images} for true, answer, images in self.confused()
            ]
        curves = self.curves
        record["one_against_rest"] = {"mean_average_precision": curves.mean_average_precision.to_dict()}
        if self.specificity is not None:
            record["one_against_rest"] |= {
                "specificity": self.specificity,
                "mean_sensitivity": curves.mean_sensitivity.to_dict(),
            }
        return {**record, "by_class": self._by_class_to_dict(curves)}

    def _by_class_to_dict(self, curves: Curves) -> list[dict[str, Any]]:
        """Recall of each class where there is one label each, and each class against the rest, with intervals."""
        figures: list[dict[str, Any]] = [{} for _ in self.classes]
        if not self.multilabel:
            figures = [{"recall": rounded(recall.value), "interval": _interval(recall)} for recall in self.recalls]
        for figure, curve in zip(figures, curves.classes, strict=True):
            figure["average_precision"] = rounded(curve.average_precision.value)
            figure["average_precision_interval"] = _interval(curve.average_precision)
            if self.specificity is not None:
                figure["sensitivity"] = rounded(curve.sensitivity.value)
                figure["sensitivity_interval"] = _interval(curve.sensitivity)
                figure["threshold_probability"] = rounded(curve.threshold)
        return [
            {"class": str(entry), "wnid": entry.wnid, "images": int(images), **of_class}
            for entry, images, of_class in zip(self.classes, self.counts, figures, strict=True)
        ]

    def _one_label(self) -> None:
        if self.multilabel:
            raise BadLabels(f"{self.data}: its images have several labels each, and so no single right answer")


def _interval(estimate: Estimate) -> list[float | None]:
    """As JSON can hold it: [low, high]."""
    return [rounded(estimate.low), rounded(estimate.high)]


def evaluate(
    model: Predictor,
    source: str | PathLike[str] | LabelledImages,
    split: str = "val",
    *,
    batch_size: int = 64,
    workers: int | None = None,
    transform: Preprocessing | None = None,
    group: str = "",
    specificity: float | None = None,
    seen_as: Callable[[LabelledImages], LabelledImages] | None = None,
    progress: Listener | None = None,
) -> Evaluation:
    """Measure a classifier on labelled images.

    The classes of the images are looked up among the model's by WordNet id or name, and only their logits count: a model of
    ImageNet's 1000 classes is measured on images of 200 of them as a classifier of those 200. Runs in eval mode and with TF32
    off, as `explain` does.

    Args:
        model: a BagNet, a prepared one, or an `ExternalNetwork`.
        source: as for `open_labelled`, or what that returned.
        split: of the source.
        batch_size: images at a time; slides come one at a time.
        workers: processes that read images, as for `read_batches`.
        transform: instead of the card's preprocessing; of slides pixels are seen as they are.
        group: column that says what images belong to (a patient, a part), as for `groups_of`: intervals are of draws of groups
            then, so that several images of a patient do not count as several patients.
        specificity: between 0 and 1; the sensitivity to each class at a threshold with this specificity is told, too.
        seen_as: makes of the images what the model is to see of them, such as tiles of slides (`bagnet.slides.tiles.seen_by`).
        progress: told after every batch.

    Raises:
        FileNotFoundError, BadLabels, ValueError: as `open_labelled` and `groups_of`; no image can be read; groups of images that
            are no folder.
        UnknownClass: the model lacks a class of the images.
        AmbiguousClass: a class of the images may be several of the model's, or two are the same one.
        NotANumber: a logit is NaN.
    """
    if specificity is not None:
        check_specificity(specificity)
    data, images, columns = matched(model, source, split)
    images = images if seen_as is None else seen_as(images)
    transform, batch_size = as_seen(model, images, transform, batch_size)
    names = images.images.names
    groups = group_names(source, split, images, group)
    rows: list[int] = []
    scores: list[Tensor] = []
    bad: list[tuple[str, str]] = []
    start = time.perf_counter()
    for batch in sweep(model, images.images, transform=transform, batch_size=batch_size, workers=workers, progress=progress):
        if batch.rows:
            logits = model(batch.x).float().cpu()[:, columns]
            check_finite(logits, model_name(model), names[batch.rows[0]])
            rows += batch.rows
            scores.append(logits)
        bad += [(names[row], reason) for row, reason in batch.bad]
    seconds = time.perf_counter() - start
    check_some(rows, bad)
    order = np.argsort(rows)
    return Evaluation(
        model=model_name(model),
        data=data,
        classes=images.classes,
        labels=images.targets.numpy()[np.asarray(rows)[order]],
        scores=torch.cat(scores).numpy()[order],
        bad=tuple(bad),
        seconds=seconds,
        window=None if model.geometry is None else model.geometry.size,
        runtime=model.runtime,
        precision=model.precision,
        names=tuple(names[row] for row in sorted(rows)),
        group=group,
        groups=tuple(groups[row] for row in sorted(rows)) if groups else (),
        specificity=specificity,
        temperature=temperature_of(model),
        seen=images.images.seen,
    )


def as_seen(
    model: Predictor, images: LabelledImages, transform: Preprocessing | None, batch_size: int
) -> tuple[Preprocessing, int]:
    """(how images are prepared, how many at a time): of slides, pixels as they are and one, which is as large as many images."""
    transform = transform or model.transform
    return (transform.whole(None), 1) if images.images.seen else (transform, batch_size)


def check_specificity(specificity: float) -> None:
    """ValueError: it is no share between 0 and 1."""
    if not 0 < specificity < 1:
        raise ValueError(f"a specificity lies between 0 and 1, such as 0.95; got {specificity:g}")


def group_names(source: str | PathLike[str] | LabelledImages, split: str, images: LabelledImages, column: str) -> list[str]:
    """What each image belongs to, as a column says; [] where none is named. BadLabels, ValueError: as `evaluate`."""
    if not column:
        return []
    if isinstance(source, LabelledImages):
        raise ValueError(f"what images belong to ({column!r}) is read beside their folder: name that")
    return groups_of(source, split, images, column)


def matched(model: Predictor, source: str | PathLike[str] | LabelledImages, split: str) -> tuple[str, LabelledImages, list[int]]:
    """Images as a model can be asked about them: (their name, themselves, where their classes are among its logits).

    Raises:
        As `evaluate`; TypeError: the model is the name of one.
    """
    check_loaded(model)
    if isinstance(source, LabelledImages):
        data, images = "the images given", source
    else:
        text = fspath(source)
        data = f"{text.removeprefix(HUB) if text.startswith(HUB) else Path(text).absolute().name} {split}"
        images = open_labelled(source, split)
    if model.card is not None and model.card.multilabel:
        images = images.questions()
    if images.classes == model.classes:  # also where both are but numbered
        return data, images, list(range(len(images.classes)))
    refused = f"{model_name(model)} cannot be measured on {data}"
    try:
        columns = images.classes.among(model.classes)
    except (UnknownClass, AmbiguousClass) as error:
        raise type(error)(f"{refused}: {error}") from None
    for label, column in enumerate(columns):
        if column in columns[:label]:
            first, second = images.classes[columns.index(column)], images.classes[label]
            raise AmbiguousClass(
                f"{refused}: its {model.classes[column]} is both {first} and {second} there; give the classes WordNet ids"
            )
    return data, images, columns
