"""Charts with room for all words and names, and what the words under a title say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..statistics import Estimate
from .picture import Picture
from .style import INK, LETTER, LINE_HEIGHT, MARGIN, SOFT, WORDS, heading, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WILSON = "95\N{NO-BREAK SPACE}% intervals over images (Wilson)"  # of shares; as `statistics.mean` takes them
BOOTSTRAP = "95\N{NO-BREAK SPACE}% intervals over images (bootstrap)"  # of everything else
_KEY = 0.62  # inches of a legend's sample and of the space beside it
_ENTRY = 0.175  # inches from one line of a legend to the next


def of_images(data: str, images: int | Iterable[int], *more: str) -> str:
    """What a figure is of, for the words under its title.

    Args:
        data: name of the images.
        images: how many; several numbers where not all that is drawn is of as many.
        more: what else there is to say.
    """
    counts = sorted({images} if isinstance(images, int) else set(images))
    number = " to ".join(f"{count:,}" for count in dict.fromkeys((counts[0], counts[-1])))
    return "; ".join([f"{data}, {number} {'image' if counts[-1] == 1 else 'images'}", *more])


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
    drawn = [(place, one) for place, one in zip(at, estimates, strict=True) if np.isfinite(one.value)]
    values = factor * np.array([one.value for _, one in drawn])
    ends = factor * np.array([(one.low, one.high) for _, one in drawn]).reshape(-1, 2)
    bars = np.abs(ends - values[:, None]).T
    places = [place for place, _ in drawn]
    if across:
        axes.errorbar(values, places, xerr=bars, **look)
    else:
        axes.errorbar(places, values, yerr=bars, **look)


def finished(figure: Figure, title: str, words: str, named: Sequence[Axes] = ()) -> Picture:
    """Give charts that are drawn their heading and a legend below them, and make the figure higher by what these need.

    Args:
        figure: of `side_by_side`, with room for a title and a line under it.
        title: of the figure.
        words: under the title, on as many lines as they need.
        named: charts whose labelled lines make the legend, each label once.
    """
    width, height = figure.get_size_inches()
    lines = wrapped(words, width - 2 * MARGIN, WORDS).split("\n")
    more = (len(lines) - 1) * LINE_HEIGHT * WORDS / 72
    entries: dict[str, Any] = {}
    for axes in named:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.pop(label, None)  # what several charts share comes last
            entries[label] = handle
    below = 0.0
    if entries:
        longest = max(map(len, entries))
        columns = min(len(entries), max(1, int((width - 2 * MARGIN) / (_KEY + 1.12 * LETTER * 8 * longest))))
        rows = -(-len(entries) // columns)
        columns = -(-len(entries) // rows)
        below = 0.12 + _ENTRY * rows
    whole = height + more + below
    figure.set_size_inches(width, whole)
    engine: Any = figure.get_layout_engine()
    engine.set(rect=(0.01, 0.01 + below / whole, 0.98, 0.99 - (0.75 + more + below) / whole))
    heading(figure, title, "")
    for line, part in enumerate(lines):
        place = 1 - (0.64 + line * LINE_HEIGHT * WORDS / 72) / whole
        figure.text(MARGIN / width, place, part, fontsize=WORDS, color=SOFT, va="baseline")
    if entries:
        legend = figure.legend(
            entries.values(),
            entries.keys(),
            loc="lower left",
            bbox_to_anchor=(0.5 * MARGIN / width, 0.02 / whole),
            ncols=columns,
            frameon=False,
            fontsize=8,
            labelcolor=INK,
            labelspacing=0.4,
            borderaxespad=0,
        )
        legend.set_in_layout(False)  # its room is taken from the charts already
    return Picture(figure)
