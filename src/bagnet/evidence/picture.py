"""Pictures of evidence: the photograph beside the map, with the answer in words."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from PIL import Image

from ..geometry import Box

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .evidence import Evidence, Floats, Window

Style = Literal["evidence", "paper"]

DPI = 130
_INK, _SOFT, _PAPER = "#1d2433", "#6b7385", "#ffffff"
_SHADE = (0.93, 0.935, 0.945)  # of the photograph's parts that the network was not given
_WINDOW = "#12141a"
_STRONGEST = 3
# Blue speaks against, white is silent, red speaks for: equally dark at equal distance from zero.
_COLOURS = ["#123c75", "#2f74b5", "#7db1d8", "#d3e4f0", "#ffffff", "#f8dbcb", "#ec9a7a", "#cf4a41", "#7f1228"]
_FORMATS = (".png", ".jpg", ".jpeg", ".webp", ".pdf", ".svg")


class Picture:
    """A finished picture; notebooks show it by itself.

    Args:
        figure: what it was drawn as.
    """

    def __init__(self, figure: Figure) -> None:
        self._figure = figure

    @property
    def image(self) -> Image.Image:
        """As a PIL image."""
        return Image.open(io.BytesIO(self._repr_png_())).convert("RGB")

    def save(self, path: str | PathLike[str]) -> None:
        """Write it as the ending of the name says: PNG, JPEG, WebP, PDF or SVG.

        Raises:
            ValueError: an ending that is none of these.
            OSError: it cannot be written; an older file stays as it was.
        """
        target = Path(fspath(path))
        if target.suffix.lower() not in _FORMATS:
            raise ValueError(f"{target}: pictures end in {', '.join(_FORMATS)}")
        part = target.with_name(f".{target.name}.part")
        try:
            with part.open("wb") as file:
                self._figure.savefig(file, dpi=DPI, format=target.suffix[1:].lower())
            os.replace(part, target)
        except OSError as error:
            raise OSError(f"{target}: cannot be written ({error.strerror})") from None

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self._figure.savefig(file, dpi=DPI, format="png")
        return file.getvalue()


def draw(
    evidence: Evidence, target: int | str | None, versus: int | str | None, style: Style, scale: float | None
) -> Picture:
    """`Evidence.picture`, which see."""
    if style not in get_args(Style):
        raise ValueError(f"there is no style {style!r}: there are {' and '.join(get_args(Style))}")
    if scale is not None and not scale > 0:
        raise ValueError(f"the scale must be a positive number of logits, got {scale}")
    index = evidence.top(1)[0].index if target is None else evidence.classes.find(target)
    values = evidence.map(index) if versus is None else evidence.difference(index, versus)
    size = np.abs(values)
    limit = scale or float(size.max() if style == "evidence" else np.percentile(size, 99)) or 1.0
    strongest = evidence.windows(index, _STRONGEST, versus)

    figure, (left, right, bar, answers) = _layout(evidence.image.size)
    _photograph(left, evidence, strongest)
    _heat_map(right, evidence, values, limit, style)
    _outline(right, strongest)
    _colour_bar(bar, limit, versus is not None)
    _words(figure, answers, evidence, index, versus)
    return Picture(figure)


def _layout(size: tuple[int, int]) -> tuple[Figure, tuple[Axes, Axes, Axes, Axes]]:
    """A figure for two pictures of that shape, a colour bar and a list of answers. All lengths in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    ratio = min(max(size[0] / size[1], 0.4), 2.5)  # extreme panoramas are drawn smaller within their panel
    height = 3.9 if ratio < 1.6 else 2.9
    width = max(height * ratio, 1.9)
    margin, gap, title, list_width = 0.3, 0.16, 0.95, 2.9
    bar_left = margin + 2 * width + 2 * gap
    list_left = bar_left + 1.0
    total = list_left + list_width + margin
    figure = Figure(figsize=(total, title + height + margin), facecolor=_PAPER)
    FigureCanvasAgg(figure)

    def panel(x: float, wide: float) -> Axes:
        high = title + height + margin
        return figure.add_axes((x / total, margin / high, wide / total, height / high))

    panels = panel(margin, width), panel(margin + width + gap, width), panel(bar_left, 0.14), panel(list_left, list_width)
    return figure, panels


