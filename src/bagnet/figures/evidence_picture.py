"""Pictures of evidence: the photograph beside the map, with the answer in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from PIL import Image

from ..geometry import Box, Geometry
from .colours import HATCH, INK, INSIDE, LINE, OUTLINE, OUTSIDE, PAPER, RED, SOFT, evidence_colours
from .overlay import OPACITY, cells_box, check_scale
from .picture import Picture, fingerprint
from .words import at_temperature, percent, short, signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..evidence.dense_map import DenseMap
    from ..evidence.evidence import Evidence, Floats, Window

Style = Literal["evidence", "paper"]

_STRONGEST = 3
_COARSE = 24  # cells per side up to which overlapping windows are drawn over the photograph, each where all of it lies
_MOST_LINES = 60  # cells per side up to which lines between them do not hide them
_MOST_CELLS = 300  # per side up to which each has a pixel of the picture at least; beyond, a pixel is the mean of its cells
_MOST_PIXELS = 1400  # of the longer side of a photograph in the picture, where it has more room in no format


def draw(
    evidence: Evidence,
    target: int | str | None,
    versus: int | str | None,
    style: Style,
    scale: float | None,
    finer: DenseMap | None,
) -> Picture:
    """As `Evidence.picture`, where the arguments are explained."""
    if style not in get_args(Style):
        raise ValueError(f"there is no style {style!r}: there are {' and '.join(get_args(Style))}")
    check_scale(scale)
    index = evidence.top(1)[0].index if target is None else evidence.classes.find(target)
    geometry = evidence.geometry
    if finer is None:
        values = evidence.map(index) if versus is None else evidence.difference(index, versus)
    else:
        values = _of_one_image(finer, versus)
        geometry = Geometry(geometry.size, finer.stride, finer.origin)
    limit = scale or limit_of(values, style)
    strongest = evidence.windows(index, _STRONGEST, versus, apart=evidence.geometry.size // 2)

    figure, (left, right, bar, answers) = _layout(evidence.image.size)
    photograph(left, evidence, strongest)
    spread = style == "evidence" and finer is None and is_coarse(geometry, *values.shape)
    if spread:
        limit = spread_map(right, evidence, index, versus, scale)
    else:
        heat_map(right, evidence, values, geometry, limit, style, [] if finer else strongest)
    _colour_bar(bar, limit, versus is not None)
    _words(figure, answers, evidence, index, versus, geometry, spread)
    return Picture(figure, fingerprint(evidence.image))


def _of_one_image(finer: DenseMap, versus: int | str | None) -> Floats:
    count = 1 if versus is None else 2
    if tuple(finer.values.shape[:2]) != (1, count):
        raise ValueError(f"a finer map of shape {tuple(finer.values.shape)} cannot be drawn: it is to be (1, {count}, h, w)")
    values: Floats = finer.values[0].float().numpy()
    drawn: Floats = values[0] if versus is None else values[0] - values[1]
    return drawn


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
    figure = Figure(figsize=(total, title + height + margin), facecolor=PAPER)
    FigureCanvasAgg(figure)

    def panel(x: float, wide: float) -> Axes:
        high = title + height + margin
        return figure.add_axes((x / total, margin / high, wide / total, height / high))

    panels = (
        panel(margin, width),
        panel(margin + width + gap, width),
        panel(bar_left, 0.14),
        panel(list_left, list_width),
    )
    return figure, panels


def limit_of(values: Floats, style: Style) -> float:
    """The logit at both ends of the colours of a map: the largest, or in the paper's style the 99th percentile; 1 of silence."""
    size = np.abs(values)
    return float(size.max() if style == "evidence" else np.percentile(size, 99)) or 1.0


