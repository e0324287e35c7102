"""How right is a bag of small windows? Accuracy against the side of the windows, beside networks that see everything (Fig. 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...evaluation.measures import rank_of_label
from ...figures.charts import finished, intervals, labels, panel_title, quiet_frame, side_by_side
from ...figures.colours import GREY, INK, PALE, model_colours
from ...figures.picture import Picture
from ...figures.words import WILSON, abridged, of_images
from ...statistics import Estimate, bootstrap
from .experiment import Experiment, Findings, Workplace
from .needs import Needs
from .scores import Accuracies, accuracies, all_scores
from .subjects import Material

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAME = 44  # letters
_FEW_BARS = 6  # there is room for at least
_MARKERS = "osDv^P"  # of BagNets with windows of one side


@dataclass(frozen=True)
class _OfModel:
    model: str
    window: int | None  # in pixels of the input; None where it sees the whole image
    side: int | None  # the shorter side of the input in pixels; None where images are taken as they are


@dataclass(frozen=True)
class ModelAccuracy(Accuracies, _OfModel):
    """How right one model is."""


@dataclass(frozen=True)
class Similarity:
    """How alike the logits of a BagNet and of a network are, over images and classes."""

    bagnet: str
    network: str
    correlation: Estimate


@dataclass(frozen=True)
class Measures:
    """All that was measured."""

    images: int
    models: Sequence[ModelAccuracy]
    correlations: Sequence[Similarity]


@dataclass(frozen=True)
class Accuracy(Experiment):
    """See `question`."""

    title = "How right is a bag of small windows?"
    question = (
        "How does accuracy grow with the side of the windows, how far is it from networks that see the whole image, and how "
        "alike are the logits?"
    )
    paper = (
        'Fig. 1, on ImageNet: "patch sizes as small as 17 x 17 pixels suffice to reach AlexNet performance (80.5% top-5 '
        'performance) while patches sizes 33 x 33 pixels suffice to reach close to 87.6%". The released weights of 9, 17 and '
        "33 px were measured by others at 46.4, 58.8 and 66.7 % top-1, 70.4, 81.2 and 87.0 % top-5. The correlation of the "
        "logits with VGG-16's is not known here."
    )
    differs = (
        "Models and images are those named. Answers are chosen among the classes of the images alone, and the logits of these "
        "compared."
    )
    needs = Needs(labels=True)

    def find(self, material: Material, work: Workplace) -> Findings:
        """As `Experiment.find`."""
        readable, logits = all_scores(material, work)
        shown = material.labels.numpy()[readable]
        ranks = {name: rank_of_label(values, shown) for name, values in logits.items()}
        models = [
            ModelAccuracy(
                model.name, model.window, model.shorter_side, *accuracies(ranks[model.name], len(material.classes), material.seed)
            )
            for model in material.ordered
        ]
        similarities = [
            Similarity(bag.name, network.name, _correlation(logits[bag.name], logits[network.name], material.seed))
            for bag in material.bagnets
            for network in material.networks
        ]
        names = [name for name, good in zip(material.images.names, readable, strict=True) if good]
        rows = [
            {"image": image, "label": str(material.classes[label]), **{f"rank {name}": int(ranks[name][row]) for name in ranks}}
            for row, (image, label) in enumerate(zip(names, shown.tolist(), strict=True))
        ]
        measures = Measures(len(shown), models, similarities)
        return Findings(measures, _sentences(material, measures), {self.name: self._picture(material, measures)}, rows)

    def _picture(self, material: Material, measures: Measures) -> Picture:
        """A panel for each of top-1 and top-5, and one for the correlations."""
        tops = list(measures.models[0].by_top)
        rows = len(material.networks) * (len(material.bagnets) + 1) if measures.correlations else 0
        widths = [3.6] * len(tops) + ([5.0] if measures.correlations else [])
        figure, panels = side_by_side(widths, max(4.3, 1.5 + 0.24 * rows))
        charts = [figure.add_subplot(panel) for panel in panels]
        for axes, top in zip(charts, tops, strict=False):
            _curve(axes, measures.models, [model.by_top[top] for model in measures.models])
            panel_title(axes, f"Top-{top} accuracy")
        highest = max(axes.get_ylim()[1] for axes in charts[: len(tops)])
        for axes in charts[: len(tops)]:
            axes.set_ylim(0, min(103.0, highest))  # a point at 100 is whole
        if measures.correlations:
            _correlations(charts[-1], measures.correlations)
        words = ["dashed: networks that see the whole image"] if material.networks else []
        words += [f"bars: {WILSON}", *(["of correlations, by the bootstrap"] if measures.correlations else [])]
        return finished(figure, self.title, of_images(material.data, measures.images, *words), charts[:1])


def _curve(axes: Axes, models: Sequence[ModelAccuracy], levels: Sequence[Estimate]) -> None:
    """Accuracy against the windows of BagNets; networks that see everything as lines, their intervals at the right."""
    sides, unit = _sides(models)
    first, last = (min(sides), max(sides)) if sides else (0, 0)
    step = max(2.0, 0.09 * (last - first))
    if len(set(sides)) == len(sides):  # of several of one side there is no one curve
        axes.plot(sides, [100 * level.value for level in levels[: len(sides)]], color=GREY, linewidth=1.2)
    colours = model_colours([model.window for model in models])
    for number, (model, level, colour) in enumerate(zip(models, levels, colours, strict=True)):
        twins = sides[:number].count(sides[number]) if number < len(sides) else 0  # of the same side
        at = sides[number] + 0.2 * step * twins if number < len(sides) else last + (number - len(sides) + 1) * step
        look: Any = {"color": colour, "label": abridged(model.model, _NAME), "capsize": 3, "linewidth": 1.4, "markersize": 6}
        intervals(axes, [at], [level], factor=100, marker=_MARKERS[twins % len(_MARKERS)], **look)
        if model.window is None:
            axes.axhline(100 * level.value, color=colour, linewidth=1.1, linestyle=(0, (4, 2)), zorder=1)
    axes.set_xticks(sorted(set(sides)))
    axes.set_xlim(first - step, last + (len(models) - len(sides) + 1) * step)
    labels(axes, f"side of the windows, {unit}" if sides else "", "images that are right, per cent")
    quiet_frame(axes, "y")


def _sides(models: Sequence[ModelAccuracy]) -> tuple[list[float], str]:
    """Of the windows of the BagNets, which come first; pixels of inputs of several sizes cannot be compared."""
    bags = [(model.window, model.side) for model in models if model.window is not None]
    if len({side for _, side in bags}) <= 1 or any(side is None for _, side in bags):
        return [float(window) for window, _ in bags], "pixels of the input"
    return [round(100 * window / (side or 1), 1) for window, side in bags], "per cent of the input's"


def _correlations(axes: Axes, similarities: Sequence[Similarity]) -> None:
    """A group of bars for each network, one for each BagNet, with their names beside them."""
    names: dict[float, str] = {}
    networks = list(dict.fromkeys(similarity.network for similarity in similarities))
    for line, network in enumerate(networks):
        group = [similarity for similarity in similarities if similarity.network == network]
        start = line * (len(group) + 1.25)
        axes.text(0.01, start, f"with {abridged(network, _NAME)}", fontsize=8.5, fontweight="bold", color=INK, va="center")
        for at, similarity in enumerate(group, 1):
            axes.barh(start + at, similarity.correlation.value, 0.72, color=PALE)
            intervals(axes, [start + at], [similarity.correlation], across=True, color=GREY, capsize=2)
            axes.text(0.01, start + at, f"{similarity.correlation.value:.3f}", fontsize=8, color=INK, va="center")
            names[start + at] = abridged(similarity.bagnet, 34)
    axes.set_yticks(list(names), list(names.values()))
    axes.set_ylim(max(*names, _FEW_BARS) + 0.7, -0.7)
    axes.set_xlim(min(0.0, 1.1 * min(similarity.correlation.low for similarity in similarities)), 1)
    panel_title(axes, "How alike are the logits?")
    labels(axes, "Pearson's correlation, over images and classes", "")
    quiet_frame(axes, "x")
    axes.tick_params(axis="y", length=0, labelcolor=INK)


def _correlation(first: NDArray[np.float32], second: NDArray[np.float32], seed: int) -> Estimate:
    """Of two models' logits over all images and classes; the interval is over images."""
    a, b = first.astype(np.float64), second.astype(np.float64)
    sums = np.stack([a.mean(1), b.mean(1), (a * a).mean(1), (b * b).mean(1), (a * b).mean(1)], 1)

    def statistic(rows: NDArray[np.float64]) -> float:
        x, y, xx, yy, xy = rows.mean(0)
        return float((xy - x * y) / np.sqrt((xx - x * x) * (yy - y * y)))

    return bootstrap(sums, statistic, seed)


def _sentences(material: Material, measures: Measures) -> list[str]:
    def of(model: ModelAccuracy) -> str:
        return f"{model.model} " + ", ".join(f"{level.text(1, 100)} % top-{top}" for top, level in model.by_top.items())

    words = "; ".join(map(of, measures.models))
    sentences = [f"Over {measures.images:,} images of {len(material.classes)} classes: {words}."]
    if measures.correlations:
        most = max(measures.correlations, key=lambda similarity: similarity.correlation.value)
        sentences.append(
            f"The logits most alike are those of {most.bagnet} and {most.network}: correlation {most.correlation.text()}."
        )
    return sentences
