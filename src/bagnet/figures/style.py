"""How charts look: one set of colours, one frame, one heading."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, PALE, RED, GREY = "#2f74b5", "#d3e4f0", "#cf4a41", "#8a91a0"
INK, SOFT, LINE = "#1d2433", "#6b7385", "#e8eaef"
MARGIN = 0.14  # inches beside everything
WORDS = 9.5  # points of the letters under a title
LETTER = 0.0078  # inches that a letter takes on average, by point of its size
LINE_HEIGHT = 1.25  # from one line to the next, in sizes of the letters
_WINDOWS = ("#9ecae9", "#4c93c9", "#1f5a99", "#0f2f5c")  # of BagNets, from the smallest windows to the largest
_OTHERS = ("#d9822b", "#7a5195", "#3a8f5c", "#b5485d", "#8a6d3b", "#5b6b7a")


def side_by_side(widths: Sequence[float], height: float) -> tuple[Figure, Any]:
    """A figure with a panel of each width side by side, in inches, and room above them for a heading."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(sum(widths), height), layout="constrained", facecolor="white")
    FigureCanvasAgg(drawn)
    engine: Any = drawn.get_layout_engine()
    engine.set(rect=(0.01, 0.01, 0.98, 0.99 - 0.75 / height), w_pad=0.12)
    return drawn, drawn.add_gridspec(1, len(widths), width_ratios=widths)


def heading(drawn: Figure, text: str, words: str) -> None:
    """What a figure is of, and a line under it."""
    high = drawn.get_figheight()
    left = 0.14 / drawn.get_figwidth()
    drawn.text(left, 1 - 0.38 / high, short(text, 70), fontsize=15, fontweight="bold", color=INK, va="baseline")
    drawn.text(left, 1 - 0.64 / high, words, fontsize=9.5, color=SOFT, va="baseline")


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


def model_colours(windows: Sequence[int | None]) -> list[str]:
    """A colour for each model, given the side of its windows: blues for BagNets, darker with the window; None for others."""
    sizes = sorted({window for window in windows if window is not None})
    others = iter(range(len(windows)))
    found = []
    for window in windows:
        if window is None:
            found.append(_OTHERS[next(others) % len(_OTHERS)])
        else:
            place = sizes.index(window) * (len(_WINDOWS) - 1) / max(1, len(sizes) - 1) if len(sizes) > 1 else 1
            found.append(_WINDOWS[round(place)])
    return found


def short(text: str, most: int) -> str:
    """A text of at most so many letters."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}\N{HORIZONTAL ELLIPSIS}"


def abridged(name: str, most: int) -> str:
    """A name of at most so many letters, without its middle: the names of files differ at their ends."""
    if len(name) <= most:
        return name
    end = (most - 1) // 2
    return f"{name[: most - 1 - end]}\N{HORIZONTAL ELLIPSIS}{name[len(name) - end :]}"


def wrapped(words: str, width: float, size: float, most: int | None = None) -> str:
    """Words on lines of a width in inches, in letters of a size in points; cut after so many lines."""
    letters = max(4, int(width / (LETTER * size)))
    found = textwrap.wrap(words, letters)
    if most is not None and len(found) > most:
        found = [*found[: most - 1], short(" ".join(found[most - 1 :]), letters)]
    return "\n".join(found)
