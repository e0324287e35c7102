"""A probe: a linear head on features that somebody else learnt, which takes minutes and is often all that a few images allow."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ..bag import BagOfFeatures
from ..card import Card
from ..data.decode import BadImage
from ..data.folds import folds as dealt
from ..data.groups import training_groups
from ..data.labelled import open_labelled
from ..data.labels import LabelledImages
from ..engine.classifier import Predictor
from ..engine.prepare import prepare
from ..evaluation.evaluate import Evaluation
from ..evaluation.suspicious import suspicious_labels, write_suspicious
from ..figures.words import windows_in_words
from ..geometry import Geometry
from ..progress import Listener
from ..runs.store import claim
from ..runs.sweep import check_some
from ..runs.table import write_table
from ..runs.vectors import Vectors, mean_features
from ..zoo.linear import from_linear
from ..zoo.load import load_network
from ..zoo.windowed import Scale, rewindowed
from .cross_validation import Choice, best_head, choose, out_of_fold
from .log import LOG
from .logistic import PENALTIES, Floats, Kind, Task
from .processes import ranks
from .report import probe_report
from .result import Run, check_folder, check_val, fingerprint, finished, score_of

_log = logging.getLogger(__name__)
SUSPICIOUS = "suspicious_labels.csv"
_UNUSABLE = 0.01  # share of the images that may be unreadable or smaller than a window, as in training


@dataclass(frozen=True, slots=True)
class Probe:
    """How the head is made.

    Args:
        windows: sides of windows to try; those of the model where empty.
        stride: between windows; half of each size where None, or the model's where no size is named.
        scale: of the images, as for `bagnet.windowed`; the model's where None.
        grey: levels that are black and white, as `Preprocessing.grey`; the model's where None.
        kind: "softmax", "sigmoid" or "ordinal", as for `Task`.
        balanced: rare classes count as much as common ones.
        group: column that says what images belong to (a patient, a part), which is never divided; "" where each is by itself.
        folds: of the cross-validation.
        runtime: who computes the features, and measures the result.
        precision: in which.

    Raises:
        ValueError: a window is named twice, or there are fewer than two folds.
    """

    windows: tuple[int, ...] = ()
    stride: int | None = None
    scale: Scale = None
    grey: tuple[float, float] | None = None
    kind: Kind = "softmax"
    balanced: bool = True
    group: str = ""
    folds: int = 5
    runtime: str = "torch"
    precision: str = "float32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "windows", tuple(self.windows))
        if len(set(self.windows)) < len(self.windows):
            raise ValueError(f"windows are named twice: {', '.join(map(str, self.windows))}")
        if self.folds < 2:
            raise ValueError(f"cross-validation needs two folds at least, got {self.folds}")

    def candidates(self, start: BagOfFeatures) -> list[BagOfFeatures]:
        """The start with each size of windows. Raises ValueError as `rewindowed`."""
        sizes: Sequence[int | None] = self.windows or (None,)
        return [rewindowed(start, size, self.stride, scale=self.scale, grey=self.grey) for size in sizes]

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        names = [name for name in self.__dataclass_fields__ if name != "windows"]
        return {"windows": list(self.windows), **{name: getattr(self, name) for name in names}}


def probe(
    model: BagOfFeatures | str | PathLike[str],
    source: str | PathLike[str],
    out: str | PathLike[str] = "probed",
    *,
    tag: str = "mine",
    workers: int | None = None,
    licence: str = "unknown",
    trained_on: str = "",
    command: str = "",
    notes: str = "",
    progress: Listener | None = None,
    **options: Any,
) -> Run:
    """Give a model a new linear head for other images, by logistic regression on the mean features of their windows.

    The features of every image are computed once and kept, so that the same call goes on where it was cut short, and one with
    other options starts from them. How strongly the head is regularised, and which of several sizes of windows is kept, is
    chosen by cross-validation, and how right the result is measured by it: by heads that neither learnt from an image nor were
    chosen by it. Where there is a `val` split, the result is measured on it once.

    Args:
        model: with a card, not changed; or its name or file, as for `load`.
        source: as for `open_labelled`.
        out: folder for features, log and result.
        tag: of the card's name, after the architecture's.
        workers: processes that read images, as for `read_batches`.
        licence: for the card.
        trained_on: for the card; the source's name where empty.
        command: for the card: what a person types to repeat it.
        notes: for the card.
        progress: told while features are computed.
        options: fields of `Probe`: windows=(64, 128), scale="native", kind="ordinal", group="patient" ...

    Raises:
        FileNotFoundError, BadLabels: as `open_labelled`; a class has fewer images (or groups) than there are folds; there is no
            such column of groups, or a group has images in `train` and in `val`.
        BadImage: too many images cannot be read or are smaller than a window.
        ValueError: the model has no linear head; windows do not fit it; a `val` split with other classes; the output is a file,
            or lies among the images.
        CannotRun: the runtime cannot run the model.
        NotANumber: the features of an image are not finite.
        OtherRun: the folder holds a run on other images, or of another model.
    """
    how, folder = _options(options), Path(fspath(out))
    check_folder(folder, source)
    start = model if isinstance(model, BagOfFeatures) else load_network(model)
    if not isinstance(start.fc, nn.Linear):
        raise ValueError(f"{start.name}: its network has no linear head, so that there are no features for another one")
    images = _images(source, how)
    check_val(source, images)
    groups = training_groups(source, images, how.group)
    fold_of = dealt(images, how.folds, groups)
    candidates = how.candidates(start)
    record = {"probe": True, "data": fingerprint(images), "weights to start from": start.weights_digest}
    with claim(folder, record, overwrite=None) as store:
        begun = time.perf_counter()
        vectors = [_features(candidate, images, how, folder, workers, progress) for candidate in candidates]
        store.begin()  # features of a run that could not be made are no reason to refuse another one
        bad = {row: reason for each in reversed(vectors) for row, reason in each.bad.items()}
        good = np.setdiff1d(np.arange(len(images)), list(bad))
        kept = () if groups is None else tuple(groups[row] for row in good)
        trials = _Trials(how, images.take(good), fold_of[good], candidates, [each.values[good] for each in vectors], kept)
        choice = trials.best()
        name = Path(fspath(source)).name
        crossed = trials.evaluation(choice, name, time.perf_counter() - begun)
        trials.tell(choice, crossed)
        trials.write_log(folder / LOG, choice)
        if not crossed.multilabel:
            write_suspicious(folder / SUSPICIOUS, suspicious_labels(crossed))
        words: dict[str, Any] = {"licence": licence, "trained_on": trained_on or name, "command": command}
        card = replace(trials.card(choice, crossed, tag), **words, notes=f"{_about(start)} {notes}".strip())
        skipped = tuple((images.images.names[row], reason) for row, reason in sorted(bad.items()))
        run = finished(trials.network(choice), card, source, folder, skipped, workers, partial(_on_runtime, how=how), how.group)
        run = replace(run, cross_validation=crossed)
        shown = trials.images if run.evaluation is None else _images(source, how, "val")
        probe_report(folder, run, trials.curves(choice), shown)
    return run


@dataclass(frozen=True, slots=True, eq=False)
class _Trials:
    """Kinds of windows that are compared on the same images.

    Args:
        how: the heads are made.
        images: that can be used.
        fold_of: (N,) of them.
        candidates: networks with windows of each kind.
        features: (N, C) of each.
        groups: (N,) what they belong to; () where each is by itself.
    """

    how: Probe
    images: LabelledImages
    fold_of: NDArray[np.int64]
    candidates: Sequence[BagOfFeatures]
    features: Sequence[NDArray[np.float32]]
    groups: tuple[str, ...] = ()

    @property
    def task(self) -> Task:
        """What the heads are to learn."""
        return Task.of(shown_classes(self.images), self.how.kind, self.how.balanced)

    def best(self) -> Choice:
        """By cross-validation."""
        kinds = []
        for candidate, features in zip(self.candidates, self.features, strict=True):
            kinds.append(out_of_fold(features, self.task, self.fold_of))
            alone = choose(kinds[-1:], self.fold_of)
            name = windows_in_words(candidate.geometry)
            _log.info("%s: cross-validated loss %.4f (penalty %.3g)", name, alone.losses.min(), alone.penalty)
        return choose(kinds, self.fold_of)

    def evaluation(self, choice: Choice, data: str, seconds: float) -> Evaluation:
        """How right heads are on images that they neither learnt from nor were chosen by."""
        return Evaluation(
            model=self.candidates[choice.features].name,
            data=f"{data} train, cross-validated in {self.how.folds} folds",
            classes=self.images.classes,
            labels=self.images.targets.numpy(),
            scores=choice.logits.astype(np.float32),
            bad=(),
            seconds=seconds,
            window=self.candidates[choice.features].geometry.size,
            runtime=self.how.runtime,
            precision=self.how.precision,
            names=tuple(self.images.images.names),
            group=self.how.group,
            groups=self.groups,
        )

    def tell(self, choice: Choice, crossed: Evaluation) -> None:
        """In the log of a person."""
        if len(self.candidates) > 1:
            _log.info("kept: %s", windows_in_words(self.candidates[choice.features].geometry))
        _log.info("cross-validated: %s", ", ".join(measure.text for measure in crossed.measures()))

    def write_log(self, path: Path, choice: Choice) -> None:
        """A row for every kind of windows and penalty."""
        columns = ["window", "stride", "penalty", "loss", "chosen"]
        rows = [
            {
                "window": candidate.geometry.size,
                "stride": candidate.geometry.stride,
                "penalty": f"{penalty:.6g}",
                "loss": f"{loss:.6g}",
                "chosen": int((index, penalty) == (choice.features, choice.penalty)),
            }
            for index, candidate in enumerate(self.candidates)
            for penalty, loss in zip(PENALTIES, choice.losses[index], strict=True)
        ]
        write_table(path, columns, rows)

    def curves(self, choice: Choice) -> list[tuple[Geometry, Floats]]:
        """Loss by penalty of every kind of windows."""
        return [(candidate.geometry, losses) for candidate, losses in zip(self.candidates, choice.losses, strict=True)]

    def network(self, choice: Choice) -> BagOfFeatures:
        """That with the best windows, and a head of all images."""
        head = best_head(self.features[choice.features], self.task, choice.penalty)
        return from_linear(self.candidates[choice.features], head.weight, head.bias, self.images.classes)

    def card(self, choice: Choice, crossed: Evaluation, tag: str) -> Card:
        """With what cross-validation says of it."""
        start = self.candidates[choice.features]
        measured = (
            f"by cross-validation in {self.how.folds} folds, of heads that neither learnt from an image nor were chosen by it"
        )
        return Card(
            name=f"{start.name}.{tag}",
            architecture=replace(start.architecture, num_classes=len(self.images.classes)),
            classes=self.images.classes,
            preprocessing=start.transform,
            multilabel=self.images.multilabel,
            scores=() if crossed.multilabel else (score_of(crossed, measured),),
            more={"recipe": {"probe": True, **self.how.to_dict(), "penalty": choice.penalty}},
        )


def shown_classes(images: LabelledImages) -> NDArray[np.bool_]:
    """(N, K) which classes each image shows."""
    if images.multilabel:
        return np.asarray(images.targets.numpy())
    shown: NDArray[np.bool_] = images.targets.numpy()[:, None] == np.arange(len(images.classes))
    return shown


def _options(options: dict[str, Any]) -> Probe:
    unknown = [name for name in options if name not in Probe.__dataclass_fields__]
    if unknown:
        raise ValueError(f"a probe has no option {unknown[0]!r}: there are {', '.join(Probe.__dataclass_fields__)}")
    if ranks() > 1:
        raise ValueError("a probe is made by one process: run it without torchrun")
    return Probe(**options)


def _images(source: str | PathLike[str], how: Probe, split: str = "train") -> LabelledImages:
    images = open_labelled(source, split)
    if how.kind == "ordinal" and images.multilabel:
        raise ValueError(f"{fspath(source)}: its images have several labels each, and no order of them")
    return images.questions() if how.kind == "sigmoid" else images


def _features(
    network: BagOfFeatures, images: LabelledImages, how: Probe, folder: Path, workers: int | None, progress: Listener | None
) -> Vectors:
    stage = f"features of {windows_in_words(network.geometry)}"
    _log.info("%s of %s images", stage, f"{len(images):,}")
    ready = _on_runtime(network, how)
    kept = mean_features(ready, images.images, folder / "features", workers=workers, progress=progress, stage=stage)
    reasons = list(enumerate(kept.bad.values()))
    check_some(range(len(images) - len(reasons)), reasons)
    if len(reasons) > _UNUSABLE * len(images):
        raise BadImage(f"{len(reasons)} of {len(images)} images cannot be used, more than {_UNUSABLE:.0%}: {reasons[0][1]}")
    return kept


def _on_runtime(network: Predictor, how: Probe) -> Any:
    return prepare(network, how.runtime, how.precision)


def _about(start: BagOfFeatures) -> str:
    """For the card: whose the features are."""
    name = start.name if start.card is None else start.card.name
    return f"A linear head by logistic regression on the features of {name}, which did not change."
