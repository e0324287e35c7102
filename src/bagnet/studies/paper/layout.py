"""Does it matter where things are? Two tiles of an image on an empty canvas, moved apart and exchanged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import lcm
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...data.decode import BadImage
from ...engine.inference import exact
from ...figures.charts import finished, intervals, labels, panel_title, quiet_frame, side_by_side
from ...figures.colours import GREY, INK, SOFT, model_colours
from ...figures.picture import Picture
from ...figures.words import BOOTSTRAP, of_images, short
from ...geometry import Box, Geometry, ceil_div
from ...statistics import Estimate, mean
from .experiment import Experiment, Findings, Workplace
from .measured import Columns, measured
from .subjects import Material, Subject

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SWAPPED = "swapped"
_SHOWN = 3  # images of the examples


@dataclass(frozen=True)
class Moved(Columns):
    """What a layout changes of the logits of one image, in standard deviations of these over the classes."""

    change: float  # of the leading class
    largest: float  # of any class


@dataclass(frozen=True)
class Change:
    """The same over all images."""

    change: Estimate  # of the leading class
    largest: float  # of any class and image
    apart: bool  # no window sees both tiles


@dataclass(frozen=True)
class ChangeAt(Change):
    """That of tiles so many pixels from each other."""

    distance: int


@dataclass(frozen=True)
class ModelChanges:
    """What all layouts change of one model's logits."""

    model: str
    window: int | None  # side in pixels; None where it sees the whole image
    images: int
    distances: Sequence[ChangeAt]
    swapped: Change


