"""bagnet train"""

from __future__ import annotations

import inspect
import json
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_args, get_type_hints

import typer

from ..training.loggers import LOGGERS
from ..training.recipe import RECIPES, Recipe
from .completion import among, models
from .options import AsJson, Data, Grey, Group, Runtime, TrainingWorkers, four_numbers, grey_levels
from .progress import progress_bar
from .recalls import print_recalls

if TYPE_CHECKING:
    from ..bag import BagOfFeatures
    from ..data.transforms import Preprocessing
    from ..training.result import Run
    from ..zoo.windowed import Scale

_METAVARS = {bool: None, int: "N", float: "X", str: "WORD"}


def _with_recipe(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option for every field of a recipe beside its own; it gets those that are given as `changes`."""
    signature = inspect.signature(command, eval_str=True)
    options = [_option(field) for field in fields(Recipe)]

    def wrapped(**values: Any) -> None:
        changes = {field.name: values.pop(field.name) for field in fields(Recipe)}
        command(**values, changes={name: value for name, value in changes.items() if value is not None})

    parameters = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in signature.parameters.items()
        if name != "changes"
    ]
    wrapped.__signature__ = signature.replace(parameters=[*parameters, *options])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in (*parameters, *options)}
    wrapped.__doc__, wrapped.__name__ = command.__doc__, command.__name__
    return wrapped


def _option(field: Field[Any]) -> inspect.Parameter:
    """A recipe's field as an option that is None where it is not given."""
    hint = get_type_hints(Recipe)[field.name]
    choices = get_args(hint)
    kind = str if choices else hint
    flag = f"--{field.name.replace('_', '-')}"
    option = typer.Option(
        f"{flag}/--no-{flag[2:]}" if kind is bool else flag,
        help=f"{' | '.join(choices)}. {field.metadata['help']}" if choices else field.metadata["help"],
        metavar=_METAVARS[kind],
        show_default=False,
        autocompletion=among(*choices) if choices else None,
        rich_help_panel="Recipe, field by field",
    )
    annotation = Annotated[kind | None, option]  # type: ignore[valid-type]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


_LOGGERS = "Beside log.csv: " + "; ".join(f"{name}: {kind.about}" for name, kind in LOGGERS.items() if name != "none")
_NETWORK = "Network"
_CARD = "Card"
_PROBE = "A probe, or the head alone"


@_with_recipe
def train(
    data: Data,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where checkpoints, logs and the result go.", show_default=False)],
    recipe: Annotated[
        str,
        typer.Option(metavar="RECIPE", help=f"{' | '.join(RECIPES)} | a .toml file of fields.", autocompletion=among(*RECIPES)),
    ] = "modern",
    start: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help="Weights to start from: a model's name or file. The learning rate is then a tenth of the recipe's, unless it is "
            "given.",
            show_default="random",
            autocompletion=models,
            rich_help_panel=_NETWORK,
        ),
    ] = "",
    network: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Another network than a BagNet, to compare with: timm:NAME, torchvision:NAME or package.module:function.",
            show_default=False,
            rich_help_panel=_NETWORK,
        ),
    ] = "",
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            help="Whose answers are learned, where the recipe distils: a model's name or file, or as for --network; the mean of "
            "several, where it is repeated.",
            show_default=False,
            autocompletion=models,
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    kernel3: Annotated[
        str | None,
        typer.Option(metavar="A,B,C,D", help="3x3 blocks per stage.", show_default="1,1,1,1", rich_help_panel=_NETWORK),
    ] = None,
    strides: Annotated[
        str | None,
        typer.Option(metavar="A,B,C,D", help="Stride of each stage.", show_default="2,2,2,1", rich_help_panel=_NETWORK),
    ] = None,
    layers: Annotated[
        str | None, typer.Option(metavar="A,B,C,D", help="Blocks per stage.", show_default="3,4,6,3", rich_help_panel=_NETWORK)
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Channels of the stem.", show_default="64", rich_help_panel=_NETWORK),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Channels of the images.", show_default="3", rich_help_panel=_NETWORK),
    ] = None,
    resize: Annotated[
        str | None,
        typer.Option(
            metavar="PIXELS", help="Shorter side of the images, or native.", show_default="256", rich_help_panel=_NETWORK
        ),
    ] = None,
    crop: Annotated[
        int | None,
        typer.Option(metavar="PIXELS", min=1, help="Input size.", show_default="224", rich_help_panel=_NETWORK),
    ] = None,
    grey: Grey = "",
    window: Annotated[
        str | None,
        typer.Option(
            metavar="PIXELS",
            help="Side of the windows of a windowed network, in pixels of the resized image; for --probe several (64,128,256), "
            "of which the best is kept.",
            show_default="the model's",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS",
            min=1,
            help="Distance of neighbouring windows: of a windowed network.",
            show_default="half a window",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="Make a new linear head alone, by logistic regression on the features of --start: minutes, for a few hundred "
            "images. Its strength is chosen by cross-validation. Rare classes count as much as common ones (--balance none: "
            "they do not).",
            rich_help_panel=_PROBE,
        ),
    ] = False,
    ordinal: Annotated[
        bool,
        typer.Option("--ordinal", help="The classes are grades, in the order of their names.", rich_help_panel=_PROBE),
    ] = False,
    folds: Annotated[
        int | None,
        typer.Option(metavar="N", min=2, help="Of the cross-validation.", show_default="5", rich_help_panel=_PROBE),
    ] = None,
    runtime: Runtime = "torch",
    group: Group = "",
    tag: Annotated[
        str, typer.Option(metavar="WORD", help="Tag of the model's name, after the architecture.", rich_help_panel=_CARD)
    ] = "mine",
    licence: Annotated[str, typer.Option(metavar="TEXT", help="Licence of the weights.", rich_help_panel=_CARD)] = "unknown",
    trained_on: Annotated[
        str,
        typer.Option(metavar="TEXT", help="What the images are.", show_default="the folder's name", rich_help_panel=_CARD),
    ] = "",
    notes: Annotated[str, typer.Option(metavar="TEXT", help="Anything else.", show_default=False, rich_help_panel=_CARD)] = "",
    workers: TrainingWorkers = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Leave Parquet tables where they are, also the hub's, and read as training goes on.")
    ] = False,
    logger: Annotated[
        str,
        typer.Option(
            metavar="WORD",
            help=f"{' | '.join(LOGGERS)}. {_LOGGERS}.",
            show_default="tensorboard, where it is installed",
            autocompletion=among(*LOGGERS),
        ),
    ] = "",
    as_json: AsJson = False,
    *,
    changes: dict[str, Any],
) -> None:
    """Train a BagNet, or a network to compare with, on labelled images.

    The same command goes on where a run was cut short. Under torchrun, on several processes and machines.

    Example: `bagnet train photos/ --out runs/photos --start default --probe`
    """
    from ..training.processes import rank

    card_words: dict[str, Any] = {
        "tag": tag,
        "licence": licence,
        "trained_on": trained_on,
        "notes": notes,
        "command": shlex.join(["bagnet", *sys.argv[1:]]),
    }
    if probe:
        nothing_for_it = {
            "--recipe": recipe != "modern",
            "--network": network,
            "--teacher": teacher,
            "--stream": stream,
            "--logger": logger,
            "--kernel3": kernel3,
            "--strides": strides,
            "--layers": layers,
            "--width": width,
            "--channels": channels,
            "--crop": crop,
        }
        _refuse(nothing_for_it, "is for training, and a probe makes the head alone")
        asked = {"stride": stride, "folds": folds, "runtime": runtime, "group": group or None}
        options = {name: value for name, value in asked.items() if value is not None} | _head(changes, ordinal)
        options |= {"windows": _numbers(window), "scale": _scale(resize), "grey": grey_levels(grey)}
        result = _probed(data, out, start or "default", workers, card_words, options)
    else:
        _refuse({"--ordinal": ordinal, "--folds": folds, "--runtime": runtime != "torch"}, "is for --probe")
        shaped = {
            name: four_numbers(text)
            for name, text in (("kernel3", kernel3), ("strides", strides), ("layers", layers))
            if text is not None
        }
        shape = shaped | ({} if width is None else {"width": width})
        sizes = _Sizes(channels, crop, resize, grey, window, stride)
        keywords = {
            "teacher": teacher or (),
            "workers": workers,
            "stream": stream,
            "group": group,
            "logger": logger,
            **card_words,
        }
        result = _trained(data, out, recipe, start, network, shape, sizes, changes, keywords)
    card = result.card
    if rank() != 0:  # of several processes one speaks
        return
    if as_json:
        record: dict[str, Any] = {
            "model": str(result.path),
            "unreadable": len(result.unreadable),
            "bad_tiles": len(result.bad_tiles),
        }
        for name, measured in (("val", result.evaluation), ("cross_validation", result.cross_validation)):
            record[name] = None if measured is None else measured.to_dict()
        typer.echo(json.dumps(record))
        return
    if result.unreadable:
        typer.echo(f"{len(result.unreadable)} images were skipped: {out / 'unreadable.csv'}", err=True)
    if result.bad_tiles:
        slides = len({slide for slide, _, _ in result.bad_tiles})
        which = f"{len(result.bad_tiles)} tiles of {slides} slides cannot be read"
        typer.echo(f"{which}, and others stood in for them: {out / 'unreadable.csv'}", err=True)
    every = [evaluation for evaluation in (result.cross_validation, result.evaluation) if evaluation is not None]
    for measured in every:
        measures = ", ".join(measure.text for measure in measured.measures())
        typer.echo(f"{card.name}: {measures} on {measured.data} ({measured.images:,} images)")
    if every and not every[-1].multilabel:
        print_recalls(every[-1:])
    typer.echo(f"-> {result.path}")


