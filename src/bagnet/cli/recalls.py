"""How right a model is about each class, where these are few, as `evaluate` and `train` print it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from .output import print_table

if TYPE_CHECKING:
    from ..evaluation.evaluate import Evaluation


def print_classes(evaluations: Sequence[Evaluation]) -> None:
    """Of a single model each class against the rest, too; of several, or of many classes, as `print_recalls`.

    Args:
        evaluations: of the same images.
    """
    from ..evaluation.measures import FEW_CLASSES, Measure

    first = evaluations[0]
    if len(evaluations) > 1 or len(first.classes) > FEW_CLASSES:
        if not first.multilabel:
            print_recalls(evaluations)
        return
    curves, columns = first.curves, []
    if not first.multilabel:
        columns.append(("recall", [*first.recalls, first.answers.balanced], True))
    areas = [curve.average_precision for curve in curves.classes]
    columns.append(("precision-recall area", [*areas, curves.mean_average_precision], False))
    if first.specificity is not None:
        title = f"sensitivity at {100 * first.specificity:g} % specificity"
        columns.append((title, [*(curve.sensitivity for curve in curves.classes), curves.mean_sensitivity], True))
    names = [*map(str, first.classes), "mean"]
    counts = [*(f"{count:,}" for count in first.counts), ""]
    rows = []
    for row, (name, count) in enumerate(zip(names, counts, strict=True)):
        measures = [Measure("", title, every[row], first.independent, in_percent) for title, every, in_percent in columns]
        rows.append([name, count, *(f"{measure.number} {measure.interval}".strip() for measure in measures)])
    typer.echo("\neach class")
    print_table(["class", "images", *(title for title, _, _ in columns)], rows, texts=["class"])


def print_recalls(evaluations: Sequence[Evaluation]) -> None:
    """Of each class the share of its images that are right, a column a model; of a single model also how sure that is.

    Nothing where there are more than a few classes, for which there are the report's table and chart.

    Args:
        evaluations: of images with one label each, the same ones.
    """
    from ..evaluation.measures import FEW_CLASSES, FEW_IMAGES
    from ..figures.words import percent

    first, single = evaluations[0], len(evaluations) == 1
    if len(first.classes) > FEW_CLASSES:
        return
    columns = [evaluation.recalls for evaluation in evaluations]
    rows = []
    for label, entry in enumerate(first.classes):
        recalls = [column[label] for column in columns if first.counts[label]]
        numbers = [percent(recall.value) for recall in recalls]
        if single and first.independent <= FEW_IMAGES:
            numbers += [f"[{100 * recall.low:.1f}, {100 * recall.high:.1f}]" for recall in recalls]
        rows.append([str(entry), f"{first.counts[label]:,}", *numbers])
    typer.echo("\nrecall of each class")
    titles = ["recall", "[low, high]"] if single else [evaluation.model for evaluation in evaluations]
    print_table(["class", "images", *titles], rows, texts=["class"])