def _photograph(axes: Axes, evidence: Evidence, strongest: Sequence[Window]) -> None:
    """The photograph, paler where the network was not given it, with the strongest windows numbered."""
    pixels = np.asarray(evidence.image, dtype=np.float32) / 255
    pale = 0.35 * pixels + 0.65
    rows, columns = _given(evidence).slices
    pale[rows, columns] = pixels[rows, columns]
    axes.imshow(pale, interpolation="antialiased")
    _frame(axes, evidence.image.size)
    _outline(axes, strongest)
    for number, window in reversed(list(enumerate(strongest, 1))):
        inset = max(evidence.image.size) / 110
        axes.text(
            window.box.left + inset,
            window.box.top + inset,
            str(number),
            color="white",
            fontsize=7.5,
            fontweight="bold",
            ha="left",
            va="top",
            bbox={"boxstyle": "square,pad=0.18", "facecolor": _WINDOW, "edgecolor": "none"},
        )


def _heat_map(axes: Axes, evidence: Evidence, values: Floats, limit: float, style: Style) -> None:
    """The map where it lies on the photograph: each cell a stride x stride square about its window's centre."""
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import Rectangle

    width, height = evidence.image.size
    axes.add_patch(Rectangle((-0.5, -0.5), width, height, facecolor=_SHADE, edgecolor="none"))
    given = _given(evidence)
    axes.add_patch(Rectangle((given.left - 0.5, given.top - 0.5), given.width, given.height, facecolor="#fafbfc"))
    for box in evidence.geometry.unseen(*evidence.placement.input_size):
        strip = evidence.placement.display_box(box)
        axes.add_patch(
            Rectangle(
                (strip.left - 0.5, strip.top - 0.5),
                strip.width,
                strip.height,
                facecolor=_SHADE,
                edgecolor="#b9bfca",
                hatch="//////",
                linewidth=0,
            )
        )
    geometry, grid = evidence.geometry, values.shape
    first, last = geometry.centre_square(0, 0), geometry.centre_square(grid[0] - 1, grid[1] - 1)
    cells = evidence.placement.display_box(Box(first.left, first.top, last.right, last.bottom))
    colours = LinearSegmentedColormap.from_list("evidence", _COLOURS)
    axes.imshow(
        values,
        cmap=colours,
        vmin=-limit,
        vmax=limit,
        interpolation="nearest",
        extent=(cells.left - 0.5, cells.right - 0.5, cells.bottom - 0.5, cells.top - 0.5),
    )
    if style == "evidence":
        for number, start, stop in ((grid[1], cells.left, cells.right), (grid[0], cells.top, cells.bottom)):
            if number > 60:
                continue  # the lines would hide the cells
            for edge in np.linspace(start, stop, number + 1) - 0.5:
                line = axes.axvline if start is cells.left and number == grid[1] and stop is cells.right else axes.axhline
                span = _share(cells, given=(width, height), vertical=line == axes.axvline)
                line(edge, *span, color="white", linewidth=0.5, alpha=0.9)
    else:
        edges = _edges(evidence.image, given)
        axes.imshow(edges, cmap="gray", vmin=0, vmax=1, alpha=np.where(edges > 0, 0.45, 0.0), interpolation="nearest")
    _frame(axes, evidence.image.size)


def _share(cells: Box, given: tuple[int, int], vertical: bool) -> tuple[float, float]:
    """Where the cells begin and end across the panel, as matplotlib's lines want it: 0 to 1, upwards."""
    width, height = given
    if vertical:
        return 1 - cells.bottom / height, 1 - cells.top / height
    return cells.left / width, cells.right / width


def _edges(image: Image.Image, given: Box) -> np.ndarray[Any, Any]:
    """Canny edges (sigma 1) of the grey photograph, as the paper lays them over its maps; none near the border."""
    from skimage.feature import canny

    small = image.convert("L")
    edges = canny(np.asarray(small, dtype=np.float64) / 255, sigma=max(1.0, max(image.size) / 300))
    border = max(1, round(5 * max(image.size) / 224))
    inside = np.zeros_like(edges)
    inside[given.top + border : given.bottom - border, given.left + border : given.right - border] = True
    return np.where(edges & inside, 0.0 + (edges & inside), 0.0)


