"""Charts of evaluations: how far confidence can be trusted, which classes are hard, which are confused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..figures.charts import heading, intervals, labels, panel_title, quiet_frame, side_by_side
from ..figures.colours import BLUE, GREY, INK, LINE, PALE, RED, SOFT, share_colours
from ..figures.picture import Picture
from ..figures.words import percent, short
from ..statistics import Estimate
from .evaluate import BINS, Evaluation
from .measures import FEW_IMAGES, Measure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEW = 25  # classes up to which each has a name in the charts
_PAIRS = 15  # most confused ones that are listed
_ENDS = 5  # hardest and easiest classes that are named where there are many
_NAME = 26  # letters
_SLIM = 5  # bars for which there is room at least, so that two are not as high as the chart


def chart(evaluation: Evaluation) -> Picture:
    """Reliability with counts, recall by class, and the confusion matrix or, of many classes, the most confused pairs.

    Of images with several labels there is no confusion to show, and average precision takes the place of recall.
    """
    few = len(evaluation.classes) <= FEW
    widths = [3.9, 4.3] if evaluation.multilabel else [3.9, 4.3, 6.0]
    height = 4.6 if not few else max(4.6, 2.2 + 0.17 * len(evaluation.classes))
    figure, panels = side_by_side(widths, height)
    heading(figure, evaluation.model, _summary(evaluation))
    _reliability(figure, panels[0], evaluation)
    (_named_classes if few else _many_classes)(figure.add_subplot(panels[1]), evaluation)
    if not evaluation.multilabel:
        (_confusion if few else _pairs)(figure.add_subplot(panels[2]), evaluation)
    return Picture(figure)


def compare(evaluations: Sequence[Evaluation]) -> Picture:
    """How right each model is, from the smallest window to networks that see the whole image at once."""
    measured = [(model, model.measures()) for model in evaluations]
    order = sorted(measured, key=lambda pair: (pair[0].window is None, pair[0].window or 0, pair[1][0].estimate.value))
    figure, panels = side_by_side([8.2], 1.5 + 0.5 * len(order))
    data = sorted({_images(model) for model, _ in order})
    lead = order[0][1][0]
    shows_fifth = lead.key == "top1" and "top5" in _by_key(order[0][1])
    told = "; lines: 95\N{NO-BREAK SPACE}% intervals" if lead.interval else ""
    heading(figure, _title(lead).capitalize(), "; ".join(data) + told)
    axes = figure.add_subplot(panels[0])
    for row, (model, measures) in enumerate(reversed(order)):
        by_key = _by_key(measures)
        estimate, colour = by_key[lead.key].estimate, GREY if model.window is None else BLUE
        best = 100 * estimate.value
        if shows_fifth:
            fifth = 100 * by_key["top5"].estimate.value
            axes.barh(row, fifth, 0.56, color=PALE if model.window is not None else LINE)
            axes.text(fifth + 0.8, row, f"{fifth:.1f}", fontsize=8.5, color=SOFT, va="center")
        axes.barh(row, best, 0.56, color=colour)
        if by_key[lead.key].interval:
            _interval(axes, row, estimate)
        _number(axes, row, best, f"{best:.1f}", 9)
    names = [f"{short(model.model, 40)}\n{_view(model)}" for model, _ in reversed(order)]
    axes.set_yticks(range(len(order)), names, fontsize=8.5, color=INK, linespacing=1.25)
    axes.set_xlim(0, 100)
    axes.set_xlabel("per cent; pale: top-5" if shows_fifth else "per cent", fontsize=9, color=SOFT)
    quiet_frame(axes, "x")
    axes.tick_params(axis="y", length=0)
    return Picture(figure)


def _by_key(measures: Sequence[Measure]) -> dict[str, Measure]:
    return {measure.key: measure for measure in measures}


def _title(measure: Measure) -> str:
    return "top-1 accuracy" if measure.key == "top1" else measure.title


def _interval(axes: Axes, row: int, estimate: Estimate) -> None:
    """Beside the middle of a bar, so that its number stays readable."""
    intervals(axes, [row + 0.2], [estimate], factor=100, across=True, color=INK, linewidth=1, capsize=2, fmt="none")


def _number(axes: Axes, row: int, value: float, text: str, size: float) -> None:
    """The value of a bar that is drawn in per cent: in white at its end, or beside it where it is too short."""
    inside = value > 15
    axes.text(
        value + (-1 if inside else 1),
        row,
        text,
        fontsize=size,
        fontweight="bold",
        color="white" if inside else INK,
        ha="right" if inside else "left",
        va="center",
    )


def _summary(evaluation: Evaluation) -> str:
    return f"{', '.join(measure.text for measure in evaluation.measures())} on {_images(evaluation)}"


def _images(evaluation: Evaluation) -> str:
    return f"{evaluation.data}, {evaluation.images:,} images of {len(evaluation.classes)} classes"


def _view(evaluation: Evaluation) -> str:
    return "whole image" if evaluation.window is None else f"windows of {evaluation.window} px"


def _reliability(figure: Figure, panel: Any, evaluation: Evaluation) -> None:
    """Accuracy against confidence, and under it how many answers were so sure."""
    bins = evaluation.reliability()
    confidence, right, counts = (np.array(values) for values in zip(*bins, strict=True))
    upper, lower = (figure.add_subplot(part) for part in panel.subgridspec(2, 1, height_ratios=[3, 1], hspace=0.06))
    upper.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    upper.vlines(confidence, right, confidence, color=RED, linewidth=5, alpha=0.3, zorder=2)
    upper.plot(confidence, right, color=BLUE, linewidth=1.6, marker="o", markersize=4, zorder=3)
    error = f"calibration error {percent(evaluation.calibration_error)}"
    too_sure = (counts * (confidence - right)).sum() > 0
    corner, align = ((0.04, 0.95), ("left", "top")) if too_sure else ((0.96, 0.05), ("right", "bottom"))  # where no curve is
    upper.text(*corner, error, fontsize=9, color=INK, ha=align[0], va=align[1], transform=upper.transAxes)
    upper.set_ylim(0, 1.02)
    upper.set_ylabel("share that show the class" if evaluation.multilabel else "accuracy", fontsize=9, color=SOFT)
    panel_title(upper, "Can its confidence be trusted?")
    numbers = np.minimum(np.floor(confidence * BINS), BINS - 1)
    lower.bar((numbers + 0.5) / BINS, counts, 0.82 / BINS, color=BLUE)
    if evaluation.multilabel:
        labels(lower, "probability", "answers")
    else:
        labels(lower, "confidence in the best class", "images")
    lower.yaxis.set_major_locator(_few_whole_numbers())
    upper.tick_params(labelbottom=False)
    for axes in (upper, lower):
        axes.set_xlim(0, 1)
        quiet_frame(axes, "y")


def _many_classes(axes: Axes, evaluation: Evaluation) -> None:
    """A curve from the hardest class to the easiest, with the names of those at its ends."""
    order, values = _sorted_classes(evaluation)
    edges = np.arange(len(order) + 1)
    axes.stairs(values, edges, fill=True, color=PALE)
    axes.stairs(values, edges, color=BLUE, linewidth=1.6, baseline=None)
    middle = values.mean() if order else np.nan
    axes.hlines(middle, 0.55 * len(order), len(order), color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.text(0.985 * len(order), middle - 1.5, f"mean {middle:.1f}", fontsize=8.5, color=INK, ha="right", va="top")
    ranked = list(zip(order, values, strict=True))
    for title, chosen, y in (("hardest", ranked[:_ENDS], 0.97), ("easiest", ranked[: -_ENDS - 1 : -1], 0.63)):
        axes.text(0.03, y, title, fontsize=8, fontweight="bold", color=INK, va="top", transform=axes.transAxes)
        lines = [f"{value:.0f} %  {short(str(evaluation.classes[label]), _NAME)}" for label, value in chosen]
        axes.text(0.03, y - 0.045, "\n".join(lines), fontsize=8, color=INK, va="top", transform=axes.transAxes, linespacing=1.35)
    axes.set_xlim(0, max(1, len(order)))
    axes.set_ylim(0, 100)
    labels(axes, f"{len(order)} classes, from the hardest to the easiest", f"{_measure(evaluation)}, per cent")
    panel_title(axes, "Which classes are hard?")
    quiet_frame(axes, "y")


def _named_classes(axes: Axes, evaluation: Evaluation) -> None:
    """A bar for each class, the hardest on top."""
    order, values = _sorted_classes(evaluation)
    names = [f"{short(str(evaluation.classes[label]), _NAME)} ({evaluation.counts[label]:,})" for label in order]
    axes.barh(names, values, 0.66, color=BLUE)
    told = not evaluation.multilabel and evaluation.independent <= FEW_IMAGES
    recalls = evaluation.recalls if told else []
    for row, (label, value) in enumerate(zip(order, values, strict=True)):
        if told:
            _interval(axes, row, recalls[label])
        _number(axes, row, value, f"{value:.0f}", 8)
    axes.set_xlim(0, 100)
    axes.set_ylim(max(len(order), _SLIM) - 0.4, -0.6)
    lines = "; lines: 95\N{NO-BREAK SPACE}% intervals" if told else ""
    axes.set_xlabel(f"{_measure(evaluation)}, per cent (images of the class){lines}", fontsize=9, color=SOFT)
    panel_title(axes, "Which classes are hard?")
    quiet_frame(axes, "x")
    axes.tick_params(axis="y", length=0, labelcolor=INK)


def _sorted_classes(evaluation: Evaluation) -> tuple[list[int], Any]:
    """The classes that have images, from hard to easy, and how right each is in per cent."""
    values = 100 * evaluation.by_class
    order = [int(label) for label in np.argsort(values, kind="stable") if np.isfinite(values[label])]
    return order, values[order]


def _confusion(axes: Axes, evaluation: Evaluation) -> None:
    """Of the images of each class (row), the share predicted to be each (column)."""
    table = evaluation.confusion
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    axes.imshow(share, share_colours(), vmin=0, vmax=1, aspect="auto")
    size = 9 if len(table) <= 12 else 6.5
    for row, column in zip(*np.nonzero(table), strict=True):
        colour = "white" if share[row, column] > 0.5 else INK
        count = f"{table[row, column]:,}"
        axes.text(column, row, count, fontsize=size, color=colour, ha="center", va="center")
    names = [short(str(entry), 20) for entry in evaluation.classes]
    level = max(map(len, names)) * len(names) <= 60  # letters that fit side by side
    axes.set_xticks(range(len(names)), names, rotation=0 if level else 90, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.tick_params(length=0, labelcolor=INK)
    labels(axes, "predicted class", "true class")
    axes.set_xticks(np.arange(len(table) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(table) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=LINE, linewidth=1)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
    panel_title(axes, "Which classes are confused? (images)")


def _pairs(axes: Axes, evaluation: Evaluation) -> None:
    """The most common mistakes, as shares of the images of the true class."""
    panel_title(axes, "Which classes are confused most often?")
    pairs = evaluation.confused(_PAIRS)
    if not pairs:
        axes.set_axis_off()
        axes.text(0, 0.96, "No image is classified wrongly.", fontsize=9, color=SOFT, va="top", transform=axes.transAxes)
        return
    counts = evaluation.counts
    names = [
        " \N{RIGHTWARDS ARROW} ".join(short(str(evaluation.classes[label]), _NAME) for label in (true, predicted))
        for true, predicted, _ in pairs
    ]
    shares = [100 * images / counts[true] for true, _, images in pairs]
    axes.barh(range(len(pairs)), shares, 0.66, color=RED)
    for row, (true, _, images) in enumerate(pairs):
        axes.text(shares[row], row, f"  {images:,} of {counts[true]:,}", fontsize=8, color=INK, va="center")
    axes.set_yticks(range(len(pairs)), names, fontsize=8)
    axes.set_ylim(_PAIRS - 0.4, -0.6)
    axes.set_xlim(0, 1.3 * max(shares))
    axes.set_xlabel("per cent of the images of the class", fontsize=9, color=SOFT)
    quiet_frame(axes, "x")
    axes.tick_params(axis="y", length=0, labelcolor=INK)


def _measure(evaluation: Evaluation) -> str:
    return "average precision" if evaluation.multilabel else "recall"


def _few_whole_numbers() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(3, integer=True)
