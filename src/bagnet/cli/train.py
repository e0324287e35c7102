"""bagnet train"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer


def _four(text: str) -> tuple[int, int, int, int]:
    try:
        a, b, c, d = (int(word) for word in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not four whole numbers such as 2,2,1,1") from None
    return a, b, c, d


def train(
    data: Annotated[Path, typer.Argument(help="Folder with train*.parquet and val*.parquet.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, logs and the result.", show_default=False)],
    tag: Annotated[str, typer.Option(help="Tag of the model's name, after the architecture.")] = "mine",
    kernel3: Annotated[str, typer.Option(help="3x3 blocks per stage.")] = "1,1,1,1",
    strides: Annotated[str, typer.Option(help="Stride of each stage.")] = "2,2,2,1",
    layers: Annotated[str, typer.Option(help="Blocks per stage.")] = "3,4,6,3",
    width: Annotated[int, typer.Option(min=1, help="Channels of the stem.")] = 64,
    resize: Annotated[int, typer.Option(min=1, help="Shorter side of the images, in pixels.")] = 256,
    crop: Annotated[int, typer.Option(min=1, help="Input size, in pixels.")] = 224,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the images.", show_default="the recipe's")] = None,
    licence: Annotated[str, typer.Option(help="Licence of the weights, for the card.")] = "unknown",
    trained_on: Annotated[str, typer.Option(help="What the images are, for the card.")] = "",
    notes: Annotated[str, typer.Option(help="Anything else, for the card.")] = "",
) -> None:
    """Train a BagNet from random weights; the same command goes on where a run was cut short.

    Example: `bagnet train tiny-imagenet --out runs/tiny --strides 2,2,1,1 --layers 2,2,3,2 --width 16 --resize 64 --crop 61`
    """
    from dataclasses import replace

    from ..data.transforms import Preprocessing
    from ..missing import needs
    from ..model import Architecture
    from ..train.recipe import Recipe

    for package in ("lightning", "torchmetrics", "datasets"):
        needs(package, "train")
    from ..train.run import train as run

    recipe = Recipe() if epochs is None else replace(Recipe(), epochs=epochs)
    card = run(
        data,
        out,
        tag,
        Architecture(_four(kernel3), _four(strides), _four(layers), width),
        Preprocessing(resize, crop),
        recipe,
        command=shlex.join(["bagnet", *sys.argv[1:]]),
        licence=licence,
        trained_on=trained_on,
        notes=notes,
    )
    best = card.scores[0]
    typer.echo(f"{card.name}: {best.top1:.2f} % top-1, {best.top5:.2f} % top-5 on {best.data} ({best.images:,} images)")
    typer.echo(f"-> {out / card.name}.safetensors")
