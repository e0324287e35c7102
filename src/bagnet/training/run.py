"""A training run, from labelled images to a file of weights with a card that says what they reach."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from inspect import signature
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..architecture import AnyArchitecture, Architecture, ExternalArchitecture
from ..bag import BagOfFeatures
from ..card import Card
from ..data.folds import hold_out
from ..data.groups import training_groups
from ..data.labelled import open_labelled
from ..data.labels import LabelledImages
from ..data.transforms import Preprocessing
from ..engine.runtimes.pytorch import cpu_has_bf16
from ..files import replacing
from ..runs.store import Store, claim, held_settings
from ..slides.tiles import Tiling, check_channels, seen_whole, side_of
from ..zoo.external import ExternalNetwork, open_classifier
from ..zoo.load import load_network, untrained_model, with_head
from ..zoo.networks import build
from .blocks import blocks_of
from .checkpoints import LAST, STEADY
from .fitting import fit, pixels_in_step, windows_of
from .loggers import logger_kind
from .masking import check_masking, check_votes
from .normalisation import check_normalisation
from .processes import device, rank, ranks
from .recipe import LENGTHS, Recipe, finetuning
from .recipe import recipe as named
from .report import report
from .result import Run, check_folder, check_val, fingerprint, finished
from .teacher import ConsistentTeachers, mean_answers

_log = logging.getLogger(__name__)
_FEW = 2_000  # images, for which starting processes that read them takes longer than reading them


def train(
    source: str | PathLike[str],
    out: str | PathLike[str],
    recipe: Recipe | str = "modern",
    *,
    shape: AnyArchitecture | None = None,
    start: BagOfFeatures | None = None,
    preprocessing: Preprocessing | None = None,
    teacher: str | BagOfFeatures | ExternalNetwork | Sequence[str | BagOfFeatures | ExternalNetwork] = (),
    group: str = "",
    tag: str = "mine",
    workers: int | None = None,
    stream: bool = False,
    logger: str = "",
    licence: str = "unknown",
    trained_on: str = "",
    command: str = "",
    notes: str = "",
) -> Run:
    """Train on the `train` split of some labelled images and measure once on the `val` split, where there is one.

    A fixed share of the training images is held out, and each epoch is measured on them. A run that was interrupted goes on from
    its last checkpoint when called again, to the same weights as if it had not been. Under torchrun all processes train
    together.

    Args:
        source: as for `open_labelled`; where the recipe has `tiles`, files that `bagnet.slide` reads.
        out: folder for checkpoints, log and result.
        recipe: how.
        shape: of the network, whose number of classes is taken from the data; BagNet-33 where None, or that of `start`.
        start: weights to start from instead of random ones; its head is new where the classes are others.
        preprocessing: what the network will be used with; that of `start`, or the paper's, where None.
        teacher: whose answers are learned, where the recipe distils: a model, or its name as for `open_classifier`; of several
            the mean of their logits.
        group: column that says what images belong to (a patient, a part), of a CSV beside the folder or of the tables, see
            `groups_of`; the images to select on are whole groups then, and none is in `train` and in `val`.
        tag: of the card's name, after the architecture's.
        workers: processes that prepare images; one per core but one, where None and there are many images.
        stream: read tables in groups of rows while training, see `open_labelled`; only so many groups are mixed at a time.
        logger: who is told how it goes, beside `log.csv`: "tensorboard", "csv", "wandb", "mlflow" or "none"; "" for tensorboard
            where it is installed. Not a part of the run: one that goes on may tell another.
        licence: for the card.
        trained_on: for the card; the source's name where empty.
        command: for the card: what a person types to repeat the run.
        notes: for the card.

    Raises:
        FileNotFoundError, BadLabels, ValueError: as `open_labelled`; too many unreadable images; a recipe that does not fit,
            or leaves batch normalisation one value per channel; fewer than two images to train on;
            a teacher where nothing is distilled, or none where something is; a `val` split with other classes; an output
            folder that is a file, or lies among those of the classes; there is no such logger.
        ImportError: the logger's package is missing.
        OtherRun: the folder holds another run.
        Diverged: the loss is not finite any more.
        OSError: something cannot be written; the last checkpoint is intact.
    """
    folder = Path(fspath(out))
    check_folder(folder, source)
    logger_kind(logger)  # raises where it is missing
    recipe = named(recipe) if isinstance(recipe, str) else recipe
    teachers = [teacher] if isinstance(teacher, (str, nn.Module)) else list(teacher)
    if recipe.distil and not teachers:
        raise ValueError(f"the recipe distils (distil={recipe.distil:g}): name a teacher")
    if teachers and not recipe.distil:
        raise ValueError("a teacher is named, but the recipe distils nothing (distil=0): say how much, distil=0.5 perhaps")
    images = open_labelled(source, "train", stream)
    if recipe.head == "sigmoid":
        images = images.questions()
    preprocessing = preprocessing or (start.transform if start is not None else Preprocessing())
    torch.manual_seed(recipe.seed)
    network, shape = _network(shape, start, images, len(preprocessing.mean))
    _check_recipe(recipe, network, shape.name, start, preprocessing, images.multilabel)
    check_val(source, images)
    tiling = _tiling(recipe, network, preprocessing)
    if tiling is None:
        seen_whole(images)  # raises where one is a slide
    else:
        images, preprocessing = tiling.of(images), preprocessing.whole(None)
        recipe = recipe.changed(train_crop=tiling.side)
    if isinstance(network, BagOfFeatures):
        for side in filter(None, (preprocessing.crop, recipe.train_crop)):
            network.geometry.grid(side, side)  # raises where a window does not fit
            if recipe.masked:
                check_masking(network.geometry, (side, side), recipe.masked)
                if recipe.masked_at == "hardest":
                    check_votes(network.geometry, (side, side), recipe.masked)
            if recipe.margin:
                check_masking(network.geometry, (side, side), recipe.margin_patch, "margin_patch")
    seen = pixels_in_step(recipe, preprocessing, windows_of(network))
    recipe = recipe.fitted(len(images), finetuned=start is not None, pixels=seen)
    training, select = hold_out(images, recipe.select, training_groups(source, images, group))
    if len(training) < 2:
        there_is = f"{fspath(source)}: has {len(training) or 'no'} image to train on, beside {len(select)} to select on"
        raise ValueError(f"{there_is}; give more images")
    check_normalisation(network, recipe, preprocessing, len(training), ranks())
    if workers is None:
        workers = max(0, (os.cpu_count() or 1) - 1) if len(images) > _FEW or tiling is not None else 0
    opened = [open_classifier(model) if isinstance(model, str) else model for model in teachers]
    for model in opened:
        images.classes.among(model.classes)  # raises where one is missing
    record = {
        "recipe": recipe.to_dict(),
        "network": shape.to_dict(),
        "preprocessing": preprocessing.to_dict(),
        "data": fingerprint(images),
        "weights to start from": "" if start is None else start.weights_digest,
        "teacher": [model.weights_digest for model in opened],
        "stream": stream,
    }
    with _claimed(folder, record) if rank() == 0 else nullcontext() as store:
        if store is not None:
            with replacing(folder / "recipe.toml") as part:
                part.write_text(recipe.to_toml())
        taught: Tensor | ConsistentTeachers | None = None
        if recipe.consistent:
            taught = ConsistentTeachers(opened, images.classes, len(preprocessing.mean), device(), recipe.precision)
        elif recipe.distil:
            _say(f"asking {'the teacher' if len(opened) == 1 else f'{len(opened)} teachers'} about {len(training):,} images")
            asked = [model.to(device()) if isinstance(model, nn.Module) else model for model in opened]
            taught = mean_answers(
                asked, training, folder / "teacher", grey=preprocessing.grey, workers=workers, rank=rank(), ranks=ranks()
            )
        _say(f"{shape.name}: {len(training):,} images to train on, {len(select):,} to select on, {len(images.classes)} classes")
        _say(f"{recipe.epochs} {'epoch' if recipe.epochs == 1 else 'epochs'} in batches of {recipe.batch_size}")
        if recipe.precision == "bf16" and device().type == "cpu" and not cpu_has_bf16():
            _say("this processor has no bf16: it is computed without, ten times slower than float32, which is the default")
        name = trained_on or Path(fspath(source)).name
        if start is not None and start.card is not None and start.card.trained_on == name:
            _say(f"{start.card.name} was trained on {name}: it may have seen the images to select on, which then flatter it")
        if empty := int((training.counts == 0).sum()):
            _say(f"{empty} of {len(images.classes)} classes have no image to train on")
        fitted = fit(
            network,
            training,
            select,
            preprocessing,
            recipe,
            folder,
            teacher=taught,
            workers=workers,
            stream=stream,
            begin=None if store is None else store.begin,
            logger=logger,
        )
        unreadable = tuple(
            (part.images.names[row], reason)
            for part, bad in ((training, fitted.unreadable), (select, fitted.unreadable_select))
            for row, reason in sorted(bad.items())
        )
        bad_tiles = tuple((training.images.names[row], tile, reason) for row, tile, reason in fitted.bad_tiles)
        card = Card(
            name=f"{shape.name}.{tag}",
            architecture=shape,
            classes=images.classes,
            preprocessing=preprocessing,
            multilabel=images.multilabel,
            licence=licence,
            trained_on=name,
            command=command,
            notes=notes,
            more={"recipe": recipe.to_dict()},
        )
        seen_as = None if tiling is None else tiling.of
        run = finished(
            fitted.network, card, source, folder, unreadable, workers, bad_tiles=bad_tiles, group=group, seen_as=seen_as
        )
        if rank() == 0:
            shown = open_labelled(source, "val") if run.evaluation is not None and tiling is None else select
            report(folder, run.model, run.card, run.evaluation, shown.questions() if recipe.head == "sigmoid" else shown)
    return run


@contextmanager
def _claimed(folder: Path, record: Mapping[str, Any]) -> Iterator[Store]:
    """Inside, the folder is this run's alone.

    A run that it holds may have been shorter, where its schedule leaves that open, or begun by a version that did not yet know a
    field of the recipe and did what its default does.
    """
    held = held_settings(folder)
    before = held.get("recipe") if held is not None else None
    longer = before is not None and _lengthens(record["recipe"], before)
    lengths = LENGTHS if longer else ()
    fields = () if before is None else _fields_since(record["recipe"], before)
    free = {"recipe.unreadable", *(f"recipe.{name}" for name in (*lengths, *fields))}
    with claim(folder, record, overwrite=None, free=free) as store:
        if longer and (folder / STEADY).exists():
            with replacing(folder / LAST) as part:
                shutil.copyfile(folder / STEADY, part)
        if longer or fields:
            store.adopt_settings()
        yield store


def _lengthens(recipe: Mapping[str, Any], held: Mapping[str, Any]) -> bool:
    """Whether a recipe differs from another in no more than its length, which its schedule leaves open."""
    try:
        shorter, longer = Recipe(**held), Recipe(**recipe)
    except (TypeError, ValueError):  # of a later version
        return False
    return shorter != longer and longer.lengthens(shorter)


def _fields_since(recipe: Mapping[str, Any], held: Mapping[str, Any]) -> list[str]:
    """Fields that the version which wrote another recipe did not know, and that have their defaults."""
    plain = Recipe().to_dict()
    return [name for name, value in recipe.items() if name not in held and value == plain[name]]


def _say(line: str) -> None:
    """Of several processes one speaks."""
    if rank() == 0:
        _log.info(line)


def finetune(
    model: BagOfFeatures | str | PathLike[str],
    source: str | PathLike[str],
    out: str | PathLike[str] = "finetuned",
    recipe: Recipe | str | PathLike[str] = "modern",
    **changes: Any,
) -> Run:
    """Go on training a BagNet on other images, with a new head where their classes are others.

    Args:
        model: with a card, not changed; or its name or file, as for `load`.
        source: as for `open_labelled`.
        out: folder for checkpoints, log and result.
        recipe: how, or its name or file; a named one with a tenth of its learning rate.
        changes: fields of the recipe (`epochs=5`, `freeze=True`, `backbone_rate=0.1`), and arguments of `train` that are none.

    Raises:
        As `train` and `load`; ValueError also where there is no field or argument of a name.
    """
    rest = {name: changes.pop(name) for name in set(signature(train).parameters) & set(changes)}
    chosen = recipe.changed(**changes) if isinstance(recipe, Recipe) else finetuning(recipe, **changes)
    start = model if isinstance(model, BagOfFeatures) else load_network(model)
    return train(source, out, chosen, start=start, **rest)


def _tiling(recipe: Recipe, network: nn.Module, preprocessing: Preprocessing) -> Tiling | None:
    """Which tiles stand for a slide; None where the images are no slides."""
    if not recipe.tiles:
        return None
    assert isinstance(network, BagOfFeatures)
    side = recipe.train_crop or side_of(network, preprocessing.crop)
    if not side:
        raise ValueError("the preprocessing says no input size, and so not how large a tile is: give the recipe a train_crop")
    return Tiling.of_recipe(recipe.to_dict(), side)


def _check_recipe(
    recipe: Recipe,
    network: nn.Module,
    name: str,
    start: BagOfFeatures | None,
    preprocessing: Preprocessing,
    multilabel: bool,
) -> None:
    """Whether what the recipe asks for can be done with the network."""
    if not isinstance(network, BagOfFeatures):
        plain = Recipe()
        for field in ("sparsity", "freeze", "backbone_rate"):
            if getattr(recipe, field) != getattr(plain, field):
                raise ValueError(f"{field} is for BagNets, which have evidence and a head of their own; {name} is none")
    if recipe.tiles:
        _check_tiles(recipe, network, name, len(preprocessing.mean))
        if preprocessing.grey is not None:
            raise ValueError("grey is of images of more than 8 bits, and slides are read with 8: leave it out")
    sampled = windows_of(network) is not None and preprocessing.crop is None and not recipe.train_crop
    if recipe.windows and not sampled:
        raise ValueError(f"windows are sampled of whole images by windowed networks alone; {name} is trained on crops")
    if recipe.masked and (sampled or not isinstance(network, BagOfFeatures)):
        raise ValueError(f"masked leaves out windows of crops that are seen whole, as BagNets see them; {name} does not")
    if recipe.margin and (sampled or not isinstance(network, BagOfFeatures) or multilabel):
        raise ValueError(
            f"margin asks for a lead over rivals in crops that are seen whole, of windows as BagNets have them; {name} has none, "
            "or its classes are questions of their own"
        )
    if recipe.masked_at == "hardest" and multilabel:
        raise ValueError("masked_at=hardest asks for the lead of one label, and each class is a question of its own: take random")
    if recipe.consistent and sampled:
        raise ValueError(
            f"consistent asks a teacher about crops, and {name} is trained on windows at random places: leave it out"
        )
    if recipe.cutmix and sampled:
        raise ValueError("cutmix puts a box of an image into another, and windows at random places have no such box: take mixup")
    if recipe.blocks and (start is None or recipe.freeze):
        raise ValueError("blocks trains the last blocks of weights to start from: name some, and leave freeze out")
    if recipe.blocks and recipe.blocks > len(blocks_of(network)):
        raise ValueError(f"blocks must be at most {len(blocks_of(network))}, as {name} has no more, got {recipe.blocks}")
    if recipe.freeze and start is None:
        raise ValueError("freeze trains the head alone, on weights that are good already: name some to start from")


def _check_tiles(recipe: Recipe, network: nn.Module, name: str, channels: int) -> None:
    """Whether a network can be trained on tiles of slides."""
    if not isinstance(network, BagOfFeatures):
        raise ValueError(f"tiles are for bags of windows, whose answer for a slide is a mean; {name} is none")
    check_channels(name, channels)
    for field in ("masked", "margin", "distil", "cutmix"):
        if getattr(recipe, field):
            raise ValueError(
                f"{field} is for images that are seen at once, and of slides only tiles are: leave {field} or tiles out"
            )


def _network(
    shape: AnyArchitecture | None, start: BagOfFeatures | None, images: LabelledImages, channels: int
) -> tuple[nn.Module, AnyArchitecture]:
    """The network to train and its shape, with as many logits as there are classes."""
    counts: dict[str, Any] = {"num_classes": len(images.classes), "in_channels": channels}
    if start is not None:
        if shape not in (None, start.architecture):
            raise ValueError(f"weights of {start.name} cannot start another network: leave the shape out")
        model = with_head(start, images.classes, channels)
        return model, model.architecture
    if isinstance(shape, ExternalArchitecture):
        shape = replace(shape, **counts)
        return build(shape), shape
    shape = replace(shape or Architecture(), **counts)
    return untrained_model(shape), shape
