"""Whose heat map finds the parts that matter? The leading class's probability as the cells that a map ranks first are masked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from torch import Tensor

from ...engine.inference import like_weights
from ...figures.charts import MARGIN, finished, labels, panel_title, quiet_frame, side_by_side
from ...figures.colours import GREY, SOFT, model_colours
from ...figures.picture import Picture
from ...figures.sheet import Sheet
from ...figures.words import BOOTSTRAP, abridged, of_images, wrapped
from ...geometry import squares
from ...runs.table import Row
from ...statistics import Estimate, mean
from .experiment import Experiment, Findings, Workplace
from .maps import METHODS, NO_MAP, PAPERS, bagnet_map, check_cells, check_methods, masked, method_map, over_cells, title_of
from .measured import Columns, Failed, measured
from .subjects import Material, Subject

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POINTS = 24  # of each curve, after the first
_DEEPEST = 0.5  # share of the cells that is masked in the end
_TABLE = 100 / 784  # share of the cells in the table: the paper's 100 of 28 x 28
_CHANCE = "random"
_NAME = 44  # letters
_ROW, _COLUMN = 0.23, 2.2  # of the table, in inches
FILLS = ("mean", "cell")


@dataclass(frozen=True)
class ImageCurve(Columns):
    """The leading class's probability for one image as its cells are masked.

    Args:
        class_: which leads.
        cells: of the image.
        probabilities: at each point of the curve; columns `p00`, `p01`, ...
    """

    class_: str
    cells: int
    probabilities: tuple[float, ...]

    def to_row(self) -> Row:
        """As `Columns.to_row`."""
        points = {f"p{point:02d}": value for point, value in enumerate(self.probabilities)}
        return {"class": self.class_, "cells": self.cells, **points}

    @classmethod
    def of_row(cls, row: Row) -> Self:
        """As `Columns.of_row`."""
        points = tuple(value for name, value in row.items() if name[:1] == "p" and name[1:].isdigit())
        return cls(row["class"], row["cells"], points)


@dataclass(frozen=True)
class Curve:
    """The leading class's probability over all images, as cells are masked in the order of a heat map."""

    model: str
    source: str  # of the heat map: a BagNet's name, a method, or "random"
    images: int
    cells: int  # of each
    masked: Sequence[int]  # how many of them, at each point
    mean: Sequence[Estimate]  # probability at each point
    table_cells: int  # how many are masked in the table
    table: Estimate
    table_values: Sequence[float]  # of each image
    area: Estimate  # mean probability over all points


@dataclass(frozen=True)
class Measures:
    """All that was measured."""

    cell: int
    fill: str
    curves: Sequence[Curve]
    left_out: Sequence[str]  # maps that cannot be made, as "method on model"
    unmeasured: Sequence[str]  # models of which no image could be measured

    def of(self, model: str) -> list[Curve]:
        """The curves of one model."""
        return [curve for curve in self.curves if curve.model == model]


