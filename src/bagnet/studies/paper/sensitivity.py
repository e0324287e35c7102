"""Where, and how much, does a mask matter? The change of a logit by place and size of a mask, and whose maps agree on that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from torch import Tensor

from ...engine.inference import like_weights
from ...evidence.edits import occlude
from ...figures.charts import finished, intervals, labels, panel_title, quiet_frame, side_by_side
from ...figures.colours import INK, SOFT, coloured, model_colours
from ...figures.picture import Picture
from ...figures.words import BOOTSTRAP, abridged, of_images, wrapped
from ...geometry import squares
from ...runs.table import Row
from ...statistics import Estimate, mean, spearman
from .experiment import Experiment, Findings, Workplace
from .maps import METHODS, NO_MAP, bagnet_map, check_cells, check_methods, masked, method_map, over_cells, title_of
from .measured import Columns, Failed, Measurements, measured
from .subjects import Material, Subject

_NAME = 44  # letters


@dataclass(frozen=True)
class ImageDrops(Columns):
    """By how much a mask lowers the leading class's logit of one image, in standard deviations of the image's logits."""

    class_: str
    mean: float  # over the positions of the mask
    largest: float
    drops: tuple[float, ...]  # at each position

    def to_row(self) -> Row:
        """As `Columns.to_row`."""
        return {**super().to_row(), "drops": " ".join(f"{drop:.5f}" for drop in self.drops)}

    @classmethod
    def of_row(cls, row: Row) -> Self:
        """As `Columns.of_row`."""
        return cls(row["class"], row["mean"], row["largest"], tuple(map(float, row["drops"].split())))


@dataclass(frozen=True)
class ImageAgreement(Columns):
    """How alike two maps of one image rank its cells; NaN where one of them does not vary."""

    rank_correlation: float


Part = ImageDrops | ImageAgreement


@dataclass(frozen=True)
class Drop:
    """By how much a mask of one size lowers one model's leading logit, over images."""

    model: str
    side: int
    images: int
    mean: Estimate  # over the positions of the mask
    largest: Estimate  # of all positions
    by_position: Sequence[float]  # means over images


@dataclass(frozen=True)
class Agreement:
    """How alike a BagNet's map and a method's rank the cells of so many images, for one network."""

    model: str
    map: str
    method: str
    images: int
    rank_correlation: Estimate


@dataclass(frozen=True)
class Measures:
    """All that was measured."""

    drops: Sequence[Drop]
    agreement: Sequence[Agreement]


