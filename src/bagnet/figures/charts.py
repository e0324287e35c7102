"""The frame of charts: panels with room for all words and names, a heading, quiet axes, a legend, bars of intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..statistics import Estimate
from .colours import GREY, INK, LINE, PAPER, SOFT
from .picture import Picture
from .words import LETTER, LINE_HEIGHT, short, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARGIN = 0.14  # inches beside everything
SUBTITLE = 9.5  # points of the letters under a title
_HEADING = 0.75  # inches above everything, for a title and a line under it
_TITLE_LINE, _SUBTITLE_LINE = 0.38, 0.64  # inches from the top to the lines that their letters stand on
_KEY = 0.62  # inches of a legend's sample and of the space beside it
_ENTRY = 0.175  # inches from one line of a legend to the next


def side_by_side(widths: Sequence[float], height: float) -> tuple[Figure, Any]:
    """A figure with a panel of each width side by side, in inches, and room above them for a heading."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(sum(widths), height), layout="constrained", facecolor=PAPER)
    FigureCanvasAgg(figure)
    engine: Any = figure.get_layout_engine()
    engine.set(rect=(0.01, 0.01, 0.98, 0.99 - _HEADING / height), w_pad=0.12)
    return figure, figure.add_gridspec(1, len(widths), width_ratios=widths)


def heading(figure: Figure, title: str, words: str) -> None:
    """What a figure is of, and a line under it."""
    height, left = figure.get_figheight(), MARGIN / figure.get_figwidth()
    upper, lower = 1 - _TITLE_LINE / height, 1 - _SUBTITLE_LINE / height
    figure.text(left, upper, short(title, 70), fontsize=15, fontweight="bold", color=INK, va="baseline")
    figure.text(left, lower, words, fontsize=SUBTITLE, color=SOFT, va="baseline")


def panel_title(axes: Axes, text: str) -> None:
    """Of one panel."""
    axes.set_title(text, fontsize=10, fontweight="bold", color=INK, loc="left", pad=8)


def labels(axes: Axes, x: str, y: str) -> None:
    """What the two axes are, with units."""
    axes.set_xlabel(x, fontsize=9, color=SOFT)
    axes.set_ylabel(y, fontsize=9, color=SOFT)


def quiet_frame(axes: Axes, values: str) -> None:
    """Lines only where values are read off ("x", "y" or "both"), and those behind everything."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(labelsize=8, colors=SOFT)
    axes.grid(axis=values, color=LINE, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def legend(axes: Axes, **more: Any) -> None:
    """Without a frame, in small letters."""
    axes.legend(frameon=False, fontsize=8, labelcolor=INK, **more)


def intervals(
    axes: Axes,
    at: Sequence[float],
    estimates: Sequence[Estimate],
    *,
    factor: float = 1.0,
    across: bool = False,
    **look: Any,
) -> None:
    """Estimates as points or lines with bars for their 95 % intervals; those that are not defined are left out.

    Args:
        axes: to draw on.
        at: where each lies, along the axis that the estimates are not on.
        estimates: as many.
        factor: of the values drawn, 100 for per cent.
        across: the estimates run along x instead of y.
        look: as matplotlib's `errorbar` takes it.
    """
    drawn = [(where, estimate) for where, estimate in zip(at, estimates, strict=True) if np.isfinite(estimate.value)]
    values = factor * np.array([estimate.value for _, estimate in drawn])
    ends = factor * np.array([(estimate.low, estimate.high) for _, estimate in drawn]).reshape(-1, 2)
    bars = np.abs(ends - values[:, None]).T
    positions = [where for where, _ in drawn]
    if across:
        axes.errorbar(values, positions, xerr=bars, **look)
    else:
        axes.errorbar(positions, values, yerr=bars, **look)


def finished(figure: Figure, title: str, words: str, named: Sequence[Axes] = ()) -> Picture:
    """Give charts that are drawn their heading and a legend below them, and make the figure higher by what these need.

    Args:
        figure: of `side_by_side`, with room for a title and a line under it.
        title: of the figure.
        words: under the title, on as many lines as they need.
        named: charts whose labelled lines make the legend, each label once.
    """
    width, height = figure.get_size_inches()
    line_height = LINE_HEIGHT * SUBTITLE / 72
    lines = wrapped(words, width - 2 * MARGIN, SUBTITLE).split("\n")
    more = (len(lines) - 1) * line_height
    entries = _entries(named)
    columns, rows = _legend_shape(list(entries), width)
    below = 0.12 + _ENTRY * rows if entries else 0.0
    whole = height + more + below
    figure.set_size_inches(width, whole)
    engine: Any = figure.get_layout_engine()
    engine.set(rect=(0.01, 0.01 + below / whole, 0.98, 0.99 - (_HEADING + more + below) / whole))
    heading(figure, title, "")
    for number, line in enumerate(lines):
        y = 1 - (_SUBTITLE_LINE + number * line_height) / whole
        figure.text(MARGIN / width, y, line, fontsize=SUBTITLE, color=SOFT, va="baseline")
    if entries:
        _legend_below(figure, entries, columns)
    return Picture(figure)


def _entries(named: Sequence[Axes]) -> dict[str, Any]:
    """What the legend of some charts shows: label -> handle."""
    entries: dict[str, Any] = {}
    for axes in named:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.pop(label, None)  # what several charts share comes last
            entries[label] = handle
    return entries


def _legend_shape(names: Sequence[str], width: float) -> tuple[int, int]:
    """Columns and rows of a legend on a figure of a width in inches."""
    if not names:
        return 0, 0
    room = int((width - 2 * MARGIN) / (_KEY + 1.12 * LETTER * 8 * max(map(len, names))))
    rows = -(-len(names) // min(len(names), max(1, room)))
    return -(-len(names) // rows), rows


def _legend_below(figure: Figure, entries: Mapping[str, Any], columns: int) -> None:
    width, height = figure.get_size_inches()
    drawn = figure.legend(
        entries.values(),
        entries.keys(),
        loc="lower left",
        bbox_to_anchor=(0.5 * MARGIN / width, 0.02 / height),
        ncols=columns,
        frameon=False,
        fontsize=8,
        labelcolor=INK,
        labelspacing=0.4,
        borderaxespad=0,
    )
    drawn.set_in_layout(False)  # the charts leave room for it already
