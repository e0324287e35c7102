"""bagnet benchmark"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .classifiers import classifiers
from .completion import among
from .options import AsJson, Data, Models, Overwrite, Split, Trust, Workers
from .output import print_table
from .progress import progress_bar

if TYPE_CHECKING:
    from ..evaluation.faithfulness import Faithfulness

_MEASURES = ("single_deletion", "deletion", "insertion", "pointing", "energy")
_METHODS = ("saliency", "integrated_gradients", "grad_cam", "occlusion", "epsilon_lrp", "deeplift")


def benchmark(
    data: Data,
    model: Models = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help=f"{' | '.join(_MEASURES)}. Repeat it for several.",
            show_default="all",
            autocompletion=among(*_MEASURES),
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help=f"Maps of networks that are no bags of windows: {' | '.join(_METHODS)}. Repeat it for several.",
            show_default="integrated_gradients, grad_cam, occlusion",
            autocompletion=among(*_METHODS),
        ),
    ] = None,
    regions: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Where objects are, for pointing and energy: image and left, top, right, bottom, or image and mask.",
            show_default=False,
        ),
    ] = None,
    count: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Images, spread evenly over the data.", show_default="all")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the tables go.")] = Path("faithfulness"),
    split: Split = "val",
    trust: Trust = None,
    workers: Workers = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Measure whether maps say what moves a network, and whether they lie on the object: ours beside those of other methods.

    Example: `bagnet benchmark photos/ --model bagnet33.orig_in1k --model torchvision:resnet50 --count 200 --out faithful/`
    """
    from ..evaluation.faithfulness import BESIDE, MEASURES, TABLE, faithfulness

    networks = [network for _, network in classifiers(model, trust=trust)]
    with progress_bar() as progress:
        results = faithfulness(
            networks,
            data,
            out,
            split=split,
            measures=measure or MEASURES,
            methods=method or BESIDE,
            regions=regions,
            count=count,
            workers=workers,
            overwrite=overwrite,
            progress=progress,
        )
    if as_json:
        typer.echo(json.dumps({"results": [each.to_dict() for each in results], "table": str(out / TABLE)}))
    else:
        _show(results)
        typer.echo(f"-> {out / TABLE}")


def _show(results: Sequence[Faithfulness]) -> None:
    """A row for each network and method, a column for each measure."""
    titles = list(dict.fromkeys(each.measure for each in results))
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for each in results:
        value, _, interval = each.score.text().partition(" ")
        rows.setdefault((each.network, each.method), {})[each.measure] = f"{value}\n{interval}"
    images = max(each.images for each in results)
    typer.echo(f"{images:,} images; means and 95 % intervals over them")
    table = [[network, method, *(row.get(title, "") for title in titles)] for (network, method), row in rows.items()]
    print_table(["network", "maps", *titles], table, texts=["network", "maps"])
