"""bagnet evaluate"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .classifiers import classifiers, preprocessing, see_as
from .options import (
    AsJson,
    BatchSize,
    Calibration,
    Data,
    FitTemperature,
    Grey,
    Group,
    Level,
    Microns,
    Models,
    Overwrite,
    Precision,
    Ray,
    Runtime,
    Shard,
    Specificity,
    Split,
    Trust,
    WholeSize,
    Workers,
    check_alone,
    part,
)
from .output import print_part, print_problems, print_table
from .progress import progress_bar
from .recalls import print_classes

if TYPE_CHECKING:
    from ..data.transforms import Preprocessing
    from ..engine.classifier import Predictor
    from ..evaluation.calibration import Calibration as Calibrated
    from ..evaluation.evaluate import Evaluation
    from ..evaluation.sparseness import Sparseness
    from ..statistics import Estimate

Measured = tuple["Evaluation", "Sparseness | None"]


def evaluate(
    context: typer.Context,
    data: Data,
    model: Models = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where all figures go as JSON, the recall of each class and labels that look wrong as CSV, and charts.",
            show_default=False,
        ),
    ] = None,
    split: Split = "val",
    tiles: Annotated[
        int | None,
        typer.Option(
            "--tiles",
            metavar="N",
            min=0,
            help="Of slides: as in bagnet train --tiles, each is judged by four times as many tiles, from all over it. 0: images "
            "are seen whole.",
            show_default="as the model was trained",
        ),
    ] = None,
    level: Level = None,
    microns: Microns = None,
    group: Group = "",
    specificity: Specificity = None,
    fit_temperature: FitTemperature = None,
    sparseness: Annotated[bool, typer.Option("--sparseness", help="Also measure how clean the maps of BagNets are.")] = False,
    size: WholeSize = "",
    grey: Grey = "",
    runtime: Runtime = "torch",
    precision: Precision = "float32",
    calibration: Calibration = None,
    trust: Trust = None,
    batch_size: BatchSize = 64,
    workers: Workers = None,
    shard: Shard = "",
    ray: Ray = "",
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Measure classifiers on labelled images: accuracy, calibration, speed, and what is taken for what.

    Example: `bagnet evaluate photos/ --model bagnet33.orig_in1k --model torchvision:resnet50 --out report/`
    """
    from ..engine.classifier import has_evidence
    from ..evaluation.evaluate import check_specificity
    from ..evaluation.evaluate import evaluate as measure
    from ..evaluation.report import write_model
    from ..evaluation.sparseness import sparseness as measure_maps
    from ..slides.tiles import seen_by, tiling_for

    check_alone(ray, shard)
    if size and tiles:
        raise ValueError("--size is of images that are seen whole, and of slides tiles are seen as they are: leave --size out")
    see: dict[str, Any] = {"tiles": 0 if size else tiles, "level": level, "microns": microns}
    if specificity is not None:
        check_specificity(specificity)
    if fit_temperature is not None:
        check_temperature_file(fit_temperature, model)
    if ray or shard:
        if out is None:
            raise ValueError("parts are kept at --out FOLDER: name it")
        if len(model or ()) > 1:
            raise ValueError("parts are the logits of one model: name one --model")
        if sparseness:
            raise ValueError("--sparseness is measured on one machine: leave it out")
        if shard and (specificity is not None or fit_temperature is not None):
            raise ValueError("--specificity and --fit-temperature are of the answers of all parts: give them to bagnet merge")
        build = partial(_single, model, runtime, precision, calibration, trust, grey)
        options: dict[str, Any] = {"batch_size": batch_size, "workers": workers, "group": group}
        prepare = partial(preprocessing, size=size)
        if ray:
            options |= {"seen_by": partial(seen_by, **see), "specificity": specificity}
            network = None if fit_temperature is None else _weights_of(build(), model, trust, data, split)
            _on_cluster(ray, build, data, split, out, prepare, options, network, fit_temperature, as_json)
        else:
            ready = build()
            options |= {"seen_as": seen_by(ready, **see), "overwrite": overwrite}
            _keep_part(shard, ready, data, split, out, prepare, options, as_json)
        return
    context.with_resource(report_in(out))
    compared = classifiers(model, runtime, precision, calibration, trust, grey)
    if sparseness and not any(has_evidence(ready) for _, ready in compared):
        names = ", ".join(name for name, _ in compared)
        raise ValueError(f"{names}: not a bag of windows, and so without evidence: leave --sparseness out")
    seen_as = [seen_by(ready, **see) for _, ready in compared]
    if sparseness and any(tiling_for(ready, **see) for _, ready in compared):
        raise ValueError("--sparseness is of images that are seen whole, and of slides tiles are: leave it out")
    network = None if fit_temperature is None else _weights_of(compared[0][1], model, trust, data, split)
    measured: list[Measured] = []
    for (name, ready), seen in zip(compared, seen_as, strict=True):
        transform = preprocessing(ready, size)
        with progress_bar() as progress:
            evaluation = measure(
                ready,
                data,
                split,
                batch_size=batch_size,
                workers=workers,
                transform=transform,
                group=group,
                specificity=specificity,
                seen_as=seen,
                progress=progress,
            )
        evaluation = replace(evaluation, model=name)
        if measured and evaluation.multilabel != measured[0][0].multilabel:
            raise ValueError(
                f"{name} and {compared[0][0]}: one chooses among the classes, the other says yes or no to each; measure them "
                "one by one"
            )
        maps = None
        if sparseness and has_evidence(ready):
            with progress_bar() as progress:
                maps = measure_maps(
                    ready, data, split, batch_size=batch_size, workers=workers, transform=transform, progress=progress
                )
            maps = replace(maps, model=name)
        measured.append((evaluation, maps))
        if out is not None:
            write_model(out, evaluation, maps)  # at once: of several models the first are there, whatever becomes of the others
    fitted = None if fit_temperature is None else calibrated(network, measured[0][0], fit_temperature)
    report(measured, out, as_json, fitted, fit_temperature)