@dataclass(frozen=True)
class Masking(Experiment):
    """See `question`.

    Args:
        cell: side of the cells, in pixels of the network's input.
        fill: what a masked cell becomes: "mean", the mean colour of the data, or "cell", its own.
        methods: attribution methods on the network itself to compare with.
    """

    title = "Whose heat map finds the parts that matter?"
    question = (
        "How fast does the probability of the leading class fall as cells are masked in the order in which a heat map ranks "
        "them? Heat maps of BagNets, which know nothing of the network, against methods that look into it, and a random order."
    )
    paper = (
        "Fig. 8 and Table 1: masking by BagNets' heat maps lowers the probability faster than by saliency, integrated gradients, "
        "epsilon-LRP and DeepLIFT of the network itself; VGG-16 is most affected (recalled, and a summary agrees; the values of "
        "Table 1 and what masks are filled with are not known here)."
    )
    differs = (
        "Cells are ranked by the mean of a map over each; in that of a network shown windows one at a time a pixel has the mean "
        "of the windows that hold it. Masked ones take the colour that a network's preprocessing makes "
        "zero, unless fill=cell. Integrated gradients take 100 steps from that colour, epsilon is 1e-4, occlusion paints the "
        "very cells. The probability is over the classes of the images alone. Grad-CAM, occlusion and chance are not in the "
        "paper, and occlusion measures nearly what is asked here."
    )
    sample = 100

    cell: int = 8
    fill: str = "mean"
    methods: tuple[str, ...] = METHODS

    def __post_init__(self) -> None:
        if self.fill not in FILLS:
            raise ValueError(f"fill={self.fill!r}: choose among {', '.join(FILLS)}")
        check_methods(self.methods)
        if self.cell < 1:
            raise ValueError(f"cell={self.cell}: a cell has one pixel at least")

    def find(self, material: Material, work: Workplace) -> Findings:
        """As `Experiment.find`."""
        material = material.squares
        targets, sources = _targets(material), self._sources(material)

        def measure(target: Subject, row: int, x: Tensor) -> Mapping[str, ImageCurve | Failed]:
            return self._measure(material, target, row, x)

        rows = measured(work, material, targets, lambda _: sources, measure, ImageCurve.of_row)
        curves = [
            _curve(target, source, chosen, material.seed)
            for target in targets
            for source in sources
            if (chosen := rows.of(target, source))
        ]
        drawn = {(curve.model, curve.source) for curve in curves}
        unmeasured = [target.name for target in targets if not any((target.name, source) in drawn for source in sources)]
        targets = tuple(target for target in targets if target.name not in unmeasured)
        left_out = [(source, target.name) for target in targets for source in sources if (target.name, source) not in drawn]
        measures = Measures(self.cell, self.fill, curves, [f"{source} on {name}" for source, name in left_out], unmeasured)
        sentences = [_sentence(material, target, measures.of(target.name)) for target in targets]
        if left_out:
            which = "; ".join(f"{title_of(source)} on {name}" for source, name in left_out)
            sentences.append(f"Left out, as the method's map did not add up or cannot be made: {which}.")
        sentences += [f"{name} is left out: it could be asked about none of the images." for name in unmeasured]
        return Findings(measures, sentences, self._figures(material, targets, measures))

    def check(self, material: Material) -> None:
        """As `Experiment.check`. ValueError: an input that is not of one size, or has not two cells."""
        super().check(material)
        material = material.squares
        for target in _targets(material):
            check_cells(self.cell, target)

    def _sources(self, material: Material) -> list[str]:
        """Heat maps of BagNets (of a BagNet itself, that of its own among them), methods on the network, and chance."""
        return [*(bag.name for bag in material.bagnets), *self.methods, _CHANCE]

    def _measure(self, material: Material, target: Subject, row: int, x: Tensor) -> dict[str, ImageCurve | Failed]:
        x = like_weights(x, target.model)
        boxes = squares(self.cell, *x.shape[2:])
        counts = _counts(len(boxes))
        logits = target.logits(x)[0]
        leading = int(logits.argmax())
        first = float(logits.softmax(0)[leading])
        bags = {bag.name: bag for bag in material.bagnets}
        curves: dict[str, ImageCurve | Failed] = {}
        for source in self._sources(material):
            try:
                if source in bags:
                    values = bagnet_map(bags[source], leading, material, row, target, x)
                else:
                    values = method_map(source, target, leading, x, material, row, self.cell)
            except NO_MAP as error:
                curves[source] = Failed(str(error))
                continue
            order = np.argsort(-over_cells(values, self.cell), kind="stable")
            versions = [masked(x, [boxes[cell] for cell in order[:count]], self.fill) for count in counts[1:]]
            after = target.logits_of_versions(versions).softmax(1)[:, leading]
            probabilities = tuple(round(value, 6) for value in (first, *after.tolist()))
            curves[source] = ImageCurve(str(material.classes[leading]), len(boxes), probabilities)
        return curves

    def _figures(self, material: Material, targets: Sequence[Subject], measures: Measures) -> dict[str, Picture]:
        fill = "the mean colour of the data" if self.fill == "mean" else "each its own mean colour"
        images = [curve.images for curve in measures.curves]
        words = of_images(material.data, images, f"cells of {self.cell} px; masked ones take {fill}")
        groups = self._groups(material, measures)
        names = [target.name for target in targets]
        return {
            self.name: self._curves(groups, names, measures, f"{words}; bands: {BOOTSTRAP}", self._colours(material)),
            f"{self.name}_table": _table(groups, names, measures, f"{words}; mean and {BOOTSTRAP}; the lowest in bold"),
        }

    def _groups(self, material: Material, measures: Measures) -> dict[str, list[str]]:
        """Title -> heat maps that were made, of what is drawn together; chance is alone."""
        groups = {
            "Heat maps of BagNets": [bag.name for bag in material.bagnets],
            "The paper's methods": [method for method in self.methods if method in PAPERS],
            "Further methods": [method for method in self.methods if method not in PAPERS],
            "Chance": [_CHANCE],
        }
        made = {curve.source for curve in measures.curves}
        kept = {title: [source for source in sources if source in made] for title, sources in groups.items()}
        return {title: sources for title, sources in kept.items() if sources}

    def _colours(self, material: Material) -> dict[str, str]:
        methods = dict(zip(METHODS, model_colours([None] * len(METHODS)), strict=True))
        names, windows = [bag.name for bag in material.bagnets], [bag.window for bag in material.bagnets]
        return {**methods, **dict(zip(names, model_colours(windows), strict=True)), _CHANCE: GREY}

    def _curves(
        self,
        groups: Mapping[str, Sequence[str]],
        models: Sequence[str],
        measures: Measures,
        words: str,
        colours: Mapping[str, str],
    ) -> Picture:
        """A row a network, a panel a group: its curves in colour and with bands before those of the others in grey."""
        titles = [title for title in groups if title != "Chance"] or ["Chance"]
        figure, (whole,) = side_by_side([max(3.7 * len(titles), 6.4)], 0.8 + 3.1 * len(models))
        grid = whole.subgridspec(len(models), len(titles))
        first: list[Axes] = []
        for line, model in enumerate(models):
            curves = measures.of(model)
            highest = 1.04 * max(point.high for curve in curves for point in curve.mean)
            for column, title in enumerate(titles):
                axes = figure.add_subplot(grid[line, column])
                for curve in curves:
                    if curve.source in groups[title] or curve.source == _CHANCE:
                        _draw(axes, curve, colours[curve.source])
                    else:
                        axes.plot(_shares(curve), [point.value for point in curve.mean], color=GREY, linewidth=0.8, alpha=0.5)
                panel_title(axes, f"{abridged(model, 38) if column == 0 else ''}\n{title}")
                labels(
                    axes,
                    "cells masked, per cent" if line == len(models) - 1 else "",
                    "probability of the leading class" if column == 0 else "",
                )
                axes.set_ylim(0, highest)
                axes.set_xlim(0, 100 * _DEEPEST)
                quiet_frame(axes, "y")
                first += [axes] if line == 0 else []
        return finished(figure, self.title, f"{words}; grey: all the others", first)