class _Sizes(NamedTuple):
    """What is asked for of the images and of the windows on them; the model's where None."""

    channels: int | None
    crop: int | None
    resize: str | None
    grey: str
    window: str | None
    stride: int | None


def _probed(data: str, out: Path, start: str, workers: int | None, card_words: Any, options: Any) -> Run:
    from ..training.probe import probe
    from ..zoo.load import load_network

    with progress_bar() as progress:
        model = load_network(start, progress=progress)
        return probe(model, data, out, workers=workers, progress=progress, **card_words, **options)


def _trained(
    data: str, out: Path, recipe: str, start: str, network: str, shaped: Any, sizes: _Sizes, changes: Any, keywords: Any
) -> Run:
    from ..architecture import Architecture, ExternalArchitecture
    from ..missing import needs
    from ..training.recipe import finetuning
    from ..training.recipe import recipe as named

    chosen = finetuning(recipe, **changes) if start else named(recipe, **changes)
    needs("lightning", "train")
    from ..training.run import train as run

    if shaped and (start or network):
        option = f"--start {start}" if start else f"--network {network}"
        raise ValueError(
            f"--{next(iter(shaped))} shapes a new BagNet, and {option} has a shape of its own: leave one of them out"
        )
    if not start:
        _refuse({"--window": sizes.window, "--stride": sizes.stride}, "is for windowed networks: name one with --start")
    weights, preprocessing = _start(start, sizes)
    shape = ExternalArchitecture(network) if network else None if start else Architecture(**shaped)
    return run(data, out, chosen, shape=shape, start=weights, preprocessing=preprocessing, **keywords)