def check_temperature_file(file: Path, model: Sequence[str] | None) -> None:
    """Before anything is measured. ValueError: a temperature could not be kept there, or is asked for of several models."""
    from ..weights import ENDING

    if len(model or ()) > 1:
        raise ValueError("--fit-temperature is for one model: name one")
    if file.suffix != ENDING:
        raise ValueError(f"{file}: weights with their card go into a file that ends in {ENDING}")


def _weights_of(ready: Predictor, model: Sequence[str] | None, trust: Sequence[str] | None, data: str, split: str) -> Predictor:
    """What is written again with a temperature, looked at before anything is measured.

    Raises:
        ValueError: it has no weights or card of its own, or the images show but some of its classes.
    """
    from ..evaluation.calibration import check_calibrates
    from ..evaluation.evaluate import matched

    name, images, _ = matched(ready, data, split)
    check_calibrates(ready, name, images.classes)
    return with_weights(ready, model, trust)


def with_weights(ready: Predictor, model: Sequence[str] | None, trust: Sequence[str] | None) -> Predictor:
    """A model that can be written to a file. ValueError: it has no weights of its own."""
    from torch import nn

    network = ready if isinstance(ready, nn.Module) else classifiers(model, trust=trust)[0][1]  # a runtime keeps no weights
    if not isinstance(network, nn.Module):
        raise ValueError(f"{ready.name}: is exported, without weights to write: fit a temperature first, and export the result")
    see_as(network, ready.transform)  # by the grey levels that the temperature is fitted on
    return network


def calibrated(network: Any, evaluation: Evaluation, file: Path) -> Calibrated:
    """Fit a temperature to what was measured, and write the model with it."""
    from ..evaluation.calibration import calibrate, calibrated_card
    from ..weights import save

    calibration = calibrate(evaluation)
    network.card = calibrated_card(network, evaluation, calibration)
    save(network, file)
    return calibration