@dataclass(frozen=True)
class Measures:
    """All that was measured."""

    canvas: tuple[int, int]  # height and width in pixels
    farthest: int  # distance with which all others are compared
    models: Sequence[ModelChanges]
    left_out: Mapping[str, str]  # name of a model -> reason


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
    sample = 200

    tile: int = 24
    distances: tuple[int, ...] = (0, 8, 16, 24, 32, 48, 64)

    def find(self, material: Material, work: Workplace) -> Findings:
        """As `Experiment.find`.

        Raises:
            ValueError: no network takes a canvas of that size.
            BadImage: no image has room for the tiles.
        """
        canvas = self._canvas(material)
        left_out = {network.name: reason for network in material.networks if (reason := _refuses(network, canvas))}
        subjects = [
            subject if subject.window is None else subject.doubled()
            for subject in material.ordered
            if subject.name not in left_out
        ]
        if not subjects:
            raise ValueError(next(iter(left_out.values())))
        changes = measured(
            work, material, subjects, lambda _: canvas.layouts, lambda subject, _, x: _moved(subject, canvas, x), Moved.of_row
        )
        models = []
        for subject in subjects:
            rows = {layout: changes.of(subject, layout) for layout in canvas.layouts}
            if not rows[_SWAPPED]:
                raise BadImage(
                    f"{subject.name}: what it sees of the images has no room for two tiles of {self.tile} px: set a smaller tile"
                )
            models.append(_summary(subject, rows, canvas, material.seed))
        measures = Measures((canvas.height, canvas.width), canvas.distances[-1], models, left_out)
        figures = {self.name: self._picture(material, measures), f"{self.name}_examples": _examples(material, canvas)}
        return Findings(measures, [*_sentences(measures), *left_out.values()], figures)

    def check(self, material: Material) -> None:
        """As `Experiment.check`. ValueError: tile or distances do not suit the BagNets' windows."""
        super().check(material)
        self._canvas(material)

    def _canvas(self, material: Material) -> Canvas:
        return Canvas.holding([bagnet.classifier.geometry for bagnet in material.bagnets], self.tile, self.distances)

    def _picture(self, material: Material, measures: Measures) -> Picture:
        figure, panels = side_by_side([5.8, 4.4], 4.6)
        moved, swapped = (figure.add_subplot(panel) for panel in panels)
        colours = model_colours([model.window for model in measures.models])
        for model, colour in zip(measures.models, colours, strict=True):
            name = short(model.model, 34)
            look: Any = {"color": colour, "marker": "o", "markersize": 4, "linewidth": 1.6, "capsize": 2, "label": name}
            at = [change.distance for change in model.distances]
            intervals(moved, at, [change.change for change in model.distances], **look)
            if model.window is not None:
                apart = model.window - 1
                moved.axvline(apart, 0, 0.94, color=colour, linewidth=1.2, linestyle=(0, (3, 2)), zorder=0)
                above = moved.get_xaxis_transform()
                moved.text(apart, 0.95, f"{apart} px", transform=above, fontsize=8, color=INK, ha="center", va="bottom")
        moved.set_ylim(0, 1.15 * moved.get_ylim()[1])  # room for the words at the top
        across = "empty pixels between the tiles; dashed: a BagNet's window less 1 px"
        labels(moved, across, "change of the leading logit, sd over the classes")
        panel_title(moved, f"Moved nearer than {measures.farthest} px")
        quiet_frame(moved, "y")
        _bars(swapped, measures, colours)
        words = f"two tiles of {self.tile} px; logits against those {measures.farthest} px apart"
        about = of_images(material.data, (model.images for model in measures.models), words, f"bars: {BOOTSTRAP}")
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
        step = lcm(*(geometry.stride for geometry in geometries))
        window = max((geometry.size for geometry in geometries), default=1)
        if tile < 1 or tile % step:
            raise ValueError(f"tile={tile}: the side of the tiles must be a multiple of the BagNets' strides, {step} px")
        ordered = tuple(sorted(set(distances)))
        if len(ordered) < 2 or ordered[0] < 0 or any(distance % step for distance in ordered):
            raise ValueError(f"distances={tuple(distances)}: give two or more, multiples of the BagNets' strides, {step} px")
        if ordered[-1] < window - 1:
            raise ValueError(
                f"distances={tuple(distances)}: a window of {window} px sees both tiles at all of them; "
                f"the largest must be {step * ceil_div(window - 1, step)} at least"
            )
        margin = step * ceil_div(max((_reach(geometry, tile) for geometry in geometries), default=0), step)
        return cls(tile + 2 * margin, 2 * tile + ordered[-1] + 2 * margin, margin, tile, ordered)

    @property
    def layouts(self) -> list[str]:
        """Names of all but the one that others are compared with: a distance each, and the farthest one with tiles exchanged."""
        return [*map(str, self.distances[:-1]), _SWAPPED]

    def boxes(self, distance: int) -> tuple[Box, Box]:
        """Where the tiles lie."""
        first = Box(self.margin, self.margin, self.margin + self.tile, self.margin + self.tile)
        return first, first.shift(self.tile + distance, 0)

    def lay(self, left: Tensor, right: Tensor, distance: int) -> Tensor:
        """Two (C, tile, tile) parts of prepared images, so far apart -> (C, height, width). Zero is the mean colour."""
        canvas = left.new_zeros(len(left), self.height, self.width)
        for part, box in zip((left, right), self.boxes(distance), strict=True):
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
    x = torch.zeros(1, subject.channels, canvas.height, canvas.width)
    try:
        with exact(subject.model), torch.inference_mode():
            subject.logits(x)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        size = f"{canvas.height} x {canvas.width}"
        return f"{subject.name} is left out: it takes images of its own size alone, and no canvas of {size} pixels ({reason})."
    return ""


def _moved(subject: Subject, canvas: Canvas, x: Tensor) -> dict[str, Moved]:
    """Of one image, (1, C, H, W): what each layout changes of the logits."""
    left, right = (x[(0, ..., *box.slices)] for box in two_tiles(x.shape[2], x.shape[3], canvas.tile))
    farthest = canvas.distances[-1]
    layouts = [canvas.lay(left, right, distance) for distance in canvas.distances]
    logits = subject.logits(torch.stack([*layouts, canvas.lay(right, left, farthest)])).double()
    before = logits[-2]
    spread = float(before.std(correction=0))
    if not spread > 0:  # so written, NaN is refused too
        raise ValueError(f"{subject.name} gives all classes the same logit")
    leading = int(before.argmax())
    changes = [(after - before).abs() / spread for after in (*logits[:-2], logits[-1])]
    return {
        layout: Moved(float(change[leading]), float(change.max())) for layout, change in zip(canvas.layouts, changes, strict=True)
    }


