"""bagnet audit"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .inference import Calibration, Precision, Runtime, network
from .progress import progress_bar

if TYPE_CHECKING:
    from ..studies.audit.findings import Audit


def audit(
    model: Annotated[str, typer.Argument(help="A BagNet's name (`bagnet models list`) or file.", show_default=False)],
    data: Annotated[
        str,
        typer.Argument(
            help="Folder with a folder for each class, with Parquet tables or tar shards; a .npz file; or hub:NAME.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="A folder for the page, the figures and the windows.", show_default=False)],
    split: Annotated[str, typer.Option(help="train | val; a folder without splits is all train.")] = "val",
    windows: Annotated[int, typer.Option(min=1, help="How many windows decide an image, at most.")] = 3,
    confusions: Annotated[int, typer.Option(min=0, help="How many of the most common kinds of mistake.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn at random.")] = 0,
    runtime: Runtime = "torch",
    precision: Precision = "float32",
    calibration: Calibration = None,
    size: Annotated[int | None, typer.Option(min=1, help="Input size in pixels, instead of the model's own.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 32,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that decode.", show_default="cores - 2; 0 below 4,000 images")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an audit that the folder holds already.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON.")] = False,
) -> None:
    """Find what a BagNet's mistakes are made of, and the patterns that its predictions depend on: shortcuts, perhaps.

    Writes audit.html (a page), audit.json (all figures) and windows.csv. The same command goes on where it was cut short.

    Example: `bagnet audit bagnet33.orig_in1k imagenet/ --out audit/`
    """
    from ..data.sources import open_images
    from ..studies.audit.run import audit as run

    ready = network(model, runtime, precision, calibration, prepared=True)
    transform = ready.transform if size is None else ready.transform.with_crop(size)
    with progress_bar() as progress:
        found = run(
            ready,
            data,
            out,
            split,
            windows=windows,
            confusions=confusions,
            seed=seed,
            batch_size=batch_size,
            workers=workers,
            transform=transform,
            calibration="" if calibration is None else open_images(calibration).fingerprint,
            overwrite=overwrite,
            progress=progress,
        )
    for _, reason in found.bad:
        typer.echo(f"bagnet: {reason}", err=True)
    if as_json:
        typer.echo(json.dumps(found.to_dict()))
    else:
        _show(found)
        typer.echo(f"-> {out / 'audit.html'}")
    if found.bad:
        sys.exit(2)


def _show(found: Audit) -> None:
    """The sentences, and the first patterns of all classes."""
    from rich.console import Console
    from rich.table import Table

    from ..figures.words import percent

    for sentence in found.sentences():
        typer.echo(sentence)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("class", "where", "margin drop\n(random)", "flips\n(random)", "score"):
        table.add_column(title, justify="left" if title in ("class", "where") else "right")
    for top in found.top_patterns(5):
        name = str(found.classes[top.label])
        pairs = ((top.margin_drop, top.control_margin_drop), (top.flip_rate, top.control_flip_rate))
        shares = [f"{percent(masked, 0)} ({percent(control, 0)})" for masked, control in pairs]
        table.add_row(name if top.rank == 1 else f"{name}, pattern {top.rank}", top.where, *shares, f"{top.score:.2f}")
    if table.row_count:
        typer.echo("\npatterns that predictions depend on")
        Console().print(table)
