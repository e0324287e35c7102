"""bagnet cue-conflict"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .classifiers import classifiers
from .options import AsJson, Models, Overwrite, Runtime, Trust, Workers
from .output import print_table
from .progress import progress_bar


def cue_conflict(
    images: Annotated[str, typer.Argument(metavar="IMAGES", help="A folder of them, with all folders inside it.")],
    model: Models = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the tables go.")] = Path("cue-conflict"),
    trust: Trust = None,
    runtime: Runtime = "torch",
    workers: Workers = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Count answers by shape and by texture, of images whose names say both, as cat1-elephant2.png does.

    Example: `bagnet cue-conflict stimuli/ --model default --model torchvision:resnet50`
    """
    from ..evaluation.cue_conflict import TABLE
    from ..evaluation.cue_conflict import cue_conflict as measure

    networks = [network for _, network in classifiers(model, runtime, trust=trust)]
    with progress_bar() as progress:
        results = measure(networks, images, out, workers=workers, overwrite=overwrite, progress=progress)
    if as_json:
        typer.echo(json.dumps({"results": [each.to_dict() for each in results], "table": str(out / TABLE)}))
        return
    rows = [
        [each.network, f"{each.images:,}", str(each.by_shape), str(each.by_texture), each.shape.text(1, 100)] for each in results
    ]
    titles = ["network", "images", "by shape", "by texture", "shape, % of both"]
    print_table(titles, rows, texts=["network"])
    typer.echo(f"-> {out / TABLE}")
