"""bagnet audit"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .classifiers import digest_of, network, preprocessing
from .options import (
    AsJson,
    BatchSize,
    Calibration,
    Data,
    Grey,
    Model,
    Overwrite,
    Precision,
    Runtime,
    Seed,
    Split,
    Trust,
    WholeSize,
    Workers,
)
from .output import print_problems, print_table
from .progress import progress_bar

if TYPE_CHECKING:
    from ..studies.audit.findings import Audit


def audit(
    data: Data,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="For the page, the figures and the windows.", show_default=False)],
    model: Model = "",
    split: Split = "val",
    windows: Annotated[int, typer.Option(metavar="N", min=1, help="How many windows decide an image, at most.")] = 3,
    confusions: Annotated[int, typer.Option(metavar="N", min=0, help="How many of the most common kinds of mistake.")] = 10,
    seed: Seed = 0,
    size: WholeSize = "",
    grey: Grey = "",
    trust: Trust = None,
    runtime: Runtime = "torch",
    precision: Precision = "float32",
    calibration: Calibration = None,
    batch_size: BatchSize = 32,
    workers: Workers = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Find what a BagNet's mistakes are made of, and the patterns that its predictions depend on: shortcuts, perhaps.

    Writes audit.html (a page), audit.json (all figures) and windows.csv. The same command goes on where it was cut short.

    Example: `bagnet audit imagenet/ --model bagnet33.orig_in1k --out audit/`
    """
    from ..studies.audit.run import audit as run

    ready = network(model, runtime, precision, calibration, trust=trust, prepared=True, grey=grey)
    with progress_bar() as progress:
        result = run(
            ready,
            data,
            out,
            split,
            windows=windows,
            confusions=confusions,
            seed=seed,
            batch_size=batch_size,
            workers=workers,
            transform=preprocessing(ready, size),
            calibration=digest_of(calibration),
            overwrite=overwrite,
            progress=progress,
        )
    print_problems(reason for _, reason in result.bad)
    if as_json:
        typer.echo(json.dumps(result.to_dict()))
    else:
        _show(result)
        typer.echo(f"-> {out / 'audit.html'}")
    if result.bad:
        sys.exit(2)


def _show(result: Audit) -> None:
    """The sentences, and the first patterns of all classes."""
    from ..figures.words import percent

    for sentence in result.sentences():
        typer.echo(sentence)
    rows = []
    for top in result.top_patterns(5):
        name = str(result.classes[top.label])
        pairs = ((top.margin_drop, top.control_margin_drop), (top.flip_rate, top.control_flip_rate))
        shares = [f"{percent(masked, 0)} ({percent(control, 0)})" for masked, control in pairs]
        rows.append([name if top.rank == 1 else f"{name}, pattern {top.rank}", top.where, *shares, f"{top.score:.2f}"])
    if rows:
        typer.echo("\npatterns that predictions depend on")
        print_table(["class", "where", "margin drop\n(random)", "flips\n(random)", "score"], rows, texts=["class", "where"])