def _outline(axes: Axes, windows: Sequence[Window]) -> None:
    from matplotlib.patches import Rectangle

    for window in windows:
        corner, wide, high = (window.box.left - 0.5, window.box.top - 0.5), window.box.width, window.box.height
        axes.add_patch(Rectangle(corner, wide, high, fill=False, edgecolor="white", linewidth=2.6, alpha=0.85))
        axes.add_patch(Rectangle(corner, wide, high, fill=False, edgecolor=_WINDOW, linewidth=1.2))


def _frame(axes: Axes, size: tuple[int, int]) -> None:
    axes.set_xlim(-0.5, size[0] - 0.5)
    axes.set_ylim(size[1] - 0.5, -0.5)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _colour_bar(axes: Axes, limit: float, difference: bool) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    scale = ScalarMappable(Normalize(-limit, limit), LinearSegmentedColormap.from_list("evidence", _COLOURS))
    bar = axes.figure.colorbar(scale, cax=axes, ticks=[-limit, -limit / 2, 0, limit / 2, limit])
    bar.outline.set_visible(False)  # type: ignore[operator]
    bar.ax.set_yticklabels([_signed(tick) for tick in (-limit, -limit / 2, 0.0, limit / 2, limit)])
    bar.ax.tick_params(length=2, labelsize=8, colors=_INK)
    bar.ax.set_title("logit\ndifference" if difference else "logit", fontsize=8, color=_SOFT, pad=6)


def _words(figure: Any, axes: Axes, evidence: Evidence, index: int, versus: int | str | None) -> None:
    shown = evidence.prediction(index)
    high = figure.get_figheight()
    left = 0.3 / figure.get_figwidth()
    title = shown.name
    if versus is None:
        numbers = f"{_percent(shown.probability)}   logit {_signed(shown.logit)}, the mean of the map"
    else:
        other = evidence.prediction(versus)
        title = f"{shown.name}, not {other.name}"
        numbers = (
            f"{_percent(shown.probability)} against {_percent(other.probability)}   "
            f"logits {_signed(shown.logit)} and {_signed(other.logit)}: "
            f"{_signed(shown.logit - other.logit)} is the mean of the map"
        )
    figure.text(left, 1 - 0.42 / high, _short(title, 60), fontsize=17, fontweight="bold", color=_INK, va="baseline")
    figure.text(left, 1 - 0.70 / high, numbers, fontsize=10, color=_SOFT, va="baseline")

    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    step = 0.56 / axes.get_position().height / high
    for place, answer in enumerate(evidence.top(5)):
        y = 1.0 - place * step
        weight = "bold" if answer.index == index else "normal"
        axes.text(0, y, _short(answer.name, 27), fontsize=9.5, color=_INK, fontweight=weight, va="top")
        axes.text(1, y, _percent(answer.probability), fontsize=9.5, color=_INK, fontweight=weight, va="top", ha="right")
        base = y - 0.5 * step
        axes.plot([0, 1], [base, base], color="#e8eaef", linewidth=3.2, solid_capstyle="butt")
        axes.plot([0, answer.probability], [base, base], color="#cf4a41", linewidth=3.2, solid_capstyle="butt")
    note = f"{evidence.model}\nwindows of {evidence.geometry.size} px every {evidence.geometry.stride} px of the input"
    axes.text(0, 0, note, fontsize=7.5, color=_SOFT, va="bottom", linespacing=1.5)


def _given(evidence: Evidence) -> Box:
    """The part of the photograph that the network was given."""
    height, width = evidence.placement.input_size
    return evidence.placement.display_box(Box(0, 0, width, height))


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}\N{HORIZONTAL ELLIPSIS}"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}") if round(value, 2) else "0"


def _percent(probability: float) -> str:
    return f"{100 * probability:.1f} %"
