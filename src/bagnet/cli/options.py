"""What several commands ask for: each option has one name, one help and one form, and is defined here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..engine.runtimes import PRECISIONS, RUNTIMES
from .completion import among, models

_DATA = (
    "Labelled images: a folder with a folder for each class, with Parquet tables or with tar shards; a .csv list of files; a "
    ".npz file; or hub:NAME."
)
_MODEL = "A model's name (`bagnet models list`) or file"


def _argument(metavar: str, text: str, **look: Any) -> Any:
    return typer.Argument(metavar=metavar, help=text, show_default=False, **look)


def _workers(default: str) -> Any:
    return typer.Option("--workers", metavar="N", min=0, help="Processes that read images.", show_default=default)


def size(default: str | bool, more: str = "") -> Any:
    """`--size`, of which a command may have another default than the model's size, and another shape than a square."""
    return typer.Option("--size", metavar="PIXELS", min=1, help=f"Input size{more}.", show_default=default)


Data = Annotated[str, _argument("DATA", _DATA)]
DataOrImages = Annotated[str, _argument("DATA", f"{_DATA} Where no labels are needed, any folder of images.")]
Name = Annotated[str, _argument("MODEL", f"{_MODEL}.", autocompletion=models)]

Model = Annotated[
    str,
    typer.Option("--model", metavar="MODEL", help=f"{_MODEL}.", show_default="the bundled one", autocompletion=models),
]
Voters = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help=f"{_MODEL}; models of the same classes vote together. Repeat it for several.",
        show_default="the bundled one",
        autocompletion=models,
    ),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help=f"{_MODEL}; or another network: timm:NAME, torchvision:NAME or package.module:function. Repeat it for several.",
        show_default="the bundled one",
        autocompletion=models,
    ),
]
Trust = Annotated[
    list[str] | None,
    typer.Option(
        "--trust",
        metavar="NAME",
        help="A package.module:function that may be run where a model's file names it. Repeat it for several.",
        show_default=False,
    ),
]
Runtime = Annotated[
    str, typer.Option("--runtime", metavar="NAME", help=f"{' | '.join(RUNTIMES)}.", autocompletion=among(*RUNTIMES))
]
Precision = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="NAME",
        help=f"{' | '.join(PRECISIONS)}. Not every runtime has each.",
        autocompletion=among(*PRECISIONS),
    ),
]
Calibration = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        metavar="IMAGES",
        help="For int8: typical images, as a folder, a Parquet table or a .txt list of paths.",
        show_default=False,
    ),
]
Split = Annotated[
    str,
    typer.Option(
        "--split",
        metavar="NAME",
        help="train | val. A folder without splits is all train.",
        autocompletion=among("train", "val"),
    ),
]
Size = Annotated[int | None, size("the model's")]
WholeSize = Annotated[
    str,
    typer.Option(
        "--size",
        metavar="PIXELS",
        help="Input size: the shorter side of the whole image, where the model takes any size; native: its own.",
        show_default="the model's",
    ),
]
Grey = Annotated[
    str,
    typer.Option(
        "--grey",
        metavar="BLACK,WHITE",
        help="Of grey images of more than 8 bits, and of DICOM: the levels that become black and white, such as 0,4095 or "
        "-160,240.",
        show_default="the model's, or what the file says",
    ),
]
Level = Annotated[
    int | None,
    typer.Option(
        "--level",
        metavar="N",
        min=0,
        help="Of slides: the level that is seen, 0 the largest.",
        show_default="as the model was trained on slides, else 0",
    ),
]
Microns = Annotated[
    float | None,
    typer.Option(
        "--microns",
        metavar="X",
        help="Of slides: microns per pixel, of which the nearest level is seen.",
        show_default="as the model was trained on slides",
    ),
]
BatchSize = Annotated[int, typer.Option("--batch-size", metavar="N", min=1, help="Images at a time.")]
BatchSizes = Annotated[
    list[int] | None,
    typer.Option("--batch-size", metavar="N", min=1, help="Images at a time. Repeat it for several.", show_default="1 and 8"),
]
Group = Annotated[
    str,
    typer.Option(
        "--group",
        metavar="COLUMN",
        help="What images belong to (a patient, a part), which never lies on both sides of a split and is drawn as a whole for "
        "intervals: a column of a CSV in or beside the folder, or of the tables.",
        show_default=False,
    ),
]
Specificity = Annotated[
    float | None,
    typer.Option(
        "--specificity",
        metavar="SHARE",
        help="Also tell how sensitive to each class a threshold on its probability is that leaves out this share of the "
        "other images, such as 0.95.",
        show_default=False,
    ),
]
FitTemperature = Annotated[
    Path | None,
    typer.Option(
        "--fit-temperature",
        metavar="FILE",
        help="Fit a temperature of probabilities to these images, and write the model with it on its card (.safetensors). No "
        "logit and no map changes.",
        show_default=False,
    ),
]
Workers = Annotated[int | None, _workers("cores - 2; 0 below 4,000 images")]
TrainingWorkers = Annotated[int | None, _workers("cores - 1")]
Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Seed of everything that is drawn at random.")]
Shard = Annotated[
    str,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Do the I-th of N parts, into a folder, for machines that share the work: bagnet merge joins them.",
        show_default="all",
    ),
]
Ray = Annotated[
    str,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Work on this Ray cluster, whose nodes see the same files; auto: the one that this machine belongs to.",
        show_default="this machine alone",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what another run left there, finished or not.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def part(shard: str) -> tuple[int, int] | None:
    """What `--shard` says, None for "". ValueError: it is no part."""
    if not shard:
        return None
    number, _, count = shard.partition("/")
    if not (number.isdecimal() and count.isdecimal()):
        raise ValueError(f"--shard {shard}: is no part; the first of four is 1/4")
    return int(number), int(count)


def check_alone(ray: str, shard: str) -> None:
    """See that work is shared in one way alone. ValueError: a part is to be done on a cluster."""
    if ray and shard:
        raise ValueError("--ray makes parts of its own: leave --shard out")


def grey_levels(text: str) -> tuple[float, float] | None:
    """The levels that `--grey` says are black and white; None where it is not given. ValueError: they are no two numbers."""
    if not text:
        return None
    try:
        black, white = (float(word) for word in text.split(","))
    except ValueError:
        raise ValueError(f"--grey {text}: is not two levels such as 0,4095") from None
    return black, white


def four_numbers(text: str) -> tuple[int, int, int, int]:
    """A number for each stage of a network. ValueError: the text is no four whole numbers."""
    try:
        a, b, c, d = (int(word) for word in text.split(","))
    except ValueError:
        raise ValueError(f"{text!r} is not four whole numbers such as 2,2,1,1") from None
    return a, b, c, d
