"""bagnet evaluate"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .inference import Calibration, Precision, Runtime, Trust, classifier
from .progress import progress_bar

if TYPE_CHECKING:
    from ..evaluation.evaluate import Evaluation
    from ..evaluation.sparseness import Sparseness

Found = tuple["Evaluation", "Sparseness | None"]


def evaluate(
    data: Annotated[
        str,
        typer.Argument(
            help="Folder with a folder for each class, with Parquet tables or tar shards; a .npz file; or hub:NAME.",
            show_default=False,
        ),
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A model's name (`bagnet models list`) or file; another network as timm:NAME, torchvision:NAME or "
            "package.module:function; repeat it for several.",
            show_default="the bundled one",
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="train | val; a folder without splits is all train.")] = "val",
    runtime: Runtime = "torch",
    precision: Precision = "float32",
    calibration: Calibration = None,
    size: Annotated[int | None, typer.Option(min=1, help="Input size in pixels, instead of the model's own.")] = None,
    trust: Trust = None,
    sparsity: Annotated[bool, typer.Option("--sparsity", help="Also measure how clean the maps of BagNets are.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at a time.")] = 64,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that decode.", show_default="cores - 2; 0 below 4,000 images")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="A folder for all figures as JSON, accuracy by class as CSV, and charts.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON.")] = False,
) -> None:
    """Measure classifiers on labelled images: accuracy, calibration, speed, and what is taken for what.

    Example: `bagnet evaluate photos/ --model bagnet33.orig_in1k --model torchvision:resnet50 --out report/`
    """
    from ..evaluation.evaluate import evaluate as measure
    from ..evaluation.report import record, write_comparison, write_model
    from ..evaluation.sparseness import sparseness

    words = model or [""]
    if out is not None and out.exists() and not out.is_dir():
        raise ValueError(f"{out}: is a file; name a folder for the report")
    ready = [classifier(word, runtime, precision, calibration, trust or ()) for word in words]
    names = _names(words, [one.card.name if one.card is not None else "" for one in ready])
    with_maps = [sparsity and hasattr(one, "evidence") for one in ready]
    if sparsity and not any(with_maps):
        raise ValueError(f"{', '.join(words)}: no BagNet, and so without maps: leave --sparsity out")
    found: list[Found] = []
    for one, name, maps in zip(ready, names, with_maps, strict=True):
        transform = one.transform if size is None else one.transform.with_crop(size)
        with progress_bar() as progress:
            evaluation = measure(one, data, split, batch_size=batch_size, workers=workers, transform=transform, progress=progress)
        evaluation = replace(evaluation, model=name)
        if found and evaluation.multilabel != found[0][0].multilabel:
            raise ValueError(
                f"{name} and {names[0]}: one chooses among the classes, the other says yes or no to each; measure them one by one"
            )
        clean = None
        if maps:
            with progress_bar() as progress:
                clean = sparseness(
                    one, data, split, batch_size=batch_size, workers=workers, transform=transform, progress=progress
                )
            clean = replace(clean, model=name)
        found.append((evaluation, clean))
        if out is not None:
            write_model(out, evaluation, clean)
    if out is not None:
        write_comparison(out, [evaluation for evaluation, _ in found])
    bad = dict(pair for evaluation, _ in found for pair in evaluation.bad)
    for reason in bad.values():
        typer.echo(f"bagnet: {reason}", err=True)
    if as_json:
        report = str(out) if out is not None else None
        typer.echo(json.dumps({"models": [record(*pair) for pair in found], "report": report}))
    else:
        _show(found)
        if out is not None:
            typer.echo(f"-> {out}")
    if bad:
        sys.exit(2)


def _names(words: Sequence[str], cards: Sequence[str]) -> list[str]:
    """The cards' names; the words that were typed, where cards share one."""
    if len(set(words)) < len(words):
        twice = next(word for word in words if words.count(word) > 1)
        raise ValueError(f"--model {twice} is given twice")
    return [word if cards.count(card) > 1 else card for word, card in zip(words, cards, strict=True)]


def _show(found: Sequence[Found]) -> None:
    """A row for each model; of a single one also its most common confusions."""
    first = found[0][0]
    typer.echo(f"{first.data}: {first.images:,} images of {len(first.classes)} classes")
    tops = (1, 5) if len(first.classes) > 5 else (1,)  # among five classes every answer is in the best five
    measures = ["mean average precision"] if first.multilabel else [f"top-{count}" for count in tops]
    rows = []
    for one, _ in found:
        how = "" if (one.runtime, one.precision) == ("torch", "float32") else f" ({one.runtime} {one.precision})"
        shares = [one.mean_average_precision] if one.multilabel else [one.top(count) for count in tops]
        percents = [f"{100 * share:.2f} %" for share in (*shares, one.calibration_error)]
        rows.append([one.model + how, *percents, f"{one.images_per_second:.3g}"])
    _print(["model", *measures, "calibration error", "images/s"], rows)
    clean = [maps for _, maps in found if maps is not None]
    if clean:
        typer.echo("\nabsolute evidence per window, mean over classes")
        _print(
            ["model", "class shown", "not shown", "quiet windows"],
            [
                [maps.model, f"{maps.mean('shown'):.3g}", f"{maps.mean('absent'):.3g}", f"{100 * maps.mean('quiet'):.1f} %"]
                for maps in clean
            ],
        )
    if len(found) == 1 and not first.multilabel and (pairs := first.confused()):
        typer.echo("\nmost often confused")
        lines = [
            (str(first.classes[true]), str(first.classes[taken]), f"{images:,} of {first.counts[true]:,}")
            for true, taken, images in pairs
        ]
        _print(["shows", "taken for", "images"], lines)


def _print(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Text to the left, numbers to the right."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, justify="left" if title in ("model", "shows", "taken for") else "right", no_wrap=title == "model")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