def _keep_part(
    shard: str,
    ready: Predictor,
    data: str,
    split: str,
    out: Path,
    prepare: Callable[[Predictor], Preprocessing],
    options: dict[str, Any],
    as_json: bool,
) -> None:
    """Keep what `bagnet merge` makes a report of."""
    from ..evaluation.shards import evaluate_part

    with progress_bar() as progress:
        count = evaluate_part(
            ready, data, part(shard) or (1, 1), out, split, transform=prepare(ready), progress=progress, **options
        )
    print_part(shard, out, f"{count:,} images", as_json)


def _on_cluster(
    address: str,
    build: Callable[[], Predictor],
    data: str,
    split: str,
    out: Path,
    prepare: Callable[[Predictor], Preprocessing],
    options: dict[str, Any],
    network: Predictor | None,
    fit_temperature: Path | None,
    as_json: bool,
) -> None:
    """The report of a model that is asked on a cluster; its network is written with the temperature that is fitted then."""
    from ..cluster import evaluate_on
    from ..evaluation.report import write_model

    with report_in(out):
        with progress_bar() as progress:
            evaluation = evaluate_on(address, build, data, out, split, prepare=prepare, progress=progress, **options)
        write_model(out, evaluation)
        fitted = None if fit_temperature is None else calibrated(network, evaluation, fit_temperature)
        report([(evaluation, None)], out, as_json, fitted, fit_temperature)


def _single(
    model: Sequence[str] | None,
    runtime: str,
    precision: str,
    calibration: Path | None,
    trust: Sequence[str] | None,
    grey: str,
) -> Predictor:
    """The model of a part; to be called on another machine."""
    ((_, ready),) = classifiers(model, runtime, precision, calibration, trust, grey)
    return ready


@contextmanager
def report_in(out: Path | None) -> Iterator[None]:
    """Inside, a folder is there for one report. ValueError, Busy: it is a file, or there for another."""
    from ..runs.store import alone

    if out is not None and out.exists() and not out.is_dir():
        raise ValueError(f"{out}: is a file; name a folder for the report")
    with nullcontext() if out is None else alone(out):
        yield


def report(
    measured: Sequence[Measured],
    out: Path | None,
    as_json: bool,
    calibration: Calibrated | None = None,
    calibrated: Path | None = None,
) -> None:
    """Print evaluations, write what compares them, and exit with 2 where some images are bad.

    Args:
        measured: what is to be told.
        out: folder for the comparison.
        as_json: how it is told.
        calibration: of the single model.
        calibrated: its file then.
    """
    from ..evaluation.report import record, write_comparison

    if out is not None:
        write_comparison(out, [evaluation for evaluation, _ in measured])
    bad = dict(pair for evaluation, _ in measured for pair in evaluation.bad)
    print_problems(bad.values())
    print_problems([f"{evaluation.model}: {evaluation.one_answer}" for evaluation, _ in measured if evaluation.one_answer])
    if as_json:
        report = str(out) if out is not None else None
        records = [record(*pair) for pair in measured]
        for entry, (evaluation, _) in zip(records[1:], measured[1:], strict=True):
            if (ahead := _ahead(evaluation, measured[0][0])) is not None:
                entry["ahead_of_first"] = ahead.to_dict()
        if calibration is not None:
            records[0]["calibration"] = {**calibration.to_dict(), "model": str(calibrated)}
        typer.echo(json.dumps({"models": records, "report": report}))
    else:
        _show(measured)
        if calibration is not None:
            _tell_calibration(calibration)
            typer.echo(f"-> {calibrated}")
        if out is not None:
            _tell_suspicious(out, measured)
            typer.echo(f"-> {out}")
    if bad:
        sys.exit(2)


