"""bagnet certify"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .classifiers import network
from .completion import among
from .options import AsJson, Calibration, Model, Overwrite, Precision, Runtime, Split, Trust, Workers
from .output import print_problems, print_table
from .progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..certificates.run import Proved


def certify(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="An image, a folder of images, or labelled images.", show_default=False)
    ],
    patch: Annotated[
        list[str],
        typer.Option(
            metavar="SIZE",
            help="Size of the patch: 2% of the photograph, 32photo or 24x60photo pixels of it, 32input. Repeat it for several.",
        ),
    ] = ["2%"],  # noqa: B006
    method: Annotated[
        list[str],
        typer.Option(metavar="NAME", help="voting | margin. Repeat it for both.", autocompletion=among("voting", "margin")),
    ] = ["voting"],  # noqa: B006
    aggregation: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="How margin bounds evidence: probabilities | clipped | tanh.",
            autocompletion=among("probabilities", "clipped", "tanh"),
        ),
    ] = "probabilities",
    patches: Annotated[int, typer.Option(metavar="N", min=1, help="Patches at once; of margin alone.")] = 1,
    model: Model = "",
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the table goes.")] = Path("certificates"),
    check: Annotated[
        bool, typer.Option("--check", help="Have each certificate proved again by the independent checker.")
    ] = False,
    split: Split = "val",
    trust: Trust = None,
    runtime: Runtime = "torch",
    precision: Precision = "float32",
    calibration: Calibration = None,
    workers: Workers = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Prove for which images no sticker of a size changes the answer, wherever it lies and whatever it shows.

    Example: `bagnet certify photos/ --patch 1% --patch 2% --out proofs/`
    """
    from ..certificates.bounded import aggregation as by_name
    from ..certificates.certify import METHODS
    from ..certificates.patch import Patch
    from ..certificates.run import TABLE, Claim, certify_images
    from ..data.labelled import has_split, open_labelled
    from ..data.sources import open_images

    by_name(aggregation)
    for name in method:
        if name not in METHODS:
            raise ValueError(f"there is no method {name!r}: choose among {', '.join(METHODS)}")
    if patches > 1 and "voting" in method:
        raise ValueError("voting proves one patch alone: --method margin proves several")
    claims = [
        Claim(Patch.parse(size, patches), name, "" if name == "voting" else aggregation) for size in patch for name in method
    ]
    labelled = open_labelled(data, split) if Path(data).is_dir() and has_split(data, split) else None
    images = open_images(data) if labelled is None else labelled.images
    ready = network(model, runtime, precision, calibration, prepared=True, trust=trust)
    with progress_bar() as progress:
        proved, bad = certify_images(
            ready,
            images,
            claims,
            out,
            labelled=labelled,
            proved_again=check,
            workers=workers,
            overwrite=overwrite,
            progress=progress,
        )
    print_problems(bad.values())
    if as_json:
        results = [{**asdict(each), "claim": str(each.claim)} for each in proved]
        typer.echo(json.dumps({"results": results, "table": str(out / TABLE)}))
    else:
        _show(proved)
        typer.echo(f"-> {out / TABLE}")
    if bad:
        sys.exit(2)


def _show(proved: Sequence[Proved]) -> None:
    titles = ["patch and method", "right", "certified", "unwavering"]
    rows = [
        [
            str(each.claim),
            "" if each.clean is None else f"{each.clean.text(1, 100)} %",
            f"{each.certified.text(1, 100)} %",
            f"{each.unwavering.text(1, 100)} %",
        ]
        for each in proved
    ]
    typer.echo(f"{proved[0].images:,} images")
    print_table(titles, rows, texts=titles[:1])
