"""bagnet train"""

from __future__ import annotations

import inspect
import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from ..training.recipe import Recipe
from .progress import lines_on_stderr


def _with_recipe(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option for every field of a recipe beside its own; it gets those that were given as `changes`."""
    own = inspect.signature(command, eval_str=True)
    hints = get_type_hints(Recipe)
    options = []
    for field in fields(Recipe):
        kind = hints[field.name] if hints[field.name] in (bool, int, float) else str  # a choice among words is text
        names = [f"--{field.name.replace('_', '-')}"]
        if kind is bool:
            names[0] += f"/--no-{field.name.replace('_', '-')}"
        text = typer.Option(*names, help=field.metadata["help"], show_default=False, rich_help_panel="Recipe, field by field")
        options.append(
            inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, text])
        )

    def wrapped(**given: Any) -> None:
        changes = {field.name: given.pop(field.name) for field in fields(Recipe)}
        command(**given, changes={name: value for name, value in changes.items() if value is not None})

    kept = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for name, parameter in own.parameters.items() if name != "changes"
    ]
    wrapped.__signature__ = own.replace(parameters=[*kept, *options])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {one.name: one.annotation for one in (*kept, *options)}
    wrapped.__doc__, wrapped.__name__ = command.__doc__, command.__name__
    return wrapped


def _four(text: str) -> tuple[int, int, int, int]:
    try:
        a, b, c, d = (int(word) for word in text.split(","))
    except ValueError:
        raise ValueError(f"{text!r} is not four whole numbers such as 2,2,1,1") from None
    return a, b, c, d


_NETWORK = "Network"
_CARD = "Card"


@_with_recipe
def train(
    data: Annotated[
        str,
        typer.Argument(
            help="Folder with a folder for each class, with Parquet tables or tar shards; a .npz file; or hub:NAME.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, logs and the result.", show_default=False)],
    recipe: Annotated[str, typer.Option(help="paper | modern | a .toml file of fields.")] = "modern",
    start: Annotated[
        str,
        typer.Option(
            help="Weights to start from: a model's name or file. The learning rate is then a tenth of the recipe's, unless it is "
            "given.",
            show_default="random",
            rich_help_panel=_NETWORK,
        ),
    ] = "",
    network: Annotated[
        str,
        typer.Option(
            help="Another network than a BagNet, to compare with: timm:NAME, torchvision:NAME or package.module:function.",
            show_default=False,
            rich_help_panel=_NETWORK,
        ),
    ] = "",
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            help="Whose answers are learned, where the recipe distils: a model's name or file, or as for --network; the mean of "
            "several, where it is repeated.",
            show_default=False,
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    kernel3: Annotated[
        str | None, typer.Option(help="3x3 blocks per stage.", show_default="1,1,1,1", rich_help_panel=_NETWORK)
    ] = None,
    strides: Annotated[
        str | None, typer.Option(help="Stride of each stage.", show_default="2,2,2,1", rich_help_panel=_NETWORK)
    ] = None,
    layers: Annotated[
        str | None, typer.Option(help="Blocks per stage.", show_default="3,4,6,3", rich_help_panel=_NETWORK)
    ] = None,
    width: Annotated[
        int | None, typer.Option(min=1, help="Channels of the stem.", show_default="64", rich_help_panel=_NETWORK)
    ] = None,
    channels: Annotated[
        int | None, typer.Option(min=1, help="Channels of the images.", show_default="3", rich_help_panel=_NETWORK)
    ] = None,
    resize: Annotated[
        int | None,
        typer.Option(min=1, help="Shorter side of the images, in pixels.", show_default="256", rich_help_panel=_NETWORK),
    ] = None,
    crop: Annotated[
        int | None, typer.Option(min=1, help="Input size, in pixels.", show_default="224", rich_help_panel=_NETWORK)
    ] = None,
    tag: Annotated[str, typer.Option(help="Tag of the model's name, after the architecture.", rich_help_panel=_CARD)] = "mine",
    licence: Annotated[str, typer.Option(help="Licence of the weights.", rich_help_panel=_CARD)] = "unknown",
    trained_on: Annotated[
        str, typer.Option(help="What the images are.", show_default="the folder's name", rich_help_panel=_CARD)
    ] = "",
    notes: Annotated[str, typer.Option(help="Anything else.", rich_help_panel=_CARD)] = "",
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that prepare images.", show_default="cores - 1")] = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Leave Parquet tables where they are, also the hub's, and read as training goes on.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    *,
    changes: dict[str, Any],
) -> None:
    """Train a BagNet; the same command goes on where a run was cut short. Under torchrun, on several processes and machines.

    Example: `bagnet train photos/ --out runs/photos --start bagnet25s4.tiny_in200 --epochs 10`
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

    given: dict[str, Any] = {
        name: _four(text) for name, text in (("kernel3", kernel3), ("strides", strides), ("layers", layers)) if text is not None
    }
    given |= {} if width is None else {"width": width}
    if given and (start or network):
        taken = f"--start {start}" if start else f"--network {network}"
        raise ValueError(f"--{next(iter(given))} shapes a new BagNet, and {taken} has a shape of its own: leave one of them out")
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
        shape = Architecture(**given)
    with lines_on_stderr():
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
        found = result.evaluation.to_dict() if result.evaluation is not None else None
        typer.echo(json.dumps({"model": str(result.path), "unreadable": len(result.unreadable), "val": found}))
        return
    if result.unreadable:
        typer.echo(f"{len(result.unreadable)} images were skipped: {out / 'unreadable.csv'}", err=True)
    for best in card.scores:
        top5 = f", {best.top5:.2f} % top-5" if len(card.classes) > 5 else ""  # of fewer classes all are among the best five
        typer.echo(f"{card.name}: {best.top1:.2f} % top-1{top5} on {best.data} ({best.images:,} images)")
    typer.echo(f"-> {result.path}")