def _targets(material: Material) -> tuple[Subject, ...]:
    """The models that are asked: where no other is named, the BagNets themselves."""
    return material.networks or material.bagnets


def _counts(count: int) -> list[int]:
    """How many cells are masked at each point of a curve: none, then even steps to half of them, that of the table included."""
    steps = {round(_DEEPEST * count * point / _POINTS) for point in range(_POINTS + 1)}
    return sorted(steps | {max(1, round(_TABLE * count))})


def _curve(target: Subject, source: str, rows: Sequence[ImageCurve], seed: int) -> Curve:
    values = np.array([row.probabilities for row in rows], np.float64)
    cells = rows[0].cells
    counts = _counts(cells)
    tabled = int(np.argmin(np.abs(np.array(counts) - _TABLE * cells)))
    return Curve(
        target.name,
        source,
        len(rows),
        cells,
        counts,
        [mean(point, seed) for point in values.T],
        counts[tabled],
        mean(values[:, tabled], seed),
        values[:, tabled].tolist(),
        mean(values.mean(1), seed),
    )


def _shares(curve: Curve) -> list[float]:
    """Of the cells masked at each point, in per cent."""
    return [100 * count / curve.cells for count in curve.masked]


def _draw(axes: Axes, curve: Curve, colour: str) -> None:
    """A curve and its band; chance is dashed and has none."""
    chance = curve.source == _CHANCE
    look: Any = {"linestyle": (0, (3, 2)), "linewidth": 1.4} if chance else {"linewidth": 1.8}
    values, name = [point.value for point in curve.mean], abridged(title_of(curve.source), _NAME)
    axes.plot(_shares(curve), values, color=colour, label=name, **look)
    if not chance:
        low, high = [point.low for point in curve.mean], [point.high for point in curve.mean]
        axes.fill_between(_shares(curve), low, high, color=colour, alpha=0.12, linewidth=0)


