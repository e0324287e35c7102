"""Where, and how much, does a mask matter? The change of a logit by place and size of a mask, and whose maps agree on that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...attribution.methods import NoFeatureMap, NotComplete
from ...attribution.rewrite import NotRewritable
from ...engine.inference import like_weights
from ...evidence.edits import occlude
from ...figures.charts import BOOTSTRAP, finished, of_images
from ...figures.colours import coloured
from ...figures.picture import Picture
from ...figures.style import INK, SOFT, abridged, labels, model_colours, panel_title, quiet_frame, side_by_side, wrapped
from ...geometry import squares
from ...runs.table import Row
from ...statistics import mean, spearman
from .experiment import Experiment, Findings, Workplace
from .maps import METHODS, bagnet_map, masked, method_map, over_cells, title_of
from .masking import input_side
from .measured import measured
from .subjects import Material, Subject

_BATCH = 64
_NAME = 44  # letters


@dataclass(frozen=True)
class Sensitivity(Experiment):
    """See `question`.

    Masks are the mean colour of the data, side by side; a change is in standard deviations of the image's logits.

    Args:
        sides: of the masks, in pixels of the network's input.
        cell: side of the cells on which maps are compared.
        methods: attribution methods on each network to compare BagNets' maps with.
    """

    name = "sensitivity"
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
    labels = False
    sample = 100

    sides: tuple[int, ...] = (8, 16, 32)
    cell: int = 8
    methods: tuple[str, ...] = METHODS

    def find(self, material: Material, work: Workplace) -> Findings:
        """As `Experiment.find`.

        Raises:
            ValueError: an unknown method; an input that is not of one size, is smaller than a mask, or has not two cells.
        """
        if unknown := [one for one in self.methods if one not in METHODS]:
            raise ValueError(f"methods={unknown[0]!r}: choose among {', '.join(METHODS)}")
        if not self.sides or min(*self.sides, self.cell) < 1:
            raise ValueError(f"sides={self.sides}, cell={self.cell}: a mask has one pixel at least")
        for subject in material.ordered:
            side = input_side(subject)
            if max(self.sides) > side:
                raise ValueError(f"sides={self.sides}: the input of {subject.name} has {side} px, less than such a mask")
            if self._pairs(material, subject) and len(squares(self.cell, side, side)) < 2:
                raise ValueError(f"cell={self.cell}: the input of {subject.name}, {side} px, has no two such cells")

        def measure(subject: Subject, row: int, x: Tensor) -> dict[str, Row]:
            return self._measure(material, subject, row, x)

        def parts(subject: Subject) -> list[str]:
            return [*(f"mask {side}" for side in self.sides), *self._pairs(material, subject)]

        rows = measured(work, material, material.ordered, parts, measure)
        drops = [
            self._drop(subject, side, chosen, material.seed)
            for subject in material.ordered
            for side in self.sides
            if (chosen := [row for row in rows if row["model"] == subject.name and row["part"] == f"mask {side}"])
        ]
        pairs = [
            {
                "model": subject.name,
                "map": part.split(" | ")[0],
                "method": part.split(" | ")[1],
                "images": len(values),
                "rank_correlation": mean(values, material.seed).to_dict(),
            }
            for subject in material.ordered
            for part in self._pairs(material, subject)
            if (values := _numbers(rows, subject.name, part))
        ]
        figures = {self.name: self._picture(material, drops)}
        if pairs:
            figures[f"{self.name}_maps"] = self._agreement(material, pairs)
        measures = {"drops": drops, "agreement": pairs}
        return Findings(measures, _sentences(drops, pairs), figures)

    def _pairs(self, material: Material, subject: Subject) -> list[str]:
        """A BagNet's name and a method's, for each of both, of a network that is no BagNet."""
        if subject.window is not None:
            return []
        return [f"{bag.name} | {method}" for bag in material.bagnets for method in self.methods]

    def _measure(self, material: Material, subject: Subject, row: int, x: Tensor) -> dict[str, Row]:
        x = like_weights(x, subject.model)
        logits = subject.logits(x)[0].double()
        leading = int(logits.argmax())
        spread = float(logits.std())
        found: dict[str, Row] = {}
        for side in self.sides:
            boxes = squares(side, *x.shape[2:])
            column = subject.columns[leading]
            if subject.window is not None:
                after = occlude(subject.model, x, boxes, 0.0, [column])[:, 0].cpu()
            else:
                images = torch.cat([masked(x, [box], "mean") for box in boxes])
                after = torch.cat([subject.logits(part)[:, leading] for part in torch.split(images, _BATCH)])
            falls = (logits[leading] - after.double()) / spread
            found[f"mask {side}"] = {
                "class": str(material.classes[leading]),
                "mean": float(falls.mean()),
                "largest": float(falls.max()),
                "falls": " ".join(f"{value:.5f}" for value in falls.tolist()),
            }
        if subject.window is None and material.bagnets:
            found |= self._ranked(material, subject, leading, row, x)
        return found

    def _ranked(self, material: Material, subject: Subject, leading: int, row: int, x: Tensor) -> dict[str, Row]:
        bags = {bag.name: over_cells(bagnet_map(bag, leading, material, row, subject, x), self.cell) for bag in material.bagnets}
        found: dict[str, Row] = {}
        for method in self.methods:
            try:
                values = over_cells(method_map(method, subject, leading, x, material, row, self.cell), self.cell)
            except (NoFeatureMap, NotComplete, NotRewritable) as error:
                found |= {f"{name} | {method}": {"error": str(error)} for name in bags}
                continue
            found |= {f"{name} | {method}": {"rank_correlation": spearman(own, values)} for name, own in bags.items()}
        return found

    def _drop(self, subject: Subject, side: int, rows: Sequence[dict[str, Any]], seed: int) -> dict[str, Any]:
        falls = np.array([[float(word) for word in row["falls"].split()] for row in rows])
        return {
            "model": subject.name,
            "side": side,
            "images": len(rows),
            "mean": mean(falls.mean(1), seed).to_dict(),
            "largest": mean(falls.max(1), seed).to_dict(),
            "by_place": falls.mean(0).tolist(),
        }

    def _picture(self, material: Material, drops: Sequence[dict[str, Any]]) -> Picture:
        """How much by size, and where by place."""
        subjects = [one for one in material.ordered if any(drop["model"] == one.name for drop in drops)]
        middle = self.sides[len(self.sides) // 2]
        columns = min(4, len(subjects))
        lines = -(-len(subjects) // columns)
        figure, panels = side_by_side([4.4, 2.0 * columns], max(4.2, 1.0 + 2.4 * lines))
        axes = figure.add_subplot(panels[0])
        apart = 0.015 * (max(self.sides) - min(self.sides) or 1)  # so that bars do not hide one another
        for place, (subject, colour) in enumerate(zip(subjects, model_colours([one.window for one in subjects]), strict=True)):
            own = [drop for drop in drops if drop["model"] == subject.name]
            values = np.array([[drop["largest"][name] for name in ("value", "low", "high")] for drop in own], float)
            sides = [drop["side"] + apart * (place - (len(subjects) - 1) / 2) for drop in own]
            look: Any = {"color": colour, "marker": "o", "markersize": 4, "linewidth": 1.6, "capsize": 2}
            bars = np.abs(values[:, 1:] - values[:, :1]).T
            axes.errorbar(sides, values[:, 0], bars, label=abridged(subject.name, _NAME), **look)
        axes.set_xticks(list(self.sides))
        axes.set_ylim(bottom=0)
        labels(axes, "side of the mask, pixels of the input", "fall by the mask that matters most")
        panel_title(axes, "How much?")
        quiet_frame(axes, "y")
        grid = panels[1].subgridspec(lines, columns)
        for place, subject in enumerate(subjects):
            panel = figure.add_subplot(grid[place // columns, place % columns])
            values = np.array(next(one for one in drops if one["model"] == subject.name and one["side"] == middle)["by_place"])
            side = input_side(subject)
            canvas = np.zeros((side, side, 3), np.uint8)
            limit = float(np.abs(values).max()) or 1.0
            for box, colours in zip(squares(middle, side, side), coloured(values, limit), strict=True):
                canvas[box.slices] = colours
            panel.imshow(canvas, interpolation="nearest")
            name = wrapped(subject.name, 1.65, 8, 2)
            panel.set_title(f"{name}\nat most {values.max():.2f}", fontsize=8, color=INK, loc="left")
            panel.set_axis_off()
        words = of_images(
            material.data,
            [drop["images"] for drop in drops],
            "falls in standard deviations of an image's logits",
            f"bars: {BOOTSTRAP}",
            f"maps: mean fall by a mask of {middle}\N{NO-BREAK SPACE}px at each place, red where the logit falls",
            "each in a scale of its own",
        )
        return finished(figure, self.title, words, [axes])

    def _agreement(self, material: Material, pairs: Sequence[dict[str, Any]]) -> Picture:
        """A panel a network, a bar for each method and BagNet."""
        networks = list(dict.fromkeys(one["model"] for one in pairs))
        bags = [one.name for one in material.bagnets]
        colours = model_colours([one.window for one in material.bagnets])
        methods = [one for one in self.methods if any(pair["method"] == one for pair in pairs)]
        columns = min(3, len(networks))
        lines = -(-len(networks) // columns)
        each = 1.0 + len(methods) * (0.16 + 0.14 * len(bags))
        figure, (whole,) = side_by_side([max(3.9 * columns, 6.4)], 0.8 + max(2.4, each) * lines)
        grid = whole.subgridspec(lines, columns)
        by_names = {(one["model"], one["map"], one["method"]): one["rank_correlation"] for one in pairs}
        height = 0.8 / len(bags)
        charts = []
        for place, network in enumerate(networks):
            axes = figure.add_subplot(grid[place // columns, place % columns])
            for number, (bag, colour) in enumerate(zip(bags, colours, strict=True)):
                there = [(line, by_names.get((network, bag, method))) for line, method in enumerate(methods)]
                at = [line + (number - (len(bags) - 1) / 2) * height for line, one in there if one is not None]
                found = [[one[name] for name in ("value", "low", "high")] for _, one in there if one is not None]
                values = np.array(found, float).reshape(-1, 3)
                errors: Any = np.abs(values[:, 1:] - values[:, :1]).T
                bars = axes.barh(at, values[:, 0], 0.9 * height, color=colour)
                bars.set_label(abridged(bag, _NAME))
                axes.errorbar(values[:, 0], at, xerr=errors, fmt="none", ecolor=SOFT, elinewidth=1, capsize=1.5)
            axes.axvline(0, color=INK, linewidth=0.8)
            axes.set_yticks(range(len(methods)), [title_of(one) for one in methods], fontsize=8)
            axes.set_ylim(len(methods) - 0.45, -0.55)
            panel_title(axes, abridged(network, 40))
            labels(axes, "Spearman's correlation over cells", "")
            quiet_frame(axes, "x")
            axes.tick_params(axis="y", length=0, labelcolor=INK)
            charts.append(axes)
        words = of_images(
            material.data,
            [one["images"] for one in pairs],
            f"rank correlation over the cells of {self.cell} px of an image, its mean over images; bars: {BOOTSTRAP}",
        )
        return finished(figure, "Do BagNets' maps and a network's own agree?", words, charts[:1])


def _numbers(rows: Sequence[dict[str, Any]], model: str, part: str) -> list[float]:
    found = (row["rank_correlation"] for row in rows if row["model"] == model and row["part"] == part)
    return [float(value) for value in found if not np.isnan(value)]


def _sentences(drops: Sequence[dict[str, Any]], pairs: Sequence[dict[str, Any]]) -> list[str]:
    smallest = min(drop["side"] for drop in drops)
    words = "; ".join(
        f"{drop['model']} {drop['largest']['value']:.2f} [{drop['largest']['low']:.2f}, {drop['largest']['high']:.2f}]"
        for drop in drops
        if drop["side"] == smallest
    )
    sentences = [f"The mask of {smallest} px that matters most lowers the leading logit by so many standard deviations: {words}."]
    for network in dict.fromkeys(one["model"] for one in pairs):
        best = max((one for one in pairs if one["model"] == network), key=lambda one: one["rank_correlation"]["value"])
        value = best["rank_correlation"]
        sentences.append(
            f"With {network}, the map of {best['map']} agrees most with {title_of(best['method'])}: rank correlation "
            f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}] over {best['images']:,} images."
        )
    return sentences
