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
from .options import AsJson, Calibration, Grey, Overwrite, Precision, Runtime, Split, Trust, Voters, Workers
from .output import print_problems, print_table
from .progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..certificates.run import Claim, Proved
    from ..engine.classifier import Classifier
    from ..geometry import Box


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
    masks: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="Of voting: masks along an axis, at most; more hold more answers, and take longer."
        ),
    ] = 6,
    patches: Annotated[int, typer.Option(metavar="N", min=1, help="Patches at once; of margin alone.")] = 1,
    best: Annotated[int, typer.Option(metavar="K", min=1, help="The class stays among the best K; of margin alone.")] = 1,
    targets: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            metavar="CLASS",
            help="Of a multi-label model, whose yes or no is to stay. Repeat it for several.",
            show_default="all",
        ),
    ] = None,
    region: Annotated[
        str,
        typer.Option(
            metavar="BOX",
            help="Where patches lie: left,top,right,bottom, in the pixels that the patch has.",
            show_default="anywhere",
        ),
    ] = "",
    model: Voters = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the table goes.")] = Path("certificates"),
    check: Annotated[
        bool, typer.Option("--check", help="Have each certificate proved again by the independent checker.")
    ] = False,
    split: Split = "val",
    grey: Grey = "",
    trust: Trust = None,
    runtime: Runtime = "torch",
    precision: Precision = "float32",
    calibration: Calibration = None,
    workers: Workers = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Prove for which images no sticker of a size changes the answer, wherever it lies and whatever it shows.

    Of a single image it also draws where a patch costs most.

    Example: `bagnet certify photos/ --patch 1% --patch 2% --out proofs/`
    """
    from ..certificates.bounded import aggregation as by_name
    from ..certificates.certify import METHODS
    from ..certificates.patch import Patch
    from ..certificates.run import TABLE, Claim, certify_images
    from ..certificates.voting import MASKS
    from ..data.labelled import ARRAY_ENDING, has_split, open_labelled
    from ..data.sources import open_images

    by_name(aggregation)
    for name in method:
        if name not in METHODS:
            raise ValueError(f"there is no method {name!r}: choose among {', '.join(METHODS)}")
    if max(patches, best) > 1 and "voting" in method:
        raise ValueError("voting proves one patch and the best class alone: --method margin proves more")
    if masks != MASKS and "voting" not in method:
        raise ValueError("--masks is for voting: margin needs none")
    within = _box(region)
    an_image = Path(data).is_file() and Path(data).suffix != ARRAY_ENDING
    labelled = open_labelled(data, split) if not an_image and has_split(data, split) else None
    images = open_images(data) if labelled is None else labelled.images
    voters = [network(name, runtime, precision, calibration, prepared=True, trust=trust, grey=grey) for name in model or [""]]
    ready = voters[0]
    if len(voters) > 1 and "margin" in method:
        raise ValueError("margin proves what one model says: --method voting proves several together")
    if ready.card is not None and ready.card.multilabel:
        labelled = None if labelled is None else labelled.questions()
        questions: list[int | None] = [ready.classes.find(name) for name in targets or ()] or list(range(len(ready.classes)))
    elif targets:
        raise ValueError("--label is for multi-label models: the classes of this one exclude each other")
    else:
        questions = [None]
    claims = [
        Claim(Patch.parse(size, patches, within), name, "" if name == "voting" else aggregation, best, masks, question)
        for size in patch
        for name in method
        for question in questions
    ]
    with progress_bar() as progress:
        proved, bad = certify_images(
            voters,
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
    picture = _draw(voters, data, claims[0], out) if an_image and len(images.names) == 1 and not bad else None
    if as_json:
        results = [{**asdict(each), "claim": str(each.claim)} for each in proved]
        typer.echo(json.dumps({"results": results, "table": str(out / TABLE), "picture": picture and str(picture)}))
    else:
        _show(proved, check)
        typer.echo(f"-> {out / TABLE}{f', {picture}' if picture else ''}")
    if bad:
        sys.exit(2)


def _draw(voters: Sequence[Classifier], image: str, claim: Claim, out: Path) -> Path:
    """The picture of one image, and where it went."""
    from ..certificates.weakest import weakest
    from ..evidence import explain

    maps = [explain(model, image) for model in voters]
    path = out / f"{Path(image).stem}.weakest.png"
    weakest(claim.holds(maps), maps[0]).save(path)
    return path


def _box(text: str) -> Box | None:
    """From "left,top,right,bottom"; None where nothing is said."""
    from ..geometry import Box

    if not text:
        return None
    try:
        left, top, right, bottom = (int(edge) for edge in text.split(","))
    except ValueError:
        raise ValueError(f"--region {text!r}: give left,top,right,bottom in pixels, as in 0,0,120,80") from None
    return Box(left, top, right, bottom)


def _show(proved: Sequence[Proved], proved_again: bool) -> None:
    """A line for each claim; how many answers are right, where there are labels."""
    labelled = any(each.clean is not None for each in proved)
    titles = ["patch and method", *(["right"] if labelled else []), "certified", "unwavering"]
    rows = [
        [
            str(each.claim),
            *(f"{share.text(1, 100)} %" for share in (each.clean, each.certified, each.unwavering) if share is not None),
        ]
        for each in proved
    ]
    typer.echo(f"{proved[0].images:,} images")
    print_table(titles, rows, texts=titles[:1])
    typer.echo("unwavering: certified, and no alarm is raised on the image as it is.")
    if proved_again:
        typer.echo("The independent checker proved each certificate again.")
