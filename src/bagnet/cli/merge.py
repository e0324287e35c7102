"""bagnet merge"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from .evaluate import report, report_in
from .options import AsJson, Overwrite
from .output import print_problems
from .predict import show as show_predictions
from .slide import Also
from .slide import show as show_slide


def merge(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDERS", help="Of all parts.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="PATH",
            help="Where the whole goes: a folder, of predictions a table.",
            show_default="as without parts",
        ),
    ] = None,
    also: Also = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Join the parts that several machines did, of a slide, of predictions or of an evaluation.

    Example: `bagnet merge part1/ part2/ --out scan/`
    """
    from ..runs.shards import work_of

    work = work_of(folders[0])
    if also and work != "slide":
        raise ValueError("--also is for maps of slides: leave it out")
    if work == "predict":
        _predictions(folders, out or Path("predictions.csv"), overwrite, as_json)
    elif work == "evaluate":
        _evaluation(folders, out, as_json)
    else:
        _slide(folders, out or Path("slide"), also or (), overwrite, as_json)


def _predictions(folders: Sequence[Path], table: Path, overwrite: bool, as_json: bool) -> None:
    from ..runs.predict import merge_predictions

    show_predictions(merge_predictions(folders, table, overwrite=overwrite), table, as_json)


def _evaluation(folders: Sequence[Path], out: Path | None, as_json: bool) -> None:
    from ..evaluation.report import write_model
    from ..evaluation.shards import merge_evaluations

    evaluation = merge_evaluations(folders)
    with report_in(out):
        if out is not None:
            write_model(out, evaluation)
        report([(evaluation, None)], out, as_json)


def _slide(folders: Sequence[Path], out: Path, also: Sequence[str], overwrite: bool, as_json: bool) -> None:
    from ..slides.outputs import check_outputs, write_outputs
    from ..slides.run import merge_slides, open_slide

    check_outputs(also, str(folders[0]), open_slide(folders[0]).georeference)
    result = merge_slides(folders, out, overwrite=overwrite)
    write_outputs(result, also)
    show_slide(result, [""] * len(result.classes), as_json)
    print_problems(reason for _, reason in result.bad)
    if result.bad:
        sys.exit(1)