def _summary(subject: Subject, rows: Mapping[str, Sequence[Moved]], canvas: Canvas, seed: int) -> ModelChanges:
    def change(layout: str, distance: int) -> tuple[Estimate, float, bool]:
        apart = subject.window is not None and distance >= subject.window - 1
        return mean([row.change for row in rows[layout]], seed), max(row.largest for row in rows[layout]), apart

    distances = [ChangeAt(*change(str(distance), distance), distance) for distance in canvas.distances[:-1]]
    swapped = Change(*change(_SWAPPED, canvas.distances[-1]))
    return ModelChanges(subject.name, subject.window, len(rows[_SWAPPED]), distances, swapped)


def _bars(axes: Axes, measures: Measures, colours: Sequence[str]) -> None:
    """What the exchange of the tiles does to each model."""
    changes = [model.swapped for model in measures.models]
    lines = range(len(changes))
    axes.barh(lines, [change.change.value for change in changes], 0.56, color=colours)
    look: Any = {"fmt": "none", "ecolor": GREY, "capsize": 2}
    intervals(axes, lines, [change.change for change in changes], across=True, **look)
    end = max(change.change.high for change in changes) or 1.0
    for line, change in zip(lines, changes, strict=True):
        words = f"at most {_small(change.largest)}" if change.apart else f"{change.change.value:.2g}"
        axes.text(change.change.high + 0.02 * end, line, words, fontsize=8.5, color=INK, va="center")
    axes.set_yticks(lines, [short(model.model, 26) for model in measures.models])
    axes.set_ylim(len(changes) - 0.4, -0.6)
    axes.set_xlim(0, 1.2 * end)
    axes.locator_params(axis="x", nbins=5)
    labels(axes, "change of the leading logit, sd over the classes", "")
    panel_title(axes, f"Places changed, {measures.farthest} px apart")
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
        left, right = (x[(..., *box.slices)] for box in boxes)
        pictures = [x, canvas.lay(left, right, near), canvas.lay(left, right, farthest), canvas.lay(right, left, farthest)]
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
            x = subject.transform.of_pixels(material.images.pixels(row, subject.channels, subject.transform.grey))
            two_tiles(x.shape[1], x.shape[2], canvas.tile)
        except (OSError, ValueError):
            continue
        yield x
        count += 1
        if count == _SHOWN:
            return


def _sentences(measures: Measures) -> list[str]:
    bagnets = [model for model in measures.models if model.window is not None]
    networks = [model for model in measures.models if model.window is None]
    sentences = []
    if bagnets:
        largest = max(change.largest for model in bagnets for change in (*model.distances, model.swapped) if change.apart)
        sentences.append(
            "Once no window sees both tiles, neither their distance nor their order changes a logit of a BagNet: by "
            f"{_small(largest)} standard deviations of the logits at most, over all classes and images (float64)."
        )
    near = measures.models[0].distances[0].distance
    measure = "in standard deviations of the logits over the classes"
    moved = "; ".join(f"{model.model} {model.distances[0].change.text()}" for model in measures.models)
    sentences.append(f"Change of the leading class's logit, {measure}, from {measures.farthest} px apart to {near}: {moved}.")
    if networks:
        swapped = "; ".join(f"{model.model} {model.swapped.change.text()}" for model in networks)
        sentences.append(f"The same where the tiles change places, {measures.farthest} px apart: {swapped}.")
    return sentences


def _small(value: float) -> str:
    return f"{value:.0e}" if value else "0"
