"""bagnet merge"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .classifiers import classifiers
from .evaluate import calibrated, check_temperature_file, report, report_in, with_weights
from .options import AsJson, FitTemperature, Model, Overwrite, Specificity, Trust
from .output import print_problems
from .predict import show as show_predictions
from .slide import Also
from .slide import show as show_slide

if TYPE_CHECKING:
    from ..evaluation.calibration import Calibration
    from ..evaluation.evaluate import Evaluation


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
    specificity: Specificity = None,
    fit_temperature: FitTemperature = None,
    model: Model = "",
    trust: Trust = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Join the parts that several machines did, of a slide, of predictions or of an evaluation.

    --model is for --fit-temperature: whose answers the parts are.

    Example: `bagnet merge part1/ part2/ --out scan/`
    """
    from ..runs.shards import work_of

    work = work_of(folders[0])
    if also and work != "slide":
        raise ValueError("--also is for maps of slides: leave it out")
    if work != "evaluate" and (specificity is not None or fit_temperature is not None):
        raise ValueError("--specificity and --fit-temperature are for evaluations: leave them out")
    if model and fit_temperature is None:
        raise ValueError("--model is for --fit-temperature: leave it out")
    if work == "predict":
        _predictions(folders, out or Path("predictions.csv"), overwrite, as_json)
    elif work == "evaluate":
        _evaluation(folders, out, specificity, fit_temperature, model, trust, as_json)
    else:
        _slide(folders, out or Path("slide"), also or (), overwrite, as_json)


def _predictions(folders: Sequence[Path], table: Path, overwrite: bool, as_json: bool) -> None:
    from ..runs.predict import merge_predictions

    show_predictions(merge_predictions(folders, table, overwrite=overwrite), table, as_json)


def _evaluation(
    folders: Sequence[Path],
    out: Path | None,
    specificity: float | None,
    fit_temperature: Path | None,
    model: str,
    trust: Sequence[str] | None,
    as_json: bool,
) -> None:
    from ..evaluation.report import write_model
    from ..evaluation.shards import merge_evaluations

    evaluation = merge_evaluations(folders, specificity)
    with report_in(out):
        fitted = None if fit_temperature is None else _fitted(folders, evaluation, fit_temperature, model, trust)
        if out is not None:
            write_model(out, evaluation)
        report([(evaluation, None)], out, as_json, fitted, fit_temperature)


def _fitted(folders: Sequence[Path], evaluation: Evaluation, file: Path, model: str, trust: Sequence[str] | None) -> Calibration:
    """Fit a temperature to the answers of all parts, and write the model with it."""
    from ..evaluation.shards import check_asked

    named = [model] if model else None
    check_temperature_file(file, named)
    ((_, ready),) = classifiers(named, trust=trust)
    check_asked(folders, ready)
    return calibrated(with_weights(ready, named, trust), evaluation, file)


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
