"""bagnet train"""

from __future__ import annotations

import inspect
import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import Field, fields
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer

from ..training.recipe import RECIPES, Recipe
from .completion import among, models
from .options import AsJson, Data, TrainingWorkers, four_numbers
from .recalls import print_recalls

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


_NETWORK = "Network"
_CARD = "Card"


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
        int | None,
        typer.Option(metavar="PIXELS", min=1, help="Shorter side of the images.", show_default="256", rich_help_panel=_NETWORK),
    ] = None,
    crop: Annotated[
        int | None,
        typer.Option(metavar="PIXELS", min=1, help="Input size.", show_default="224", rich_help_panel=_NETWORK),
    ] = None,
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
    as_json: AsJson = False,
    *,
    changes: dict[str, Any],
) -> None:
    """Train a BagNet, or a network to compare with, on labelled images.

    The same command goes on where a run was cut short. Under torchrun, on several processes and machines.

    Example: `bagnet train photos/ --out runs/photos --start bagnet25s4.tiny_in200`
    """
    from dataclasses import replace

    from ..architecture import Architecture, ExternalArchitecture
    from ..data.transforms import Preprocessing
    from ..missing import needs
    from ..training.recipe import finetuning
    from ..training.recipe import recipe as named

    chosen = finetuning(recipe, **changes) if start else named(recipe, **changes)
    needs("lightning", "train")
    from ..training.processes import rank
    from ..training.run import train as run
    from ..zoo.load import load

    shaped: dict[str, Any] = {
        name: four_numbers(text)
        for name, text in (("kernel3", kernel3), ("strides", strides), ("layers", layers))
        if text is not None
    }
    shaped |= {} if width is None else {"width": width}
    if shaped and (start or network):
        option = f"--start {start}" if start else f"--network {network}"
        raise ValueError(
            f"--{next(iter(shaped))} shapes a new BagNet, and {option} has a shape of its own: leave one of them out"
        )
    weights = load(start) if start else None
    preprocessing = Preprocessing() if weights is None else weights.transform
    if channels is not None:
        preprocessing = preprocessing.with_channels(channels)
    if crop is not None:
        preprocessing = preprocessing.with_crop(crop)
    if resize is not None:
        preprocessing = replace(preprocessing, resize=resize)
    shape: Architecture | ExternalArchitecture | None = None
    if network:
        shape = ExternalArchitecture(network)
    elif weights is None:
        shape = Architecture(**shaped)
    result = run(
        data,
        out,
        chosen,
        shape=shape,
        start=weights,
        preprocessing=preprocessing,
        teacher=teacher or (),
        tag=tag,
        workers=workers,
        stream=stream,
        licence=licence,
        trained_on=trained_on,
        command=shlex.join(["bagnet", *sys.argv[1:]]),
        notes=notes,
    )
    card = result.card
    if rank() != 0:  # of several processes one speaks
        return
    if as_json:
        val = None if result.evaluation is None else result.evaluation.to_dict()
        typer.echo(json.dumps({"model": str(result.path), "unreadable": len(result.unreadable), "val": val}))
        return
    if result.unreadable:
        typer.echo(f"{len(result.unreadable)} images were skipped: {out / 'unreadable.csv'}", err=True)
    if (measured := result.evaluation) is not None:
        measures = ", ".join(measure.text for measure in measured.measures())
        typer.echo(f"{card.name}: {measures} on {measured.data} ({measured.images:,} images)")
        if not measured.multilabel:
            print_recalls([measured])
    typer.echo(f"-> {result.path}")