def photograph(axes: Axes, evidence: Evidence, strongest: Sequence[Window]) -> None:
    """Draw the photograph, paler outside the network's input, with some windows outlined and numbered."""
    from matplotlib.patches import Rectangle

    small, seen = _fitting(evidence.image, _input_box(evidence))
    pixels = np.asarray(small)
    if seen != Box(0, 0, *small.size):
        pale = np.rint(0.35 * pixels + 0.65 * 255).astype(np.uint8)
        pale[seen.slices] = pixels[seen.slices]
        pixels = pale
    axes.imshow(pixels, interpolation="antialiased", extent=_extent(evidence.image.size))
    for number, window in reversed(list(enumerate(strongest, 1))):
        corner = window.box.left - 0.5, window.box.top - 0.5
        for colour, line in (("white", 2.8), (OUTLINE, 1.2)):
            outline = Rectangle(corner, window.box.width, window.box.height, fill=False, edgecolor=colour, linewidth=line)
            axes.add_patch(outline)
        axes.annotate(
            str(number),
            corner,
            xytext=(2.5, -2.5),
            textcoords="offset points",
            color="white",
            fontsize=7.5,
            fontweight="bold",
            ha="left",
            va="top",
            bbox={"boxstyle": "square,pad=0.2", "facecolor": OUTLINE, "edgecolor": "none"},
        )
    _frame(axes, evidence.image.size)


def heat_map(
    axes: Axes,
    evidence: Evidence,
    values: Floats,
    geometry: Geometry,
    limit: float,
    style: Style,
    strongest: Sequence[Window],
) -> None:
    """Draw a map where it lies on the photograph: each cell a stride x stride square about its window's centre.

    Args:
        axes: to draw on.
        evidence: of the image.
        values: (h, w) logits.
        geometry: of the windows that these are of: the evidence's own, or that of a finer map.
        limit: the logit at both ends of the colours.
        style: as for `Evidence.picture`.
        strongest: windows of the evidence whose cells are outlined and, where there is room, numbered.
    """
    from matplotlib.patches import Rectangle

    _fill(axes, Box(0, 0, *evidence.image.size), OUTSIDE, 0.0)
    _fill(axes, _input_box(evidence), INSIDE, 0.1)
    for strip in evidence.geometry.unseen(*evidence.placement.input_size):
        _fill(axes, evidence.placement.display_box(strip), OUTSIDE, 0.2, edgecolor=HATCH, hatch="//////")
    rows, columns = values.shape
    left, top, right, bottom = (edge - 0.5 for edge in cells_box(evidence, geometry, rows, columns))
    axes.imshow(
        values,
        evidence_colours(),
        vmin=-limit,
        vmax=limit,
        interpolation="nearest" if max(rows, columns) <= _MOST_CELLS else "antialiased",
        interpolation_stage="data",  # the mean of logits, not of colours
        extent=(left, right, bottom, top),
        zorder=1,
    )
    across, down = np.linspace(left, right, columns + 1), np.linspace(top, bottom, rows + 1)
    if style == "paper":
        edges = _edges(*_fitting(evidence.image, _input_box(evidence)))
        extent = _extent(evidence.image.size)
        axes.imshow(edges, "Greys", vmin=0, vmax=1, alpha=0.55 * edges, interpolation="nearest", extent=extent, zorder=2)
    elif max(rows, columns) <= _MOST_LINES:
        axes.vlines(across, top, bottom, color="white", linewidth=0.6, zorder=3)
        axes.hlines(down, left, right, color="white", linewidth=0.6, zorder=3)
    for number, window in enumerate(strongest, 1):
        corner = across[window.column], down[window.row]
        wide, high = (right - left) / columns, (bottom - top) / rows
        axes.add_patch(Rectangle(corner, wide, high, fill=False, edgecolor=OUTLINE, linewidth=1.3, zorder=4))
        if wide * rows > 0.25 * evidence.image.width and columns <= 16:
            middle = corner[0] + wide / 2, corner[1] + high / 2
            strong = abs(window.logit) > 0.55 * limit
            axes.text(
                *middle,
                str(number),
                fontsize=7.5,
                fontweight="bold",
                ha="center",
                va="center_baseline",
                color="white" if strong else OUTLINE,
                zorder=5,
            )
    _frame(axes, evidence.image.size)