@dataclass(frozen=True)
class Sensitivity(Experiment):
    """See `question`.

    Masks are the mean colour of the data, side by side; a change is in standard deviations of the image's logits.

    Args:
        sides: of the masks, in pixels of the network's input.
        cell: side of the cells on which maps are compared.
        methods: attribution methods on each network to compare BagNets' maps with.
    """

    title = "Where, and how much, does a mask matter?"
    question = (
        "How far does the leading class's logit fall by the place and the size of one mask, and do the evidence maps of BagNets "
        "rank the places of an image as the attributions of each network do?"
    )
    paper = (
        "Networks, VGG-16 above all, are sensitive to the places that BagNets' maps mark; deeper networks are more "
        "robust to small masks (recalled; no numbers are known here)."
    )
    differs = (
        "Masks take the colour that a network's preprocessing makes zero. A change is in standard deviations of the image's "
        "logits, so that models can be compared; maps by the rank correlation of their means over cells."
    )
    sample = 100

    sides: tuple[int, ...] = (8, 16, 32)
    cell: int = 8
    methods: tuple[str, ...] = METHODS

    def __post_init__(self) -> None:
        check_methods(self.methods)
        if not self.sides or min(*self.sides, self.cell) < 1:
            raise ValueError(f"sides={self.sides}, cell={self.cell}: a mask has one pixel at least")

    def find(self, material: Material, work: Workplace) -> Findings:
        """As `Experiment.find`."""
        material = material.squares

        def measure(subject: Subject, row: int, x: Tensor) -> Mapping[str, Part | Failed]:
            return self._measure(material, subject, row, x)

        def parts(subject: Subject) -> list[str]:
            return [*map(_mask, self.sides), *(_pair(bag, method) for bag, method in self._pairs(material, subject))]

        rows = measured(work, material, material.ordered, parts, measure, _read)
        drops = [
            _drop(subject, side, of_side, material.seed)
            for subject in material.ordered
            for side in self.sides
            if (of_side := [row for row in rows.of(subject, _mask(side)) if isinstance(row, ImageDrops)])
        ]
        agreement = [
            Agreement(subject.name, bag, method, len(values), mean(values, material.seed))
            for subject in material.ordered
            for bag, method in self._pairs(material, subject)
            if (values := _correlations(rows, subject, bag, method))
        ]
        figures = {self.name: self._picture(material, drops)}
        if agreement:
            figures[f"{self.name}_maps"] = self._agreement(material, agreement)
        return Findings(Measures(drops, agreement), _sentences(drops, agreement), figures)

    def check(self, material: Material) -> None:
        """As `Experiment.check`. ValueError: an input that is not of one size, is smaller than a mask, or has not two cells."""
        super().check(material)
        material = material.squares
        for subject in material.ordered:
            side = subject.input_side
            if max(self.sides) > side:
                raise ValueError(f"sides={self.sides}: the input of {subject.name} has {side} px, less than such a mask")
            if self._pairs(material, subject):
                check_cells(self.cell, subject)

    def _pairs(self, material: Material, subject: Subject) -> list[tuple[str, str]]:
        """(a BagNet's name, a method) for each two of them, of a network that is no BagNet."""
        if subject.window is not None:
            return []
        return [(bag.name, method) for bag in material.bagnets for method in self.methods]

    def _measure(self, material: Material, subject: Subject, row: int, x: Tensor) -> dict[str, Part | Failed]:
        x = like_weights(x, subject.model)
        logits = subject.logits(x)[0].double()
        leading = int(logits.argmax())
        spread = float(logits.std())
        parts: dict[str, Part | Failed] = {}
        for side in self.sides:
            boxes = squares(side, *x.shape[2:])
            if subject.window is not None:
                after = occlude(subject.classifier, x, boxes, 0.0, [subject.columns[leading]])[:, 0].cpu()
            else:
                after = subject.logits_of_versions([masked(x, [box], "mean") for box in boxes])[:, leading]
            drops = (logits[leading] - after.double()) / spread
            name = str(material.classes[leading])
            parts[_mask(side)] = ImageDrops(name, float(drops.mean()), float(drops.max()), tuple(drops.tolist()))
        if subject.window is None and material.bagnets:
            parts |= self._ranked(material, subject, leading, row, x)
        return parts

    def _ranked(self, material: Material, subject: Subject, leading: int, row: int, x: Tensor) -> dict[str, Part | Failed]:
        maps = {bag.name: over_cells(bagnet_map(bag, leading, material, row, subject, x), self.cell) for bag in material.bagnets}
        parts: dict[str, Part | Failed] = {}
        for method in self.methods:
            try:
                values = over_cells(method_map(method, subject, leading, x, material, row, self.cell), self.cell)
            except NO_MAP as error:
                parts |= {_pair(bag, method): Failed(str(error)) for bag in maps}
                continue
            parts |= {_pair(bag, method): ImageAgreement(spearman(cells, values)) for bag, cells in maps.items()}
        return parts

    def _picture(self, material: Material, drops: Sequence[Drop]) -> Picture:
        """How much by size, and where by position."""
        subjects = [subject for subject in material.ordered if any(drop.model == subject.name for drop in drops)]
        middle = self.sides[len(self.sides) // 2]
        columns = min(4, len(subjects))
        lines = -(-len(subjects) // columns)
        figure, panels = side_by_side([4.4, 2.0 * columns], max(4.2, 1.0 + 2.4 * lines))
        axes = figure.add_subplot(panels[0])
        apart = 0.015 * (max(self.sides) - min(self.sides) or 1)  # so that bars do not hide one another
        colours = model_colours([subject.window for subject in subjects])
        for number, (subject, colour) in enumerate(zip(subjects, colours, strict=True)):
            of_model = [drop for drop in drops if drop.model == subject.name]
            at = [drop.side + apart * (number - (len(subjects) - 1) / 2) for drop in of_model]
            look: Any = {"color": colour, "marker": "o", "markersize": 4, "linewidth": 1.6, "capsize": 2}
            intervals(axes, at, [drop.largest for drop in of_model], label=abridged(subject.name, _NAME), **look)
        axes.set_xticks(list(self.sides))
        axes.set_ylim(bottom=0)
        labels(axes, "side of the mask, pixels of the input", "fall by the mask that matters most")
        panel_title(axes, "How much?")
        quiet_frame(axes, "y")
        grid = panels[1].subgridspec(lines, columns)
        for number, subject in enumerate(subjects):
            panel = figure.add_subplot(grid[number // columns, number % columns])
            values = np.array(next(drop for drop in drops if (drop.model, drop.side) == (subject.name, middle)).by_position)
            side = subject.input_side
            canvas = np.zeros((side, side, 3), np.uint8)
            limit = float(np.abs(values).max()) or 1.0
            for box, pixels in zip(squares(middle, side, side), coloured(values, limit), strict=True):
                canvas[box.slices] = pixels
            panel.imshow(canvas, interpolation="nearest")
            name = wrapped(subject.name, 1.65, 8, 2)
            panel.set_title(f"{name}\nat most {values.max():.2f}", fontsize=8, color=INK, loc="left")
            panel.set_axis_off()
        words = of_images(
            material.data,
            [drop.images for drop in drops],
            "falls in standard deviations of an image's logits",
            f"bars: {BOOTSTRAP}",
            f"maps: mean fall by a mask of {middle}\N{NO-BREAK SPACE}px at each place, red where the logit falls",
            "each in a scale of its own",
        )
        return finished(figure, self.title, words, [axes])

    def _agreement(self, material: Material, agreement: Sequence[Agreement]) -> Picture:
        """A panel a network, a bar for each method and BagNet."""
        networks = list(dict.fromkeys(pair.model for pair in agreement))
        bags = [bag.name for bag in material.bagnets]
        colours = model_colours([bag.window for bag in material.bagnets])
        methods = [method for method in self.methods if any(pair.method == method for pair in agreement)]
        columns = min(3, len(networks))
        lines = -(-len(networks) // columns)
        each = 1.0 + len(methods) * (0.16 + 0.14 * len(bags))
        figure, (whole,) = side_by_side([max(3.9 * columns, 6.4)], 0.8 + max(2.4, each) * lines)
        grid = whole.subgridspec(lines, columns)
        height = 0.8 / len(bags)
        look: Any = {"fmt": "none", "ecolor": SOFT, "elinewidth": 1, "capsize": 1.5}
        charts = []
        for number, network in enumerate(networks):
            axes = figure.add_subplot(grid[number // columns, number % columns])
            for index, (bag, colour) in enumerate(zip(bags, colours, strict=True)):
                pairs = [pair for pair in agreement if (pair.model, pair.map) == (network, bag)]
                at = [methods.index(pair.method) + (index - (len(bags) - 1) / 2) * height for pair in pairs]
                correlations = [pair.rank_correlation for pair in pairs]
                bars = axes.barh(at, [correlation.value for correlation in correlations], 0.9 * height, color=colour)
                bars.set_label(abridged(bag, _NAME))
                intervals(axes, at, correlations, across=True, **look)
            axes.axvline(0, color=INK, linewidth=0.8)
            axes.set_yticks(range(len(methods)), [title_of(method) for method in methods], fontsize=8)
            axes.set_ylim(len(methods) - 0.45, -0.55)
            panel_title(axes, abridged(network, 40))
            labels(axes, "Spearman's correlation over cells", "")
            quiet_frame(axes, "x")
            axes.tick_params(axis="y", length=0, labelcolor=INK)
            charts.append(axes)
        words = of_images(
            material.data,
            [pair.images for pair in agreement],
            f"rank correlation over the cells of {self.cell} px of an image, its mean over images; bars: {BOOTSTRAP}",
        )
        return finished(figure, "Do BagNets' maps and a network's own agree?", words, charts[:1])


def _mask(side: int) -> str:
    """Name of the rows that say what a mask does."""
    return f"mask {side}"


def _pair(bag: str, method: str) -> str:
    """Name of the rows that say how alike two maps are."""
    return f"{bag} | {method}"


def _read(row: Row) -> Part:
    return ImageDrops.of_row(row) if "drops" in row else ImageAgreement.of_row(row)


def _drop(subject: Subject, side: int, rows: Sequence[ImageDrops], seed: int) -> Drop:
    drops = np.array([row.drops for row in rows])
    largest = mean(drops.max(1), seed)
    return Drop(subject.name, side, len(rows), mean(drops.mean(1), seed), largest, drops.mean(0).tolist())


def _correlations(rows: Measurements[Part], subject: Subject, bag: str, method: str) -> list[float]:
    """Of each image for which there is one."""
    values = [row.rank_correlation for row in rows.of(subject, _pair(bag, method)) if isinstance(row, ImageAgreement)]
    return [value for value in values if not np.isnan(value)]


def _sentences(drops: Sequence[Drop], agreement: Sequence[Agreement]) -> list[str]:
    smallest = min(drop.side for drop in drops)
    words = "; ".join(f"{drop.model} {drop.largest.text(2)}" for drop in drops if drop.side == smallest)
    sentences = [f"The mask of {smallest} px that matters most lowers the leading logit by so many standard deviations: {words}."]
    for network in dict.fromkeys(pair.model for pair in agreement):
        best = max((pair for pair in agreement if pair.model == network), key=lambda pair: pair.rank_correlation.value)
        sentences.append(
            f"With {network}, the map of {best.map} agrees most with {title_of(best.method)}: rank correlation "
            f"{best.rank_correlation.text()} over {best.images:,} images."
        )
    return sentences
