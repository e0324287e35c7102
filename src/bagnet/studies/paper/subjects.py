"""What an experiment is done on: the models, and the images that all of them are asked about."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from os import PathLike, fspath
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ...data.folders import Walk
from ...data.labelled import has_split, open_labelled
from ...data.labels import BadLabels, LabelledImages
from ...data.names import AmbiguousClass, ClassNames, UnknownClass
from ...data.sources import Images, Subset, open_images
from ...data.transforms import Preprocessing
from ...engine.classifier import Classifier, Predictor, has_evidence
from ...engine.inference import like_weights
from ...progress import Listener, unheard
from ...runs.sweep import Batch, sweep

_TOGETHER = 64  # versions of one image that a model is given at a time


class OtherClasses(ValueError):
    """Models that are to be compared do not know the same classes. The message names the first that is missing."""


@dataclass(frozen=True, eq=False)
class Subject:
    """One model of an experiment.

    Args:
        name: by which figures and tables call it.
        model: in eval mode, and run by torch where its weights or its layers are asked for.
        columns: where the classes of the images are among its logits.
    """

    name: str
    model: Predictor
    columns: tuple[int, ...]

    @property
    def window(self) -> int | None:
        """Side of its windows in pixels of its input; None where it sees the whole image at once."""
        return None if self.model.geometry is None else self.model.geometry.size

    @property
    def classifier(self) -> Classifier:
        """The model as one that has evidence. ValueError: it sees the whole image at once."""
        if not has_evidence(self.model):
            raise ValueError(f"{self.name} sees the whole image at once: there is no evidence of its windows")
        return self.model

    @property
    def module(self) -> nn.Module:
        """The model as torch has it, for what looks inside."""
        return cast("nn.Module", self.model)

    @property
    def transform(self) -> Preprocessing:
        """From an image to its input."""
        return self.model.transform

    @property
    def channels(self) -> int:
        """Of its input."""
        return len(self.transform.mean)

    @property
    def shorter_side(self) -> int | None:
        """Of its input in pixels; None where it takes images as they are."""
        return self.transform.crop or self.transform.resize

    @property
    def input_side(self) -> int:
        """Side of its square input in pixels. ValueError: it takes images as they are, whose places cannot be compared."""
        if self.transform.crop is None:
            raise ValueError(
                f"{self.name} takes images of any size, whose masks cannot be compared by place: name models that resize or crop"
            )
        return self.transform.crop

    def logits(self, x: Tensor) -> Tensor:
        """(B, C, H, W) prepared images -> (B, K) logits of the classes of the images, on the CPU."""
        return self.model(like_weights(x, self.model)).cpu()[:, list(self.columns)]

    def logits_of_versions(self, versions: Sequence[Tensor]) -> Tensor:
        """N changed versions of one prepared image, (1, C, H, W) each -> (N, K) logits, a few versions at a time."""
        starts = range(0, len(versions), _TOGETHER)
        return torch.cat([self.logits(torch.cat(list(versions[start : start + _TOGETHER]))) for start in starts])

    def doubled(self) -> Subject:
        """The same in float64, for what is to be exact."""
        return replace(self, model=cast("Predictor", copy.deepcopy(self.module).double()))

    @cached_property
    def fingerprint(self) -> str:
        """Its name, and a digest of its weights, its layers and its preprocessing."""
        layers = [self.model.weights_digest, repr(self.model), json.dumps(self.transform.to_dict(), sort_keys=True)]
        return f"{self.name} {sha256(''.join(layers).encode()).hexdigest()}"


@dataclass(frozen=True, eq=False)
class Squared(Subject):
    """A model that, where it takes whole photographs, sees the square in the middle of each."""

    @property
    def transform(self) -> Preprocessing:
        """As `Subject.transform`."""
        whole = self.model.transform
        return replace(whole, crop=whole.resize) if whole.crop is None else whole


@dataclass(frozen=True, eq=False)
class Material:
    """The images, and the models that know their classes.

    Args:
        data: name of the images, for people.
        images: those that are used.
        targets: (N,) int64 true classes; None where they are not known.
        classes: the K classes that answers are chosen among.
        subjects: the models, at least one.
        seed: of everything that is drawn at random.
        batch_size: images at a time.
        workers: processes that read images, as for `read_batches`.
        progress: told what is being done, and how far it is.
        request: the models and images as words of `bagnet paper`, by which results say how to repeat them.
    """

    data: str
    images: Images
    targets: Tensor | None
    classes: ClassNames
    subjects: tuple[Subject, ...]
    seed: int = 0
    batch_size: int = 64
    workers: int | None = None
    progress: Listener = field(default=unheard, repr=False)
    request: str = ""

    def __len__(self) -> int:
        return len(self.images.names)

    @property
    def bagnets(self) -> tuple[Subject, ...]:
        """The models with evidence, from the smallest windows to the largest."""
        return tuple(sorted((subject for subject in self.subjects if subject.window), key=lambda subject: subject.window or 0))

    @property
    def networks(self) -> tuple[Subject, ...]:
        """The models that see the whole image at once."""
        return tuple(subject for subject in self.subjects if subject.window is None)

    @property
    def ordered(self) -> tuple[Subject, ...]:
        """BagNets by window, then the others: the order of figures and tables."""
        return (*self.bagnets, *self.networks)

    @cached_property
    def squares(self) -> Material:
        """The same with inputs of one size for each model, so that places in different images can be compared."""
        return replace(self, subjects=tuple(Squared(subject.name, subject.model, subject.columns) for subject in self.subjects))

    @property
    def labels(self) -> Tensor:
        """(N,) true classes. BadLabels: they are not known."""
        if self.targets is None:
            raise BadLabels(
                f"{self.data}: has no labels, which are needed: give a folder with a folder for each class, or tables"
            )
        return self.targets

    def sample(self, count: int) -> Material:
        """So many of the images, drawn by the seed, as many of each class as of any other; all of them where 0, or too few."""
        if not 0 < count < len(self):
            return self
        rows = _drawn(len(self), self.targets, count, self.seed)
        return replace(self, images=Subset(self.images, rows), targets=None if self.targets is None else self.targets[rows])

    def sweep(self, subject: Subject, rows: Sequence[int] | None = None, stage: str = "") -> Iterator[Batch]:
        """`runs.sweep` of a model over some of the images; all where None."""
        return sweep(
            subject.model,
            self.images,
            rows,
            transform=subject.transform,
            batch_size=self.batch_size,
            workers=self.workers,
            progress=self.progress,
            stage=stage or subject.name,
        )

    def settings(self) -> dict[str, Any]:
        """What results depend on, as JSON can hold it."""
        return {
            "data": self.data,
            "images": len(self),
            "image files": self.images.fingerprint,
            "classes": len(self.classes),
            "models": [subject.fingerprint for subject in self.subjects],
            "seed": self.seed,
        }


def gather(
    models: Sequence[tuple[str, Predictor]],
    source: str | PathLike[str],
    split: str = "val",
    *,
    count: int = 0,
    seed: int = 0,
    batch_size: int = 64,
    workers: int | None = None,
    progress: Listener = unheard,
    request: str = "",
) -> Material:
    """Images and models for an experiment.

    Args:
        models: (name, model) of each.
        source: labelled images, as for `open_labelled`, or others, as for `open_images`.
        split: of labelled images.
        count: how many images to use, drawn by `seed`, as many of each class as of any other; all of them where 0.
        seed: of everything that is drawn at random.
        batch_size: images at a time.
        workers: processes that read images.
        progress: told what is being done, and how far it is.
        request: as in `Material`.

    Raises:
        ValueError: no model, or the source has no images.
        BadLabels: several labels an image.
        OtherClasses: a model lacks a class of the images or, where these have no labels, of the first model.
        FileNotFoundError: there is no such source.
    """
    if not models:
        raise ValueError("name at least one model")
    data, images, targets, classes = _images(source, split)
    if classes is None:
        classes = models[0][1].classes
    subjects = tuple(Subject(name, model, _columns(name, model, classes, data)) for name, model in models)
    return Material(data, images, targets, classes, subjects, seed, batch_size, workers, progress, request).sample(count)


def _images(source: str | PathLike[str], split: str) -> tuple[str, Images, Tensor | None, ClassNames | None]:
    """(name, images, labels, classes); without labels the last two are None."""
    text = fspath(source)
    name = Path(text).absolute().name if not text.startswith("hub:") else text
    labelled = _labelled(source, split)
    if labelled is None:
        return name, open_images(text), None, None
    if labelled.multilabel:
        raise BadLabels(f"{name}: its images have several labels each; the experiments need one")
    return f"{name} {split}", labelled.images, labelled.targets, labelled.classes


def _labelled(source: str | PathLike[str], split: str) -> LabelledImages | None:
    """Labelled images; None of a folder without labels."""
    text = fspath(source)
    folder = Path(text)
    if text.startswith("hub:") or not folder.is_dir():
        return open_labelled(source, split)
    divided = bool(Walk().folders(folder))
    if not has_split(text, split):
        has_sibling = has_split(text, "train" if split == "val" else "val")
        return open_labelled(text, split) if has_sibling and divided else None  # which says what is missing
    try:
        return open_labelled(source, split)
    except BadLabels:
        if divided:
            raise  # labelled, but not well
        return None


def _drawn(images: int, targets: Tensor | None, count: int, seed: int) -> list[int]:
    """Rows in order: of each class as many, as far as it has them."""
    order = np.random.default_rng(seed).permutation(images)
    if targets is not None:
        labels = targets.numpy()[order]
        turn = np.zeros(images, np.int64)  # how many of its class come before each
        for label in np.unique(labels):
            members = labels == label
            turn[members] = np.arange(members.sum())
        order = order[np.argsort(turn, kind="stable")]
    return sorted(int(row) for row in order[:count])


def _columns(name: str, model: Predictor, classes: ClassNames, data: str) -> tuple[int, ...]:
    if classes == model.classes:  # also where both are but numbered
        return tuple(range(len(classes)))
    try:
        columns = tuple(classes.among(model.classes))
    except (UnknownClass, AmbiguousClass) as error:
        raise OtherClasses(f"{name} cannot be asked about {data}: {error}") from None
    if len(set(columns)) < len(columns):
        raise OtherClasses(f"{name} cannot be asked about {data}: two of its classes are one of the model's")
    return columns