def _tell_calibration(calibration: Calibrated) -> None:
    from ..figures.words import percent

    first, second = calibration.temperatures_of_halves
    before, after = (percent(error, 2) for error in (calibration.error_before, calibration.error_after))
    typer.echo(f"\ntemperature {calibration.temperature:.3g} ({first:.3g} and {second:.3g} on either half of the images)")
    typer.echo(
        f"calibration error {before} before, {after} with each half at the other's; loss {calibration.loss_before:.4f} before, "
        f"{calibration.loss_after:.4f}"
    )


def _tell_suspicious(out: Path, measured: Sequence[Measured]) -> None:
    from ..evaluation.report import names_suspicious, suspicious_table
    from ..evaluation.suspicious import suspicious_labels
    from ..figures.words import counted

    for evaluation, _ in measured:
        if names_suspicious(evaluation) and (suspicious := suspicious_labels(evaluation)):
            verb = "looks" if len(suspicious) == 1 else "look"
            typer.echo(
                f"{counted(len(suspicious), 'label')} {verb} wrong to {evaluation.model}: {suspicious_table(out, evaluation)}"
            )


def _ahead(evaluation: Evaluation, first: Evaluation) -> Estimate | None:
    """By how much one is right more often than the first, image by image; None where there are several classes to an image."""
    return None if first.multilabel else evaluation.ahead_of(first)


def _show(measured: Sequence[Measured]) -> None:
    """A row for each model, and the recall of each class where they are few; of a single one also its most common confusions."""
    from ..figures.words import at_temperature, percent

    first = measured[0][0]
    typer.echo(f"{first.data}: {first.images:,} images of {len(first.classes)} classes")
    for evaluation, _ in measured:
        if evaluation.seen:
            typer.echo(f"{evaluation.model} sees {evaluation.seen} of each")
    rows = []
    titles: list[str] = []
    told = False
    for evaluation, _ in measured:
        plain = (evaluation.runtime, evaluation.precision) == ("torch", "float32")
        how = "" if plain else f" ({evaluation.runtime} {evaluation.precision})"
        measures = evaluation.measures()
        titles = [measure.title for measure in measures]
        numbers = [f"{measure.number}\n{measure.interval}".strip() for measure in measures]
        told = told or any(measure.interval for measure in measures)
        speed = f"{evaluation.images_per_second:.3g}"
        rows.append([evaluation.model + how, *numbers, percent(evaluation.calibration_error, 2), speed])
    print_table(["model", *titles, "calibration error", "images/s"], rows, texts=["model"])
    if told:
        over = f"{first.independent:,} groups ({first.group})" if first.groups else "images"
        typer.echo(f"[low, high]: 95 % intervals over the {over}.")
    for evaluation, _ in measured[1:]:
        if (ahead := _ahead(evaluation, first)) is not None:
            typer.echo(
                f"{evaluation.model} is right more often than {first.model} by {ahead.text(2, 100)} points, image by image."
            )
    print_classes([evaluation for evaluation, _ in measured])
    with_maps = [maps for _, maps in measured if maps is not None]
    if with_maps:
        typer.echo("\nabsolute evidence per window, mean over classes")
        rows = [
            [maps.model, f"{maps.mean('shown'):.3g}", f"{maps.mean('absent'):.3g}", percent(maps.mean("quiet"))]
            for maps in with_maps
        ]
        print_table(["model", "class shown", "not shown", "quiet windows"], rows, texts=["model"])
    if len(measured) == 1 and (words := at_temperature(first.temperature)):
        typer.echo(f"{words[0].upper()}{words[1:]}.")
    if len(measured) == 1 and not first.multilabel and (pairs := first.confused()):
        typer.echo("\nmost often confused")
        rows = [
            [str(first.classes[true]), str(first.classes[predicted]), f"{images:,} of {first.counts[true]:,}"]
            for true, predicted, images in pairs
        ]
        print_table(["shows", "taken for", "images"], rows, texts=["shows", "taken for"])
