"""Whose heat map finds the parts that matter? The leading class's probability as the cells that a map ranks first are masked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..attribution.methods import NoFeatureMap, NotComplete
from ..attribution.rewrite import NotRewritable
from ..batch.journal import Row
from ..chart_style import GREY, INK, SOFT, heading, labels, legend, model_colours, panel_title, quiet_frame, short, side_by_side
from ..evidence.explain import like_weights
from ..evidence.picture import Picture
from .experiment import Experiment, Findings
from .maps import METHODS, PAPERS, bagnet_map, cells, masked, method_map, over_cells, spoken
from .measured import measured
from .statistics import Estimate, mean
from .subjects import Material, Subject

_POINTS = 24  # of each curve, after the first
_DEEPEST = 0.5  # share of the cells that is masked in the end
_TABLE = 100 / 784  # share of the cells in the table: the paper's 100 of 28 x 28
_BATCH = 64
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

    def find(self, material: Material, folder: Path) -> Findings:
        """As `Experiment.find`. ValueError: an unknown method or fill, or cells larger than the input."""
        if self.fill not in FILLS:
            raise ValueError(f"fill={self.fill!r}: choose among {', '.join(FILLS)}")
        if unknown := [one for one in self.methods if one not in METHODS]:
            raise ValueError(f"methods={unknown[0]!r}: choose among {', '.join(METHODS)}")
        if self.cell < 1:
            raise ValueError(f"cell={self.cell}: a cell has one pixel at least")
        targets = material.networks or material.bagnets
        settings = {"cell": self.cell, "fill": self.fill}

        def measure(target: Subject, row: int, x: Tensor) -> dict[str, Row]:
            return self._measure(material, target, row, x)

        rows = measured(folder / f"{self.name}.csv", settings, material, targets, lambda _: self._sources(material), measure)
        found = [
            self._summary(target, source, chosen, material.seed)
            for target in targets
            for source in self._sources(material)
            if (chosen := [row for row in rows if row["model"] == target.name and row["part"] == source])
        ]
        left_out = [
            f"{source} on {target.name}"
            for target in targets
            for source in self._sources(material)
            if not any(one["model"] == target.name and one["source"] == source for one in found)
        ]
        measures = {"cell": self.cell, "fill": self.fill, "curves": found, "left_out": left_out}
        figures = {self.name: self._curves(material, targets, found), f"{self.name}_table": self._table(targets, found)}
        return Findings(measures, self._sentences(material, targets, found, left_out), figures)

    def _sources(self, material: Material) -> list[str]:
        """Heat maps of BagNets (of a BagNet itself, its own among them), methods on the network, and chance."""
        return [*(one.name for one in material.bagnets), *self.methods, "random"]

    def _measure(self, material: Material, target: Subject, row: int, x: Tensor) -> dict[str, Row]:
        x = like_weights(x, target.model)
        boxes = cells(self.cell, *x.shape[2:])
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

    def _curves(self, material: Material, targets: Sequence[Subject], found: Sequence[dict[str, Any]]) -> Picture:
        columns = min(3, len(targets))
        lines = -(-len(targets) // columns)
        figure, panels = side_by_side([max(4.4, 6.4 / columns)] * columns, 0.8 + 3.9 * lines)
        images = max(one["images"] for one in found)
        heading(figure, self.title, f"{material.data}, {images:,} images; bands: 95 % intervals; blue: heat maps of BagNets")
        looks = self._looks(material)
        grids = [panel.subgridspec(lines, 1) for panel in panels]
        for place, target in enumerate(targets):
            axes = figure.add_subplot(grids[place % columns][place // columns])
            for one in (one for one in found if one["model"] == target.name):
                shares = 100 * np.array(one["masked"]) / one["cells"]
                middle, low, high = (np.array([point[name] for point in one["mean"]]) for name in ("value", "low", "high"))
                axes.plot(shares, middle, label=short(spoken(one["source"]), 24), **looks[one["source"]])
                axes.fill_between(shares, low, high, color=looks[one["source"]]["color"], alpha=0.1, linewidth=0)
            panel_title(axes, short(target.name, 40))
            labels(axes, "cells masked, per cent", "probability of the leading class")
            axes.set_ylim(0, None)
            axes.set_xlim(0, 100 * _DEEPEST)
            quiet_frame(axes, "y")
            if place == 0:
                legend(axes)
        return Picture(figure)

    def _looks(self, material: Material) -> dict[str, dict[str, Any]]:
        bags = model_colours([one.window for one in material.bagnets])
        others = model_colours([None] * len(self.methods))
        looks: dict[str, dict[str, Any]] = {
            one.name: {"color": colour, "linewidth": 2.2} for one, colour in zip(material.bagnets, bags, strict=True)
        }
        looks |= {name: {"color": colour, "linewidth": 1.3} for name, colour in zip(self.methods, others, strict=True)}
        return {**looks, "random": {"color": GREY, "linewidth": 1.3, "linestyle": (0, (3, 2))}}

    def _table(self, targets: Sequence[Subject], found: Sequence[dict[str, Any]]) -> Picture:
        """A row a heat map, a column a network; the lower the better the map."""
        sources = list(dict.fromkeys(one["source"] for one in found))
        figure, panels = side_by_side([max(6.4, 2.6 + 1.9 * len(targets))], 1.55 + 0.34 * len(sources))
        cells_words = ", ".join(sorted({f"{one['table_cells']} of {one['cells']}" for one in found}))
        heading(figure, f"Probability left with {cells_words} cells masked", "mean and 95 % interval; the lowest of each in bold")
        axes = figure.add_subplot(panels[0])
        axes.set_axis_off()
        axes.set_xlim(0, 2.6 + 1.9 * len(targets))
        axes.set_ylim(len(sources) + 0.2, -1)
        for column, target in enumerate(targets):
            axes.text(2.6 + 1.9 * column, -0.5, short(target.name, 22), fontsize=8.5, color=SOFT, va="center")
            best = min((one for one in found if one["model"] == target.name), key=lambda one: one["table"]["value"])
            for line, source in enumerate(sources):
                one = next((one for one in found if (one["model"], one["source"]) == (target.name, source)), None)
                words = "not available" if one is None else _words(one["table"])
                weight = "bold" if one is best else "normal"
                axes.text(2.6 + 1.9 * column, line + 0.2, words, fontsize=8.5, color=INK, fontweight=weight, va="center")
        for line, source in enumerate(sources):
            axes.text(0, line + 0.2, short(spoken(source), 30), fontsize=8.5, color=INK, va="center")
        return Picture(figure)

    def _sentences(
        self, material: Material, targets: Sequence[Subject], found: Sequence[dict[str, Any]], left_out: Sequence[str]
    ) -> list[str]:
        sentences = []
        bags = {one.name for one in material.bagnets}
        for target in targets:
            own = {one["source"]: one for one in found if one["model"] == target.name}
            inside = [one for name, one in own.items() if name in PAPERS]
            further = [one for name, one in own.items() if name in METHODS and name not in PAPERS]
            outside = [one for name, one in own.items() if name in bags]
            words = f"{target.name}, {next(iter(own.values()))['table_cells']} cells masked: "
            words += "; ".join(
                f"{kind} {spoken(one['source'])} {_words(one['table'])}"
                for kind, group in (("best BagNet map", outside), ("best of the paper's methods on the network itself", inside))
                if group
                for one in [min(group, key=lambda one: one["table"]["value"])]
            )
            words += "".join(f"; {spoken(one['source'])} {_words(one['table'])}" for one in further)
            if "random" in own:
                words += f"; random order {_words(own['random']['table'])}"
            if inside and outside:
                words += f". {_compared(inside, outside, material.seed)}"
            sentences.append(f"{words.rstrip('.')}.")
        if left_out:
            sentences.append(f"Left out, as the method's map did not add up or cannot be made: {'; '.join(left_out)}.")
        return sentences


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
    return f"{words}, image by image: {apart.text()}"