def _table(groups: Mapping[str, Sequence[str]], models: Sequence[str], measures: Measures, words: str) -> Picture:
    """A row a heat map, a column a network; the lower the better the map."""
    lines = sum(len(sources) for sources in groups.values()) + 1.35 * len(groups)
    longest = max(len(abridged(title_of(source), _NAME)) for sources in groups.values() for source in sources)
    start = max(2 * MARGIN + 0.0675 * longest, 1.9)
    width = max(6.4, start + _COLUMN * len(models) + MARGIN)
    sheet = Sheet(width, 0.75 + _ROW * lines, "Probability that is left after masking", words)
    columns = [start + _COLUMN * column for column in range(len(models))]
    best = {model: _best(measures.of(model)) for model in models}
    for x, model in zip(columns, models, strict=True):
        name = wrapped(model, _COLUMN - 0.15, 8.5, 2)
        sheet.text(x, sheet.top + (0.1 if "\n" in name else 0.25), name, 8.5, fontweight="bold")
        counts = f"{best[model].table_cells} of {best[model].cells} cells masked"
        sheet.text(x, sheet.top + 0.42, counts, 8.5, color=SOFT)
    y = sheet.top + 0.75
    for title, sources in groups.items():
        sheet.text(MARGIN, y, title, 8.5, color=SOFT)
        y += 1.05 * _ROW
        for source in sources:
            sheet.text(2 * MARGIN, y, abridged(title_of(source), _NAME), 8.5)
            for x, model in zip(columns, models, strict=True):
                curve = next((curve for curve in measures.of(model) if curve.source == source), None)
                weight = "bold" if curve is best[model] else "normal"
                sheet.text(x, y, "not available" if curve is None else curve.table.text(), 8.5, fontweight=weight)
            y += _ROW
        y += 0.3 * _ROW
    return Picture(sheet.figure)


def _sentence(material: Material, target: Subject, curves: Sequence[Curve]) -> str:
    """Of one network: the best heat map of either kind, all others outside of the paper, and how the two compare."""
    bags = {bag.name for bag in material.bagnets}
    inside = [curve for curve in curves if curve.source in PAPERS]
    outside = [curve for curve in curves if curve.source in bags]
    chosen = [
        (_best(group), f" (best {kind})")
        for kind, group in (("BagNet's map", outside), ("of the paper's methods on the network itself", inside))
        if group
    ]
    chosen += [(curve, "") for curve in curves if curve.source not in PAPERS and curve.source not in bags]
    first = chosen[0][0]
    words = "; ".join(f"{title_of(curve.source)} {curve.table.text()}{what}" for curve, what in chosen)
    compared = _compared(_best(outside), _best(inside), material.seed) if inside and outside else ""
    return f"{target.name}, {first.table_cells} of {first.cells} cells masked: {words}.{compared}"


def _best(curves: Sequence[Curve]) -> Curve:
    return min(curves, key=lambda curve: curve.table.value)


def _compared(bagnets: Curve, methods: Curve, seed: int) -> str:
    """The best of both kinds, image by image."""
    if len(bagnets.table_values) != len(methods.table_values):
        return ""
    apart = mean(np.subtract(bagnets.table_values, methods.table_values), seed)
    words = "The best BagNet's less the best of the paper's methods, both chosen on these images"
    return f" {words}, image by image: {apart.text()}."
