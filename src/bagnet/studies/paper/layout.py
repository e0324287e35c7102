"""Does it matter where things are? Two tiles of an image on an empty canvas, moved apart and exchanged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import lcm
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ...data.decode import BadImage
from ...engine.inference import exact
from ...figures.charts import BOOTSTRAP, finished, of_images
from ...figures.picture import Picture
from ...figures.style import (
    GREY,
    INK,
    SOFT,
    labels,
    model_colours,
    panel_title,
    quiet_frame,
    short,
    side_by_side,
)
from ...geometry import Box, Geometry, ceil_div
from ...runs.table import Row
from ...statistics import Estimate, mean
from .experiment import Experiment, Findings, Workplace
from .measured import measured
from .subjects import Material, Subject

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SWAPPED = "swapped"
_SHOWN = 3  # images of the examples


@dataclass(frozen=True)
class Layout(Experiment):
    """See `question`.

    The tiles are the middle of the left and of the right half of what the network sees of an image; the canvas has the mean
    colour. All logits are compared with those of the tiles the farthest apart. Where the tiles are a window less one pixel
    apart, no window of a BagNet sees both: if they move by multiples of the stride, and every window that touches a tile lies
    on the canvas, then the windows are the same ones at other places, and so the logits are the same.

    Args:
        tile: side of the tiles, in pixels of the network's input; a multiple of the BagNets' strides.
        distances: empty pixels between the tiles, multiples of the BagNets' strides.
    """

    name = "layout"
    title = "Does it matter where things are?"
    question = (
        "How far do the logits change when two parts of an image are moved apart on an empty canvas, or change places? A bag of "
        "windows must not notice, once no window sees both."
    )
    paper = (
        "The logits of a BagNet are the mean over its windows, wherever these lie. The paper has no figure of this; "
        "that it is exact follows from the geometry."
    )
    differs = (
        "All of it: two tiles of an image on an empty canvas. The right tile moves, and so not the distance alone changes but "
        "also where on the canvas it lies, which networks with padding notice."
    )
    labels = False
    sample = 200

    tile: int = 24
    distances: tuple[int, ...] = (0, 8, 16, 24, 32, 48, 64)

    def find(self, material: Material, work: Workplace) -> Findings:
        """As `Experiment.find`.

        Raises:
            ValueError: tile or distances do not suit the BagNets' windows, or no network takes a canvas of that size.
            BadImage: no image has room for the tiles.
        """
        canvas = Canvas.holding([one.model.geometry for one in material.bagnets], self.tile, self.distances)
        left_out = {one.name: reason for one in material.networks if (reason := _refuses(one, canvas))}
        subjects = [one.doubled() if one.window is not None else one for one in material.ordered if one.name not in left_out]
        if not subjects:
            raise ValueError(next(iter(left_out.values())))
        rows = measured(
            work,
            material,
            subjects,
            lambda _: canvas.layouts,
            lambda subject, _, x: _changes(subject, canvas, x),
        )
        by_model = {one.name: [row for row in rows if row["model"] == one.name] for one in subjects}
        for name, own in by_model.items():
            if not own:
                raise BadImage(
                    f"{name}: what it sees of the images has no room for two tiles of {self.tile} px: set a smaller tile"
                )
        found = [_summary(one, by_model[one.name], canvas, material.seed) for one in subjects]
        measures = {
            "canvas": [canvas.height, canvas.width],
            "farthest": canvas.distances[-1],
            "models": found,
            "left_out": left_out,
        }
        figures = {
            self.name: self._picture(material, found, canvas.distances[-1]),
            f"{self.name}_examples": _examples(material, canvas),
        }
        return Findings(measures, [*_sentences(found, canvas.distances[-1]), *left_out.values()], figures)

    def _picture(self, material: Material, found: Sequence[Mapping[str, Any]], farthest: int) -> Picture:
        figure, panels = side_by_side([5.8, 4.4], 4.6)
        moved, swapped = (figure.add_subplot(panel) for panel in panels)
        colours = model_colours([one["window"] for one in found])
        for one, colour in zip(found, colours, strict=True):
            own = one["distances"]
            value, around = _with_interval([entry["change"] for entry in own])
            name = short(one["model"], 34)
            look: Any = {"color": colour, "marker": "o", "markersize": 4, "linewidth": 1.6, "capsize": 2, "label": name}
            moved.errorbar([entry["distance"] for entry in own], value, around, **look)
            if one["window"] is not None:
                apart = one["window"] - 1
                moved.axvline(apart, 0, 0.94, color=colour, linewidth=1.2, linestyle=(0, (3, 2)), zorder=0)
                above = moved.get_xaxis_transform()
                moved.text(apart, 0.95, f"{apart} px", transform=above, fontsize=8, color=INK, ha="center", va="bottom")
        moved.set_ylim(0, 1.15 * moved.get_ylim()[1])  # room for the words at the top
        across = "empty pixels between the tiles; dashed: a BagNet's window less 1 px"
        labels(moved, across, "change of the leading logit, sd over the classes")
        panel_title(moved, f"Moved nearer than {farthest} px")
        quiet_frame(moved, "y")
        _bars(swapped, found, colours, farthest)
        words = f"two tiles of {self.tile} px; logits against those {farthest} px apart"
        about = of_images(material.data, (one["images"] for one in found), words, f"bars: {BOOTSTRAP}")
        return finished(figure, self.title, about, [moved])


@dataclass(frozen=True)
class Canvas:
    """An empty picture on which two tiles are laid side by side.

    Args:
        height: in pixels.
        width: in pixels.
        margin: between the tiles and the edges, where they are the farthest apart.
        tile: side of a tile.
        distances: empty pixels between the tiles, in rising order.
    """

    height: int
    width: int
    margin: int
    tile: int
    distances: tuple[int, ...]

    @classmethod
    def holding(cls, geometries: Sequence[Geometry], tile: int, distances: Sequence[int]) -> Canvas:
        """The smallest on which every window that could touch a tile lies whole.

        Args:
            geometries: of the BagNets.
            tile: side of a tile.
            distances: between the tiles.

        Raises:
            ValueError: they are no multiples of the strides, or some window sees both tiles at every distance.
        """
        step = lcm(*(one.stride for one in geometries))
        window = max((one.size for one in geometries), default=1)
        if tile < 1 or tile % step:
            raise ValueError(f"tile={tile}: the side of the tiles must be a multiple of the BagNets' strides, {step} px")
        ordered = tuple(sorted(set(distances)))
        if len(ordered) < 2 or ordered[0] < 0 or any(one % step for one in ordered):
            raise ValueError(f"distances={tuple(distances)}: give two or more, multiples of the BagNets' strides, {step} px")
        if ordered[-1] < window - 1:
            raise ValueError(
                f"distances={tuple(distances)}: a window of {window} px sees both tiles at all of them; "
                f"the largest must be {step * ceil_div(window - 1, step)} at least"
            )
        margin = step * ceil_div(max((_reach(one, tile) for one in geometries), default=0), step)
        return cls(tile + 2 * margin, 2 * tile + ordered[-1] + 2 * margin, margin, tile, ordered)

    @property
    def layouts(self) -> list[str]:
        """Names of all but the one that others are compared with: a distance each, and the farthest one with places changed."""
        return [*map(str, self.distances[:-1]), _SWAPPED]

    def boxes(self, distance: int) -> tuple[Box, Box]:
        """Where the tiles lie."""
        first = Box(self.margin, self.margin, self.margin + self.tile, self.margin + self.tile)
        return first, first.shift(self.tile + distance, 0)

    def lay(self, one: Tensor, other: Tensor, distance: int) -> Tensor:
        """Two (C, tile, tile) parts of prepared images, so far apart -> (C, height, width). Zero is the mean colour."""
        canvas = one.new_zeros(len(one), self.height, self.width)
        for part, box in zip((one, other), self.boxes(distance), strict=True):
            canvas[(..., *box.slices)] = part
        return canvas


def two_tiles(height: int, width: int, tile: int) -> tuple[Box, Box]:
    """The middle of the left and of the right half of an image. ValueError: it has no room for them."""
    if height < tile or width // 2 < tile:
        raise ValueError(f"two tiles of {tile} px side by side do not fit into {height} x {width} pixels: set a smaller tile")
    top, half = (height - tile) // 2, width // 2
    first = Box((half - tile) // 2, top, (half - tile) // 2 + tile, top + tile)
    return first, first.shift(width - half, 0)


def _reach(geometry: Geometry, tile: int) -> int:
    """How far the windows that touch a tile stick out of it, where no edge is near."""
    far = geometry.stride * ceil_div(2 * geometry.size, geometry.stride)
    box = Box(far, far, far + tile, far + tile)
    field = geometry.field(geometry.cells_touching(box, 2 * far + tile, 2 * far + tile))
    return max(box.left - field.left, field.right - box.right)


def _refuses(subject: Subject, canvas: Canvas) -> str:
    """Why a network cannot be asked, in words: it takes no images of another size than its own. Empty where it does."""
    x = torch.zeros(1, len(subject.transform.mean), canvas.height, canvas.width)
    try:
        with exact(subject.model), torch.inference_mode():
            subject.logits(x)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        size = f"{canvas.height} x {canvas.width}"
        return f"{subject.name} is left out: it takes images of its own size alone, and no canvas of {size} pixels ({reason})."
    return ""


def _changes(subject: Subject, canvas: Canvas, x: Tensor) -> dict[str, Row]:
    """Of one image, (1, C, H, W): what each layout changes of the logits, in standard deviations of those over the classes."""
    one, other = (x[(0, ..., *box.slices)] for box in two_tiles(x.shape[2], x.shape[3], canvas.tile))
    farthest = canvas.distances[-1]
    layouts = [canvas.lay(one, other, distance) for distance in canvas.distances]
    logits = subject.logits(torch.stack([*layouts, canvas.lay(other, one, farthest)])).double()
    before = logits[-2]
    spread = float(before.std(correction=0))
    if not spread > 0:  # so written, NaN is refused too
        raise ValueError(f"{subject.name} gives all classes the same logit")
    leading = int(before.argmax())
    found: dict[str, Row] = {}
    for name, after in zip(canvas.layouts, [*logits[:-2], logits[-1]], strict=True):
        change = (after - before).abs() / spread
        found[name] = {"change": float(change[leading]), "largest": float(change.max())}
    return found


def _summary(subject: Subject, rows: Sequence[Row], canvas: Canvas, seed: int) -> dict[str, Any]:
    def of(name: str, apart: int) -> dict[str, Any]:
        chosen = [row for row in rows if row["part"] == name]
        return {
            "change": mean([row["change"] for row in chosen], seed).to_dict(),
            "largest": max(row["largest"] for row in chosen),
            "apart": subject.window is not None and apart >= subject.window - 1,
        }

    return {
        "model": subject.name,
        "window": subject.window,
        "images": len({row["image"] for row in rows}),
        "distances": [{"distance": distance, **of(str(distance), distance)} for distance in canvas.distances[:-1]],
        _SWAPPED: of(_SWAPPED, canvas.distances[-1]),
    }


def _with_interval(measures: Sequence[Mapping[str, float]]) -> tuple[Any, Any]:
    """((N,) values, (2, N) how far the intervals reach below and above), as `errorbar` takes them."""
    value, low, high = (np.array([one[name] for one in measures]) for name in ("value", "low", "high"))
    return value, np.maximum(0, np.stack([value - low, high - value]))


def _bars(axes: Axes, found: Sequence[Mapping[str, Any]], colours: Sequence[str], farthest: int) -> None:
    """What the change of places does to each model."""
    value, around = _with_interval([one[_SWAPPED]["change"] for one in found])
    places = range(len(found))
    axes.barh(places, value, 0.56, color=colours)
    axes.errorbar(value, places, xerr=around, fmt="none", ecolor=GREY, capsize=2)
    end = float((value + around[1]).max()) or 1.0
    for place, one, size, above in zip(places, found, value, around[1], strict=True):
        words = f"at most {_small(one[_SWAPPED]['largest'])}" if one[_SWAPPED]["apart"] else f"{size:.2g}"
        axes.text(size + above + 0.02 * end, place, words, fontsize=8.5, color=INK, va="center")
    axes.set_yticks(places, [short(one["model"], 26) for one in found])
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_xlim(0, 1.2 * end)
    axes.locator_params(axis="x", nbins=5)
    labels(axes, "change of the leading logit, sd over the classes", "")
    panel_title(axes, f"Places changed, {farthest} px apart")
    quiet_frame(axes, "x")
    axes.tick_params(axis="y", length=0, labelcolor=INK)


def _examples(material: Material, canvas: Canvas) -> Picture:
    """A few images with their tiles, and the canvases made of them."""
    from matplotlib.patches import Rectangle

    subject = material.ordered[0]
    near, farthest = canvas.distances[0], canvas.distances[-1]
    wide = 1.55 * canvas.width / canvas.height
    figure, panels = side_by_side([1.75, wide, wide, wide], 0.9 + 1.75 * _SHOWN)
    words = f"what {subject.name} sees; canvases of {canvas.width} x {canvas.height} px in its mean colour"
    titles = ["the image", f"{near} px apart", f"{farthest} px apart", "places changed"]
    columns = [panel.subgridspec(_SHOWN, 1) for panel in panels]
    for line, x in enumerate(_first(material, subject, canvas)):
        boxes = two_tiles(x.shape[1], x.shape[2], canvas.tile)
        one, other = (x[(..., *box.slices)] for box in boxes)
        pictures = [x, canvas.lay(one, other, near), canvas.lay(one, other, farthest), canvas.lay(other, one, farthest)]
        for column, title, shown in zip(columns, titles, pictures, strict=True):
            axes = figure.add_subplot(column[line])
            axes.imshow(subject.transform.picture(shown), interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_color(GREY)
            axes.set_anchor("NW")
            if line == 0:
                axes.set_title(title, fontsize=9, color=SOFT, loc="left")
            if shown is x:
                for box in boxes:
                    corner = box.left - 0.5, box.top - 0.5
                    axes.add_patch(Rectangle(corner, box.width, box.height, fill=False, edgecolor="white", linewidth=1.6))
    return finished(figure, "Two tiles of an image, laid on an empty canvas", words)


def _first(material: Material, subject: Subject, canvas: Canvas) -> Iterator[Tensor]:
    """The first few images that can be read and have room for the tiles, prepared."""
    count = 0
    for row in range(len(material)):
        try:
            x = subject.transform.of_pixels(material.images.pixels(row, len(subject.transform.mean)))
            two_tiles(x.shape[1], x.shape[2], canvas.tile)
        except (OSError, ValueError):
            continue
        yield x
        count += 1
        if count == _SHOWN:
            return


def _sentences(found: Sequence[Mapping[str, Any]], farthest: int) -> list[str]:
    bagnets = [one for one in found if one["window"] is not None]
    networks = [one for one in found if one["window"] is None]
    sentences = []
    if bagnets:
        largest = max(entry["largest"] for one in bagnets for entry in [*one["distances"], one[_SWAPPED]] if entry["apart"])
        sentences.append(
            "Once no window sees both tiles, neither their distance nor their order changes a logit of a BagNet: by "
            f"{_small(largest)} standard deviations of the logits at most, over all classes and images (float64)."
        )
    near = found[0]["distances"][0]["distance"]
    measure = "in standard deviations of the logits over the classes"
    moved = "; ".join(f"{one['model']} {_text(one['distances'][0])}" for one in found)
    sentences.append(f"Change of the leading class's logit, {measure}, from {farthest} px apart to {near}: {moved}.")
    if networks:
        swapped = "; ".join(f"{one['model']} {_text(one[_SWAPPED])}" for one in networks)
        sentences.append(f"The same where the tiles change places, {farthest} px apart: {swapped}.")
    return sentences


def _text(entry: Mapping[str, Any]) -> str:
    return Estimate(**entry["change"]).text()


def _small(value: float) -> str:
    return f"{value:.0e}" if value else "0"
