"""How right is a bag of small windows? Accuracy against the side of the windows, beside networks that see everything (Fig. 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...evaluation.evaluate import rank_of_label
from ...figures.charts import WILSON, finished, of_images
from ...figures.picture import Picture
from ...figures.style import GREY, INK, PALE, abridged, labels, model_colours, panel_title, quiet_frame, side_by_side
from ...statistics import Estimate, bootstrap, mean
from .experiment import Experiment, Findings, Workplace
from .scores import all_scores
from .subjects import Material

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TOPS = (1, 5)
_NAME = 44  # letters
_FEW_BARS = 6  # there is room for at least
_MARKERS = "osDv^P"  # of BagNets with windows of one side


@dataclass(frozen=True)
class Accuracy(Experiment):
    """See `question`."""

    name = "accuracy"
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

    def find(self, material: Material, work: Workplace) -> Findings:
        """As `Experiment.find`."""
        readable, logits = all_scores(material, work)
        shown = material.labels.numpy()[readable]
        ranks = {name: rank_of_label(values, shown) for name, values in logits.items()}
        right = {
            one.name: {top: mean(ranks[one.name] < top, material.seed) for top in _TOPS if top < len(material.classes)}
            for one in material.ordered
        }
        alike = {
            (bag.name, other.name): _alike(logits[bag.name], logits[other.name], material.seed)
            for bag in material.bagnets
            for other in material.networks
        }
        names = [name for name, good in zip(material.images.names, readable, strict=True) if good]
        rows = [
            {"image": image, "label": str(material.classes[label]), **{f"rank {name}": int(ranks[name][row]) for name in ranks}}
            for row, (image, label) in enumerate(zip(names, shown.tolist(), strict=True))
        ]
        measures = {
            "images": len(shown),
            "models": [
                {
                    "model": one.name,
                    "window": one.window,
                    **{f"top{top}": found.to_dict() for top, found in right[one.name].items()},
                }
                for one in material.ordered
            ],
            "correlations": [
                {"bagnet": bag, "network": other, "correlation": found.to_dict()} for (bag, other), found in alike.items()
            ],
        }
        figure = self._picture(material, len(shown), right, alike)
        return Findings(measures, _sentences(material, len(shown), right, alike), {self.name: figure}, rows)

    def _picture(
        self,
        material: Material,
        images: int,
        right: Mapping[str, Mapping[int, Estimate]],
        alike: Mapping[tuple[str, str], Estimate],
    ) -> Picture:
        """A panel for each of top-1 and top-5, and one for the correlations."""
        tops = [top for top in _TOPS if any(top in found for found in right.values())]
        rows = len(material.networks) * (len(material.bagnets) + 1) if alike else 0
        figure, panels = side_by_side([3.6] * len(tops) + ([5.0] if alike else []), max(4.3, 1.5 + 0.24 * rows))
        charts = [figure.add_subplot(panel) for panel in panels]
        for axes, top in zip(charts, tops, strict=False):
            _curve(axes, material, {name: found[top] for name, found in right.items()})
            panel_title(axes, f"Top-{top} accuracy")
        highest = max(axes.get_ylim()[1] for axes in charts[: len(tops)])
        for axes in charts[: len(tops)]:
            axes.set_ylim(0, min(103.0, highest))  # a point at 100 is whole
        if alike:
            _correlations(charts[-1], material, alike)
        words = ["dashed: networks that see the whole image"] if material.networks else []
        words += [f"bars: {WILSON}", *(["of correlations, by the bootstrap"] if alike else [])]
        return finished(figure, self.title, of_images(material.data, images, *words), charts[:1])


def _curve(axes: Axes, material: Material, found: Mapping[str, Estimate]) -> None:
    """Accuracy against the windows of BagNets; networks that see everything as lines, their intervals at the right."""
    models = material.ordered
    sides = [one.window or 0 for one in material.bagnets]
    first, last = (min(sides), max(sides)) if sides else (0, 0)
    step = max(2.0, 0.09 * (last - first))
    if len(set(sides)) == len(sides):  # of several of one side there is no one curve
        axes.plot(sides, [100 * found[one.name].value for one in material.bagnets], color=GREY, linewidth=1.2)
    for place, (one, colour) in enumerate(zip(models, model_colours([one.window for one in models]), strict=True)):
        level = found[one.name]
        twins = sides[:place].count(one.window or 0)  # of the same side, and thus the same colour
        at = last + (place - len(sides) + 1) * step if one.window is None else one.window + 0.2 * step * twins
        bars = 100 * np.array([[level.value - level.low], [level.high - level.value]])
        look: Any = {"color": colour, "label": abridged(one.name, _NAME), "capsize": 3, "linewidth": 1.4, "markersize": 6}
        axes.errorbar(at, 100 * level.value, np.abs(bars), marker=_MARKERS[twins % len(_MARKERS)], **look)
        if one.window is None:
            axes.axhline(100 * level.value, color=colour, linewidth=1.1, linestyle=(0, (4, 2)), zorder=1)
    axes.set_xticks(sorted(set(sides)))
    axes.set_xlim(first - step, last + (len(material.networks) + 1) * step)
    labels(axes, "side of the windows, pixels of the input" if sides else "", "images that are right, per cent")
    quiet_frame(axes, "y")


def _correlations(axes: Axes, material: Material, alike: Mapping[tuple[str, str], Estimate]) -> None:
    """A group of bars for each network, one for each BagNet, with their names beside them."""
    names: dict[float, str] = {}
    for line, other in enumerate(material.networks):
        start = line * (len(material.bagnets) + 1.25)
        axes.text(0.01, start, f"with {abridged(other.name, _NAME)}", fontsize=8.5, fontweight="bold", color=INK, va="center")
        for at, bag in enumerate(material.bagnets, 1):
            found = alike[bag.name, other.name]
            axes.barh(start + at, found.value, 0.72, color=PALE)
            bars = np.abs([[found.value - found.low], [found.high - found.value]])
            axes.errorbar(found.value, start + at, xerr=bars, color=GREY, capsize=2)
            axes.text(0.01, start + at, f"{found.value:.3f}", fontsize=8, color=INK, va="center")
            names[start + at] = abridged(bag.name, 34)
    axes.set_yticks(list(names), list(names.values()))
    axes.set_ylim(max(*names, _FEW_BARS) + 0.7, -0.7)
    axes.set_xlim(min(0.0, 1.1 * min(found.low for found in alike.values())), 1)
    panel_title(axes, "How alike are the logits?")
    labels(axes, "Pearson's correlation, over images and classes", "")
    quiet_frame(axes, "x")
    axes.tick_params(axis="y", length=0, labelcolor=INK)


def _alike(first: NDArray[np.float32], second: NDArray[np.float32], seed: int) -> Estimate:
    """Correlation of two models' logits over all images and classes; the interval is over images."""
    one, other = first.astype(np.float64), second.astype(np.float64)
    sums = np.stack([one.mean(1), other.mean(1), (one * one).mean(1), (other * other).mean(1), (one * other).mean(1)], 1)

    def statistic(rows: NDArray[np.float64]) -> float:
        x, y, xx, yy, xy = rows.mean(0)
        return float((xy - x * y) / np.sqrt((xx - x * x) * (yy - y * y)))

    return bootstrap(sums, statistic, seed)


def _sentences(
    material: Material,
    images: int,
    right: Mapping[str, Mapping[int, Estimate]],
    alike: Mapping[tuple[str, str], Estimate],
) -> Sequence[str]:
    def of(name: str) -> str:
        return f"{name} " + ", ".join(f"{found.text(1, 100)} % top-{top}" for top, found in right[name].items())

    words = "; ".join(of(one.name) for one in material.ordered)
    found = [f"Over {images:,} images of {len(material.classes)} classes: {words}."]
    if alike:
        best = max(alike, key=lambda pair: alike[pair].value)
        found.append(f"The logits most alike are those of {best[0]} and {best[1]}: correlation {alike[best].text()}.")
    return found