def _start(start: str, sizes: _Sizes) -> tuple[BagOfFeatures | None, Preprocessing]:
    """The weights to start from, with the windows asked for, and how images are prepared."""
    from dataclasses import replace

    from ..data.transforms import Preprocessing
    from ..zoo.load import load_network
    from ..zoo.windowed import rewindowed

    windows = _numbers(sizes.window)
    if len(windows) > 1:
        raise ValueError(f"--window {sizes.window}: several are tried by --probe; training takes one")
    weights = load_network(start) if start else None
    scale = _scale(sizes.resize)
    if weights is not None and (windows or sizes.stride is not None):
        weights = rewindowed(weights, windows[0] if windows else None, sizes.stride, scale=scale)
    preprocessing = Preprocessing() if weights is None else weights.transform
    if sizes.channels is not None:
        preprocessing = preprocessing.with_channels(sizes.channels)
    if sizes.crop is not None:
        preprocessing = preprocessing.with_crop(sizes.crop)
    if scale is not None:
        preprocessing = replace(preprocessing, resize=None if scale == "native" else scale)
    if levels := grey_levels(sizes.grey):
        preprocessing = replace(preprocessing, grey=levels)
    return weights, preprocessing


def _refuse(options: Mapping[str, Any], why: str) -> None:
    """Raises ValueError where one of some options is given."""
    for name, value in options.items():
        if value:
            raise ValueError(f"{name} {why}: leave {name} out")


def _head(changes: Mapping[str, Any], ordinal: bool) -> dict[str, Any]:
    """What a probe can heed of the fields of a recipe."""
    changes = dict(changes)
    kind, balance = changes.pop("head", "softmax"), changes.pop("balance", "loss")
    head: dict[str, Any] = {"kind": "ordinal" if ordinal else kind, "balanced": balance == "loss"}
    if ordinal and kind != "softmax":
        raise ValueError("--ordinal and --head sigmoid are two different heads: leave one of them out")
    if balance == "sampler":
        raise ValueError("--balance sampler draws images for the steps of training, of which a probe has none: take loss")
    if "precision" in changes:
        head["precision"] = changes.pop("precision")
    _refuse({f"--{name.replace('_', '-')}": True for name in changes}, "is for training, and a probe makes the head alone")
    return head


def _numbers(text: str | None) -> tuple[int, ...]:
    try:
        return () if text is None else tuple(int(word) for word in text.split(","))
    except ValueError:
        raise ValueError(f"--window {text!r} is not one or several whole numbers such as 64,128") from None


def _scale(text: str | None) -> Scale:
    try:
        return text if text in (None, "native") else int(text)  # type: ignore[return-value]
    except ValueError:
        raise ValueError(f"--resize {text!r} is neither a number of pixels nor native") from None