def is_coarse(geometry: Geometry, rows: int, columns: int) -> bool:
    """Whether a map has so few and so large windows that squares about their middles hide where the evidence is."""
    return 3 * geometry.stride <= 2 * geometry.size <= 4 * geometry.stride and max(rows, columns) <= _COARSE


def spread_map(axes: Axes, evidence: Evidence, index: int, versus: int | str | None, scale: float | None) -> float:
    """Draw over the grey photograph, at each pixel, the mean of the logits of all windows that hold it.

    Args:
        axes: to draw on.
        evidence: of the image.
        index: of the class.
        versus: draw the difference to this class instead.
        scale: the logit at both ends of the colours; the largest mean where None.

    Returns:
        That logit.
    """
    means = evidence.heatmap(index, versus, size="input", spread="windows")
    limit = scale or limit_of(means, "evidence")
    small, _ = _fitting(evidence.image, _input_box(evidence))
    axes.imshow(np.asarray(small.convert("L")), "Greys_r", vmin=-150, vmax=255, extent=_extent(evidence.image.size), zorder=0)
    box = _input_box(evidence)
    strength = np.minimum(np.abs(means) / limit, 1) ** 0.75
    axes.imshow(
        means,
        evidence_colours(),
        vmin=-limit,
        vmax=limit,
        alpha=0.12 + 0.68 * strength,
        interpolation="nearest",
        extent=(box.left - 0.5, box.right - 0.5, box.bottom - 0.5, box.top - 0.5),
        zorder=1,
    )
    for strip in evidence.geometry.unseen(*evidence.placement.input_size):
        _fill(axes, evidence.placement.display_box(strip), "none", 2, edgecolor=HATCH, hatch="//////")
    _frame(axes, evidence.image.size)
    return limit


def _fill(axes: Axes, box: Box, colour: str, order: float, **more: Any) -> None:
    from matplotlib.patches import Rectangle

    corner = box.left - 0.5, box.top - 0.5
    axes.add_patch(Rectangle(corner, box.width, box.height, facecolor=colour, linewidth=0, zorder=order, **more))


def plot(evidence: Evidence, target: int | str | None, versus: int | str | None, axes: Axes | None) -> Axes:
    """As `Evidence.plot`, where the arguments are explained."""
    if axes is None:
        from matplotlib import pyplot

        axes = pyplot.gca()
    index = evidence.top(1)[0].index if target is None else evidence.classes.find(target)
    values = evidence.map(index) if versus is None else evidence.difference(index, versus)
    limit = limit_of(values, "evidence")
    small, _ = _fitting(evidence.image, _input_box(evidence))
    axes.imshow(np.asarray(small), interpolation="antialiased", extent=_extent(evidence.image.size))
    left, top, right, bottom = (edge - 0.5 for edge in cells_box(evidence, evidence.geometry, *values.shape))
    axes.imshow(
        values,
        evidence_colours(),
        vmin=-limit,
        vmax=limit,
        alpha=OPACITY * np.minimum(np.abs(values) / limit, 1),
        interpolation="nearest",
        extent=(left, right, bottom, top),
    )
    _frame(axes, evidence.image.size)
    logit = float(evidence.logits[index])
    title = f"{evidence.classes[index]} {signed(logit)}"
    if versus is not None:
        rival = evidence.prediction(versus)
        title = f"{evidence.classes[index]}, not {rival.name} {signed(logit - rival.logit)}"
    axes.set_title(short(title, 60), parse_math=False)
    return axes


def _fitting(image: Image.Image, box: Box) -> tuple[Image.Image, Box]:
    """A photograph with no more pixels than a picture has room for, and a box of it."""
    scale = _MOST_PIXELS / max(image.size)
    if scale >= 1:
        return image, box
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.BILINEAR), Box(*(round(edge * scale) for edge in box))


