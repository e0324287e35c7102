"""bagnet predict"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .inference import Calibration, Model, Precision, Runtime, network
from .progress import progress_bar


def predict(
    source: Annotated[
        Path,
        typer.Argument(
            help="A folder of images, searched with all folders inside it, or a Parquet table with a column of images.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="The table to write: .csv or .parquet.")] = Path("predictions.csv"),
    top: Annotated[int, typer.Option(min=1, help="How many of the best classes.")] = 5,
    maps: Annotated[
        Path | None, typer.Option(help="A folder for the evidence of these classes, .npz.", show_default=False)
    ] = None,
    model: Model = "",
    runtime: Runtime = "torch",
    precision: Precision = "float32",
    calibration: Calibration = None,
    size: Annotated[int | None, typer.Option(min=1, help="Input size in pixels, instead of the model's own.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 16,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that decode.", show_default="cores - 2; 0 below 4,000 images")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a table that is there already.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Classify a folder or data set of images into a table. The same command goes on where a run was interrupted.

    A finished table is kept: give --overwrite to make it again.

    Example: `bagnet predict photos/ --out table.parquet --runtime openvino`
    """
    from ..data.sources import open_images
    from ..runs.predict import predict as run

    ready = network(model, runtime, precision, calibration, prepared=True)
    transform = ready.transform if size is None else ready.transform.with_crop(size)
    with progress_bar() as progress:
        summary = run(
            ready,
            source,
            out,
            top=top,
            maps=maps,
            batch_size=batch_size,
            workers=workers,
            transform=transform,
            calibration="" if calibration is None else open_images(calibration).fingerprint,
            overwrite=overwrite,
            progress=progress,
        )
    for _, reason in summary.bad:
        typer.echo(f"bagnet: {reason}", err=True)
    if as_json:
        typer.echo(json.dumps({"table": str(out), **asdict(summary)}))
    else:
        resumed = f", {summary.resumed} of them earlier" if summary.resumed else ""
        typer.echo(f"{summary.predicted} of {summary.images} images predicted{resumed}, {len(summary.bad)} bad -> {out}")
    if summary.bad:
        sys.exit(2)
