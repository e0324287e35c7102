"""What a run of training ends in: a file of weights whose card says what they reach; and what is checked before it begins."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from os import PathLike, fspath
from pathlib import Path

import torch
from torch import nn

from ..architecture import Architecture
from ..bag import BagOfFeatures
from ..card import Card, Score
from ..data.labelled import has_split, open_labelled
from ..data.labels import LabelledImages
from ..engine.classifier import Predictor
from ..evaluation.evaluate import Evaluation, evaluate
from ..files import replacing
from ..weights import storable, write
from ..zoo.external import ExternalNetwork, open_network
from .processes import device, rank

_log = logging.getLogger(__name__)
Model = BagOfFeatures | ExternalNetwork


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run.

    Args:
        model: the result, in eval mode, as read back from its file.
        path: of its file.
        folder: of the run: recipe, log, checkpoints, unreadable images.
        evaluation: of the result on the `val` split, where there is one.
        unreadable: (image, reason) of the images that were skipped, those to select on and of `val` included.
        cross_validation: of a probe: of each training image what a head says that did not learn from it; else None.
        bad_tiles: (slide, tile, reason) of the tiles of training slides that could not be read; others stood in for them.
    """

    model: BagOfFeatures | ExternalNetwork
    path: Path
    folder: Path
    evaluation: Evaluation | None
    unreadable: tuple[tuple[str, str], ...]
    cross_validation: Evaluation | None = None
    bad_tiles: tuple[tuple[str, str, str], ...] = ()

    @property
    def card(self) -> Card:
        """What the weights are, and what they reach."""
        assert self.model.card is not None
        return self.model.card


def finished(
    network: nn.Module,
    card: Card,
    source: str | PathLike[str],
    folder: Path,
    unreadable: tuple[tuple[str, str], ...],
    workers: int | None,
    run_by: Callable[[Model], Predictor] | None = None,
    group: str = "",
    seen_as: Callable[[LabelledImages], LabelledImages] | None = None,
    bad_tiles: tuple[tuple[str, str, str], ...] = (),
) -> Run:
    """Write the weights, measure them as stored, and write them again with what they reach on the card.

    Args:
        network: the result.
        card: of it; scores that it has already stay behind the new one.
        source: of the images, as for `open_labelled`.
        folder: of the run.
        unreadable: (image, reason) of the training images that were skipped.
        workers: processes that read images.
        run_by: the model on the runtime that is to measure it; it itself where None.
        group: column that says what images belong to, which intervals are over then.
        seen_as: as for `evaluate`.
        bad_tiles: (slide, tile, reason) of the tiles of training slides that could not be read.

    Raises:
        OSError: something cannot be written.
    """
    path = folder / f"{card.name}.safetensors"
    if rank() == 0:
        if isinstance(network, BagOfFeatures):
            network.card = card
        result = network if isinstance(network, BagOfFeatures) else ExternalNetwork(network, card)
        state, card = storable(result, half=True)
        write(path, state, card)
    if torch.distributed.is_initialized():
        torch.distributed.barrier()
    trusted = [] if isinstance(card.architecture, Architecture) else [card.architecture.network]
    model = open_network(path, trust=trusted)
    evaluation = None
    if has_split(source, "val"):
        evaluation = evaluate(
            run_by(model) if run_by else model.to(device()),
            source,
            "val",
            workers=workers,
            group=group,
            seen_as=seen_as,
        )
        model.cpu()
        if evaluation.one_answer and rank() == 0:
            _log.warning(evaluation.one_answer)
    if evaluation is not None and not evaluation.multilabel:
        score = score_of(evaluation, "measured here on these weights as stored, once, after training")
        card = replace(card, scores=(score, *card.scores))
        if rank() == 0:
            write(path, state, card)
        model.card = card
    bad = (*unreadable, *(evaluation.bad if evaluation is not None else ()))
    if rank() == 0:
        with replacing(folder / "unreadable.csv") as part:
            file = part.open("w", newline="", encoding="utf-8", errors="surrogateescape")  # names of files need not be text
            with file:
                tiles = [(slide, reason, tile) for slide, tile, reason in bad_tiles]
                csv.writer(file).writerows([("image", "reason", "tile"), *((*pair, "") for pair in bad), *tiles])
    return Run(model, path, folder, evaluation, bad, bad_tiles=bad_tiles)


def score_of(evaluation: Evaluation, measured: str) -> Score:
    """What a card says of an evaluation of images with one label each. `measured` says by whom and how."""
    top1, top5, balanced = (
        round(100 * share, 2) for share in (evaluation.top(1), evaluation.top(5), evaluation.balanced_accuracy)
    )
    areas = [round(measure.estimate.value, 4) for measure in evaluation.measures() if measure.key == "roc_auc"]
    return Score(evaluation.data, top1, top5, measured, evaluation.images, balanced, areas[0] if areas else None)


def fingerprint(images: LabelledImages) -> str:
    """Of the names of the images and their labels."""
    total = sha256("\n".join(images.images.names).encode(errors="surrogateescape"))
    total.update(images.targets.contiguous().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def check_folder(folder: Path, source: str | PathLike[str]) -> None:
    """Before anything is read: whether results can lie there."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: is a file; name a folder for the run")
    root = Path(fspath(source)).resolve()
    whole = folder.resolve()
    if root.is_dir() and root in (whole, *whole.parents) and not has_split(source, "val"):
        raise ValueError(f"{folder}: lies among the images, where it would be taken for a class; name another folder for the run")


def check_val(source: str | PathLike[str], images: LabelledImages) -> None:
    """Whether the result can be measured in the end: a run is not to fail after its last step."""
    if not has_split(source, "val"):
        return
    val = open_labelled(source, "val")
    if images.multilabel and not val.multilabel:
        val = val.questions()
    if val.classes == images.classes:
        return
    try:
        val.classes.among(images.classes)
    except ValueError as error:
        raise type(error)(f"the val split of {fspath(source)} does not fit its train split: {error}") from None