def _extent(size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Of an image on axes whose units are its pixels, as matplotlib takes it: left, right, bottom, top."""
    return (-0.5, size[0] - 0.5, size[1] - 0.5, -0.5)


def _edges(image: Image.Image, seen: Box) -> np.ndarray[Any, Any]:
    """Canny edges (sigma 1) of the grey photograph, as the paper lays them over its maps; none near the border."""
    from skimage.feature import canny

    grey = np.asarray(image.convert("L"), dtype=np.float64) / 255
    per_pixel = max(1.0, min(seen.width, seen.height) / 224)  # the paper's pixels are those of a 224 px input
    edges: np.ndarray[Any, Any] = canny(grey, sigma=per_pixel)  # type: ignore[no-untyped-call]
    border = round(5 * per_pixel)
    inside = np.zeros_like(edges)
    inside[seen.top + border : seen.bottom - border, seen.left + border : seen.right - border] = True
    return (edges & inside).astype(float)


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
    from matplotlib.colors import Normalize

    scale = ScalarMappable(Normalize(-limit, limit), evidence_colours())
    bar = axes.figure.colorbar(scale, cax=axes, ticks=[-limit, -limit / 2, 0, limit / 2, limit])
    bar.outline.set_visible(False)
    bar.ax.set_yticklabels([signed(tick) for tick in (-limit, -limit / 2, 0.0, limit / 2, limit)])
    bar.ax.tick_params(length=2, labelsize=8, colors=INK)
    bar.ax.set_title("logit\ndifference" if difference else "logit", fontsize=8, color=SOFT, pad=6)


def _words(
    figure: Any, axes: Axes, evidence: Evidence, index: int, versus: int | str | None, geometry: Geometry, spread: bool
) -> None:
    shown = evidence.prediction(index)
    high = figure.get_figheight()
    left = 0.3 / figure.get_figwidth()
    title = shown.name
    grid = geometry == evidence.geometry
    mean = ", the mean of the map" if grid else f", the mean of the map every {evidence.geometry.stride} px; this one is finer"
    if versus is None:
        numbers = f"{percent(shown.probability)}   logit {signed(shown.logit)}{mean}"
    else:
        rival = evidence.prediction(versus)
        title = f"{shown.name}, not {rival.name}"
        numbers = (
            f"{percent(shown.probability)} against {percent(rival.probability)}   "
            f"logits {signed(shown.logit)} and {signed(rival.logit)}: "
            f"{signed(shown.logit - rival.logit)} apart{mean}"
        )
    figure.text(left, 1 - 0.42 / high, short(title, 60), fontsize=17, fontweight="bold", color=INK, va="baseline")
    figure.text(left, 1 - 0.70 / high, numbers, fontsize=10, color=SOFT, va="baseline")

    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    step = 0.56 / axes.get_position().height / high
    for rank, answer in enumerate(evidence.top(5)):
        y = 1.0 - rank * step
        weight = "bold" if answer.index == index else "normal"
        axes.text(0, y, short(answer.name, 27), fontsize=9.5, color=INK, fontweight=weight, va="top")
        axes.text(1, y, percent(answer.probability), fontsize=9.5, color=INK, fontweight=weight, va="top", ha="right")
        base = y - 0.5 * step
        axes.plot([0, 1], [base, base], color=LINE, linewidth=3.2, solid_capstyle="butt")
        axes.plot([0, answer.probability], [base, base], color=RED, linewidth=3.2, solid_capstyle="butt")
    note = f"{evidence.model}\nwindows of {geometry.size} px every {geometry.stride} px of the input"
    if spread:
        note += "\na pixel has the mean of the windows that hold it"
    if words := at_temperature(evidence.temperature):
        note += f"\n{words}"
    axes.text(0, 0, note, fontsize=7.5, color=SOFT, va="bottom", linespacing=1.5)


def _input_box(evidence: Evidence) -> Box:
    """The part of the photograph that is the network's input."""
    height, width = evidence.placement.input_size
    return evidence.placement.display_box(Box(0, 0, width, height))
