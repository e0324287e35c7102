"""bagnet predict"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .classifiers import digest_of, preprocessing, recipe
from .options import (
    AsJson,
    BatchSize,
    Calibration,
    Grey,
    Model,
    Overwrite,
    Precision,
    Ray,
    Runtime,
    Shard,
    Trust,
    WholeSize,
    Workers,
    check_alone,
    part,
)
from .output import print_part, print_problems
from .progress import progress_bar

if TYPE_CHECKING:
    from ..data.sources import ImageSource
    from ..runs.predict import Summary


def predict(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES",
            help="Image files; or a folder, searched with all folders inside it; a Parquet table with a column of images; a "
            ".txt list of paths, one a line; or - for such a list on stdin.",
            show_default=False,
        ),
    ],
    model: Model = "",
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="The table to write: .csv, .jsonl or .parquet; with --shard a folder.")
    ] = Path("predictions.csv"),
    top: Annotated[int, typer.Option(metavar="N", min=1, help="How many of the best classes.")] = 5,
    maps: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where the evidence of these classes goes, as .npz.", show_default=False),
    ] = None,
    size: WholeSize = "",
    grey: Grey = "",
    trust: Trust = None,
    runtime: Runtime = "torch",
    precision: Precision = "float32",
    calibration: Calibration = None,
    batch_size: BatchSize = 16,
    workers: Workers = None,
    shard: Shard = "",
    ray: Ray = "",
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Classify many images into a table.

    The same command goes on where a run was interrupted. A finished table is kept: give --overwrite to make it again.

    Example: `bagnet predict photos/ --out table.parquet --runtime openvino`

    Example: `find photos/ -name "*.jpg" | bagnet predict - --out table.jsonl`
    """
    from ..engine.classifier import temperature_of
    from ..runs.predict import predict as run

    source = _source(images)
    check_alone(ray, shard)
    if ray and maps is not None:
        raise ValueError("--maps is for one machine: leave it out, or leave --ray out")
    build = recipe(model, runtime, precision, calibration, trust, grey=grey)
    ready = None if ray else build()
    words: dict[str, Any] = {"top": top, "batch_size": batch_size, "workers": workers, "overwrite": overwrite}
    words["calibration"] = digest_of(calibration)
    with progress_bar() as progress:
        if ready is None:
            from ..cluster import predict_on

            summary = predict_on(ray, build, source, out, prepare=partial(preprocessing, size=size), progress=progress, **words)
        else:
            transform = preprocessing(ready, size)
            summary = run(ready, source, out, maps=maps, transform=transform, shard=part(shard), progress=progress, **words)
    if shard and not summary.bad:
        print_part(shard, out, f"{summary.images:,} images", as_json)
    else:
        show(summary, out, as_json, 1.0 if ready is None else temperature_of(ready))


def show(summary: Summary, out: Path, as_json: bool, temperature: float = 1.0) -> None:
    """Print how a run went, and exit with 2 where some images are bad."""
    from ..figures.words import at_temperature

    print_problems(reason for _, reason in summary.bad)
    if as_json:
        typer.echo(json.dumps({"table": str(out), **asdict(summary)}))
    else:
        resumed = f", {summary.resumed} of them earlier" if summary.resumed else ""
        typer.echo(f"{summary.predicted} of {summary.images} images predicted{resumed}, {len(summary.bad)} bad -> {out}")
        if words := at_temperature(temperature):
            typer.echo(words)
    if summary.bad:
        sys.exit(2)


def _source(words: Sequence[str]) -> ImageSource:
    """What `open_images` takes: the paths on stdin for -, one folder, table or list, or several image files."""
    from ..data.sources import listed_paths

    if "-" not in words:
        return words[0] if len(words) == 1 else words
    if len(words) > 1:
        raise ValueError("- is a list of paths on stdin, which are all the images: leave it or the other images out")
    if sys.stdin is None:
        raise ValueError("- is a list of paths on stdin, which is closed: name a file with the list, or the images")
    return listed_paths(sys.stdin.buffer.read())
