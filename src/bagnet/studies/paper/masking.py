"""Whose heat map finds the parts that matter? The leading class's probability as the cells that a map ranks first are masked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ...attribution.methods import NoFeatureMap, NotComplete
from ...attribution.rewrite import NotRewritable
from ...engine.inference import like_weights
from ...figures.charts import BOOTSTRAP, finished, of_images
from ...figures.picture import Picture
from ...figures.sheet import Sheet
from ...figures.style import GREY, MARGIN, SOFT, abridged, labels, model_colours, panel_title, quiet_frame, side_by_side, wrapped
from ...geometry import squares
from ...runs.table import Row
from ...statistics import Estimate, mean
from .experiment import Experiment, Findings, Workplace
from .maps import METHODS, PAPERS, bagnet_map, masked, method_map, over_cells, title_of
from .measured import measured
from .subjects import Material, Subject

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POINTS = 24  # of each curve, after the first
_DEEPEST = 0.5  # share of the cells that is masked in the end
_TABLE = 100 / 784  # share of the cells in the table: the paper's 100 of 28 x 28
_BATCH = 64
_CHANCE = "random"
_NAME = 44  # letters
_ROW, _COLUMN = 0.23, 2.2  # of the table, in inches
FILLS = ("mean", "cell")


@dataclass(frozen=True)
class Masking(Experiment):
    """See `question`.

    Args:
        cell: side of the cells, in pixels of the network's input.
        fill: what a masked cell becomes: "mean", the mean colour of the data, or "cell", its own.
        methods: attribution methods on the network itself to compare with.
    """

    name = "masking"
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
        "Cells are ranked by the mean of a map over each. Masked ones take the colour that a network's preprocessing makes "
        "zero, unless fill=cell. Integrated gradients take 100 steps from that colour, epsilon is 1e-4, occlusion paints the "
        "very cells. The probability is over the classes of the images alone. Grad-CAM, occlusion and chance are not in the "
        "paper, and occlusion measures nearly what is asked here."
    )
    labels = False
    sample = 100

    cell: int = 8
    fill: str = "mean"
    methods: tuple[str, ...] = METHODS

    def find(self, material: Material, work: Workplace) -> Findings:
        """As `Experiment.find`.

        Raises:
            ValueError: an unknown method or fill; an input that is not of one size, or has not two cells.
        """
        if self.fill not in FILLS:
            raise ValueError(f"fill={self.fill!r}: choose among {', '.join(FILLS)}")
        if unknown := [one for one in self.methods if one not in METHODS]:
            raise ValueError(f"methods={unknown[0]!r}: choose among {', '.join(METHODS)}")
        if self.cell < 1:
            raise ValueError(f"cell={self.cell}: a cell has one pixel at least")
        targets = material.networks or material.bagnets
        for target in targets:
            side = input_side(target)
            if len(squares(self.cell, side, side)) < 2:
                raise ValueError(f"cell={self.cell}: the input of {target.name}, {side} px, has no two such cells")

        def measure(target: Subject, row: int, x: Tensor) -> dict[str, Row]:
            return self._measure(material, target, row, x)

        rows = measured(work, material, targets, lambda _: self._sources(material), measure)
        found = [
            self._summary(target, source, chosen, material.seed)
            for target in targets
            for source in self._sources(material)
            if (chosen := [row for row in rows if row["model"] == target.name and row["part"] == source])
        ]
        unmeasured = [target.name for target in targets if all(one["model"] != target.name for one in found)]
        targets = tuple(target for target in targets if target.name not in unmeasured)
        left_out = [
            (source, target.name)
            for target in targets
            for source in self._sources(material)
            if not any((one["model"], one["source"]) == (target.name, source) for one in found)
        ]
        measures = {
            "cell": self.cell,
            "fill": self.fill,
            "curves": found,
            "left_out": [f"{source} on {name}" for source, name in left_out],
            "unmeasured": unmeasured,
        }
        sentences = self._sentences(material, targets, found)
        if left_out:
            which = "; ".join(f"{title_of(source)} on {name}" for source, name in left_out)
            sentences.append(f"Left out, as the method's map did not add up or cannot be made: {which}.")
        sentences += [f"{name} is left out: it could be asked about none of the images." for name in unmeasured]
        return Findings(measures, sentences, self._figures(material, targets, found))

    def _sources(self, material: Material) -> list[str]:
        """Heat maps of BagNets (of a BagNet itself, its own among them), methods on the network, and chance."""
        return [*(one.name for one in material.bagnets), *self.methods, _CHANCE]

    def _measure(self, material: Material, target: Subject, row: int, x: Tensor) -> dict[str, Row]:
        x = like_weights(x, target.model)
        boxes = squares(self.cell, *x.shape[2:])
        counts = _counts(len(boxes))
        logits = target.logits(x)[0]
        leading = int(logits.argmax())
        first = float(logits.softmax(0)[leading])
        bags = {one.name: one for one in material.bagnets}
        found: dict[str, Row] = {}
        for source in self._sources(material):
            try:
                if source in bags:
                    values = bagnet_map(bags[source], leading, material, row, target, x)
                else:
                    values = method_map(source, target, leading, x, material, row, self.cell)
            except (NoFeatureMap, NotComplete, NotRewritable) as error:
                found[source] = {"error": str(error)}
                continue
            order = np.argsort(-over_cells(values, self.cell), kind="stable")
            images = [masked(x, [boxes[place] for place in order[:count]], self.fill) for count in counts[1:]]
            after = torch.cat([target.logits(torch.cat(images[at : at + _BATCH])) for at in range(0, len(images), _BATCH)])
            curve = [first, *after.softmax(1)[:, leading].tolist()]
            found[source] = {
                "class": str(material.classes[leading]),
                "cells": len(boxes),
                **{f"p{place:02d}": round(value, 6) for place, value in enumerate(curve)},
            }
        return found

    def _summary(self, target: Subject, source: str, rows: Sequence[Mapping[str, Any]], seed: int) -> dict[str, Any]:
        points = [name for name in rows[0] if name[:1] == "p" and name[1:].isdigit()]
        curves = np.array([[row[name] for name in points] for row in rows], np.float64)
        count = int(rows[0]["cells"])
        counts = _counts(count)
        place = int(np.argmin(np.abs(np.array(counts) - _TABLE * count)))
        return {
            "model": target.name,
            "source": source,
            "images": len(rows),
            "cells": count,
            "masked": counts,
            "mean": [mean(values, seed).to_dict() for values in curves.T],
            "table_cells": counts[place],
            "table": mean(curves[:, place], seed).to_dict(),
            "table_values": [round(value, 6) for value in curves[:, place].tolist()],
            "area": mean(curves.mean(1), seed).to_dict(),
        }

    def _figures(self, material: Material, targets: Sequence[Subject], found: Sequence[dict[str, Any]]) -> dict[str, Picture]:
        sizes = [one["images"] for one in found]
        fill = "the mean colour of the data" if self.fill == "mean" else "each its own mean colour"
        words = of_images(material.data, sizes, f"cells of {self.cell} px; masked ones take {fill}")
        groups = self._groups(material, found)
        return {
            self.name: self._curves(groups, targets, found, f"{words}; bands: {BOOTSTRAP}", self._colours(material)),
            f"{self.name}_table": self._table(groups, targets, found, f"{words}; mean and {BOOTSTRAP}; the lowest in bold"),
        }

    def _groups(self, material: Material, found: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
        """Title -> heat maps that are there, of what is drawn together; chance is alone."""
        there = {one["source"] for one in found}
        groups = {
            "Heat maps of BagNets": [one.name for one in material.bagnets],
            "The paper's methods": [one for one in self.methods if one in PAPERS],
            "Further methods": [one for one in self.methods if one not in PAPERS],
            "Chance": [_CHANCE],
        }
        kept = {title: [one for one in sources if one in there] for title, sources in groups.items()}
        return {title: sources for title, sources in kept.items() if sources}

    def _colours(self, material: Material) -> dict[str, str]:
        bags = model_colours([one.window for one in material.bagnets])
        others = model_colours([None] * len(METHODS))
        names = [one.name for one in material.bagnets]
        return {**dict(zip(METHODS, others, strict=True)), **dict(zip(names, bags, strict=True)), _CHANCE: GREY}

    def _curves(
        self,
        groups: Mapping[str, Sequence[str]],
        targets: Sequence[Subject],
        found: Sequence[Mapping[str, Any]],
        words: str,
        colours: Mapping[str, str],
    ) -> Picture:
        """A row a network, a panel a group: its curves in colour and with bands before those of the others in grey."""
        drawn = [title for title in groups if title != "Chance"] or ["Chance"]
        figure, (whole,) = side_by_side([max(3.7 * len(drawn), 6.4)], 0.8 + 3.1 * len(targets))
        grid = whole.subgridspec(len(targets), len(drawn))
        first: list[Axes] = []
        for line, target in enumerate(targets):
            own = [one for one in found if one["model"] == target.name]
            highest = 1.04 * max(point["high"] for one in own for point in one["mean"])
            for column, title in enumerate(drawn):
                axes = figure.add_subplot(grid[line, column])
                for one in own:
                    if one["source"] in groups[title] or one["source"] == _CHANCE:
                        _draw(axes, one, colours[one["source"]])
                    else:
                        axes.plot(*_line(one), color=GREY, linewidth=0.8, alpha=0.5)
                panel_title(axes, f"{abridged(target.name, 38) if column == 0 else ''}\n{title}")
                labels(
                    axes,
                    "cells masked, per cent" if line == len(targets) - 1 else "",
                    "probability of the leading class" if column == 0 else "",
                )
                axes.set_ylim(0, highest)
                axes.set_xlim(0, 100 * _DEEPEST)
                quiet_frame(axes, "y")
                first += [axes] if line == 0 else []
        return finished(figure, self.title, f"{words}; grey: all the others", first)

    def _table(
        self,
        groups: Mapping[str, Sequence[str]],
        targets: Sequence[Subject],
        found: Sequence[Mapping[str, Any]],
        words: str,
    ) -> Picture:
        """A row a heat map, a column a network; the lower the better the map."""
        lines = sum(len(sources) for sources in groups.values()) + 1.35 * len(groups)
        start = 2 * MARGIN + 0.0675 * max(len(abridged(title_of(one), _NAME)) for group in groups.values() for one in group)
        start = max(start, 1.9)
        width = max(6.4, start + _COLUMN * len(targets) + MARGIN)
        sheet = Sheet(width, 0.75 + _ROW * lines, "Probability that is left after masking", words)
        columns = [start + _COLUMN * place for place in range(len(targets))]
        by_pair = {(one["model"], one["source"]): one for one in found}
        best = {}
        for x, target in zip(columns, targets, strict=True):
            own = [one for one in found if one["model"] == target.name]
            best[target.name] = min(own, key=lambda one: float(one["table"]["value"]))
            name = wrapped(target.name, _COLUMN - 0.15, 8.5, 2)
            sheet.text(x, sheet.top + (0.1 if "\n" in name else 0.25), name, 8.5, fontweight="bold")
            counts = f"{own[0]['table_cells']} of {own[0]['cells']} cells masked"
            sheet.text(x, sheet.top + 0.42, counts, 8.5, color=SOFT)
        y = sheet.top + 0.75
        for title, sources in groups.items():
            sheet.text(MARGIN, y, title, 8.5, color=SOFT)
            y += 1.05 * _ROW
            for source in sources:
                sheet.text(2 * MARGIN, y, abridged(title_of(source), _NAME), 8.5)
                for x, target in zip(columns, targets, strict=True):
                    one = by_pair.get((target.name, source))
                    weight = "bold" if one is not None and one is best[target.name] else "normal"
                    value = "not available" if one is None else _words(one["table"])
                    sheet.text(x, y, value, 8.5, fontweight=weight)
                y += _ROW
            y += 0.3 * _ROW
        return Picture(sheet.figure)

    def _sentences(self, material: Material, targets: Sequence[Subject], found: Sequence[dict[str, Any]]) -> list[str]:
        """Of each network: the best heat map of either kind, all others outside of the paper, and how the two compare."""
        sentences = []
        bags = {one.name for one in material.bagnets}
        for target in targets:
            own = {one["source"]: one for one in found if one["model"] == target.name}
            inside = [one for name, one in own.items() if name in PAPERS]
            outside = [one for name, one in own.items() if name in bags]
            chosen = [
                (min(group, key=lambda one: float(one["table"]["value"])), f" (best {kind})")
                for kind, group in (("BagNet's map", outside), ("of the paper's methods on the network itself", inside))
                if group
            ]
            chosen += [(one, "") for name, one in own.items() if name not in PAPERS and name not in bags]
            cells_masked = chosen[0][0]["table_cells"]
            words = "; ".join(f"{title_of(one['source'])} {_words(one['table'])}{what}" for one, what in chosen)
            compared = _compared(inside, outside, material.seed) if inside and outside else ""
            sentences.append(f"{target.name}, {cells_masked} of {chosen[0][0]['cells']} cells masked: {words}.{compared}")
        return sentences


def _line(one: Mapping[str, Any], which: str = "value") -> tuple[Any, Any]:
    """(per cent of the cells masked, the probability then)"""
    return 100 * np.array(one["masked"]) / one["cells"], np.array([point[which] for point in one["mean"]])


def _draw(axes: Axes, one: Mapping[str, Any], colour: str) -> None:
    """A curve and its band; chance is dashed and has none."""
    chance = one["source"] == _CHANCE
    look: Any = {"linestyle": (0, (3, 2)), "linewidth": 1.4} if chance else {"linewidth": 1.8}
    axes.plot(*_line(one), color=colour, label=abridged(title_of(one["source"]), _NAME), **look)
    if not chance:
        shares, low = _line(one, "low")
        axes.fill_between(shares, low, _line(one, "high")[1], color=colour, alpha=0.12, linewidth=0)


def input_side(subject: Subject) -> int:
    """Side of what a model takes, in pixels. ValueError: it takes images as they are, whose cells are not the same ones."""
    if subject.transform.crop is None:
        raise ValueError(f"{subject.name} takes images of any size: masks on them cannot be compared by place")
    return subject.transform.crop


def _counts(count: int) -> list[int]:
    """How many cells are masked at each point of a curve: none, then even steps to half of them, that of the table included."""
    steps = {round(_DEEPEST * count * place / _POINTS) for place in range(_POINTS + 1)}
    return sorted(steps | {max(1, round(_TABLE * count))})


def _words(estimate: Mapping[str, float]) -> str:
    return f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"


def _compared(inside: Sequence[dict[str, Any]], outside: Sequence[dict[str, Any]], seed: int) -> str:
    """The best of both kinds, image by image."""
    one, other = (min(group, key=lambda entry: entry["table"]["value"]) for group in (outside, inside))
    if len(one["table_values"]) != len(other["table_values"]):
        return ""
    apart: Estimate = mean(np.subtract(one["table_values"], other["table_values"]), seed)
    words = "The best BagNet's less the best of the paper's methods, both chosen on these images"
    return f" {words}, image by image: {apart.text()}."
