"""How right is a bag of small windows? Accuracy against the side of the windows, beside networks that see everything (Fig. 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..batch.evaluate import rank_of_label
from ..chart_style import (
    GREY,
    INK,
    PALE,
    SOFT,
    heading,
    labels,
    legend,
    model_colours,
    panel_title,
    quiet_frame,
    short,
    side_by_side,
)
from ..evidence.picture import Picture
from .experiment import Experiment, Findings
from .scores import all_scores
from .statistics import Estimate, bootstrap, mean
from .subjects import Material

_TOPS = (1, 5)


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

    def find(self, material: Material, folder: Path) -> Findings:
        """As `Experiment.find`."""
        readable, logits = all_scores(material, folder)
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
        figure, panels = side_by_side([5.6, 3.9] if alike else [6.4], 4.3)
        heading(figure, self.title, f"{material.data}, {images:,} images; bars and bands: 95 % intervals over images")
        axes = figure.add_subplot(panels[0])
        bags = material.bagnets
        colours = model_colours([one.window for one in material.ordered])[len(bags) :]
        for top, dashes in zip(_TOPS, ("-", (0, (4, 2))), strict=True):
            look: Any = {"linestyle": dashes, "linewidth": 1.4}
            found = [right[one.name][top] for one in bags if top in right[one.name]]
            if found:
                values = 100 * np.array([(one.value, one.value - one.low, one.high - one.value) for one in found])
                sides = [one.window or 0 for one in bags]
                bars: Any = {"color": "#1f5a99", "marker": "o", "capsize": 3, **look}
                axes.errorbar(sides, values[:, 0], values[:, 1:].T, label="BagNets" if top == 1 else None, **bars)
            for one, colour in zip(material.networks, colours, strict=True):
                if top in right[one.name]:
                    level = right[one.name][top]
                    axes.axhspan(100 * level.low, 100 * level.high, color=colour, alpha=0.12, linewidth=0)
                    axes.axhline(100 * level.value, color=colour, label=short(one.name, 30) if top == 1 else None, **look)
        axes.set_ylim(0, 100)
        axes.set_xticks(sorted({one.window or 0 for one in bags}))
        labels(axes, "side of the windows, pixels of the input", "images that are right, per cent")
        panel_title(axes, "Accuracy: top-1, and top-5 dashed")
        quiet_frame(axes, "y")
        legend(axes, loc="upper left")
        if alike:
            self._correlations(figure.add_subplot(panels[1]), material, alike)
        return Picture(figure)

    def _correlations(self, axes: Any, material: Material, alike: Mapping[tuple[str, str], Estimate]) -> None:
        for line, other in enumerate(material.networks):
            for place, bag in enumerate(material.bagnets):
                found = alike[bag.name, other.name]
                at = line * (len(material.bagnets) + 1) + place
                axes.barh(at, found.value, 0.8, color=PALE)
                axes.errorbar(found.value, at, xerr=[[found.value - found.low], [found.high - found.value]], color=GREY)
                axes.text(0.02, at, f"{short(bag.name, 24)}  {found.value:.3f}", fontsize=7.5, color=INK, va="center")
        step = len(material.bagnets) + 1
        middles = [line * step + (step - 2) / 2 for line in range(len(material.networks))]
        axes.set_yticks(middles, [short(one.name, 16) for one in material.networks], rotation=90, va="center", fontsize=8)
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.set_xlabel("Pearson's correlation of logits, over images and classes", fontsize=9, color=SOFT)
        panel_title(axes, "How alike are the logits?")
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
