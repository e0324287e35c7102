"""Do models err alike? Class-conditional accuracy of pairs of models (Fig. 7), and error consistency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ...evaluation.measures import rank_of_label
from ...figures.charts import finished, labels, panel_title, quiet_frame, side_by_side
from ...figures.colours import BLUE, GREY, INK
from ...figures.picture import Picture
from ...figures.words import abridged, of_images
from ...runs.table import Row
from ...statistics import Estimate, bootstrap, correlation, kappa
from .experiment import Experiment, Findings, Workplace
from .needs import Needs
from .scores import all_scores
from .subjects import Material

_PANELS = 3  # in a row of the figure


@dataclass(frozen=True)
class Pair:
    """How alike two models err."""

    first: str
    second: str
    correlation: Estimate  # of their accuracies for each class; the interval is over classes
    kappa: Estimate  # error consistency; the interval is over images


@dataclass(frozen=True)
class Measures:
    """All that was measured."""

    images: int
    top: int  # right is an answer among the best so many
    pairs: Sequence[Pair]


@dataclass(frozen=True)
class Errors(Experiment):
    """See `question`.

    Args:
        top: an answer is right if the true class is among so many; 1 where there are no more classes than that.
    """

    title = "Do models find the same classes hard?"
    question = "How alike are the accuracies of two models, class by class, and do they err on the same images?"
    paper = (
        "Fig. 7: BagNet-33 and VGG-16, ResNet-50, DenseNet-169 and others are much alike class by class (recalled, "
        "not verified; its correlations are not known here)."
    )
    differs = (
        "Right is an answer among the best five. The interval of a correlation is over classes, that of a kappa over images; "
        "kappa (Geirhos et al. 2020) is not in the paper."
    )
    needs = Needs(labels=True, several=True)

    top: int = 5

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ValueError(f"top={self.top}: at least the best answer counts")

    def find(self, material: Material, work: Workplace) -> Findings:
        """As `Experiment.find`."""
        readable, logits = all_scores(material, work)
        shown = material.labels.numpy()[readable]
        top = self.top if self.top < len(material.classes) else 1
        right = {name: rank_of_label(values, shown) < top for name, values in logits.items()}
        pairs = [
            _pair(first.name, second.name, right, shown, material.seed) for first, second in combinations(material.ordered, 2)
        ]
        rows = [_row(material, label, shown == label, right) for label in np.unique(shown).tolist()]
        measures = Measures(len(shown), top, pairs)
        return Findings(measures, _sentences(measures, shown), {self.name: self._picture(material, measures, rows)}, rows)

    def _picture(self, material: Material, measures: Measures, rows: Sequence[Row]) -> Picture:
        columns = min(_PANELS, len(measures.pairs))
        lines = -(-len(measures.pairs) // columns)
        figure, (whole,) = side_by_side([max(3.6 * columns, 6.4)], 0.8 + 4.1 * lines)
        grid = whole.subgridspec(lines, columns)
        for number, pair in enumerate(measures.pairs):
            axes = figure.add_subplot(grid[number // columns, number % columns])
            axes.plot([0, 100], [0, 100], color=GREY, linewidth=1, linestyle=(0, (4, 3)))
            points = np.array([(100 * row[pair.first], 100 * row[pair.second]) for row in rows])
            axes.scatter(points[:, 0], points[:, 1], s=14, color=BLUE, alpha=0.55, linewidths=0)
            panel_title(axes, f"r {pair.correlation.text(2)}\n\N{GREEK SMALL LETTER KAPPA} {pair.kappa.text(2)}")
            labels(axes, abridged(pair.first, 40), abridged(pair.second, 40))
            axes.set_xlim(-3, 103)
            axes.set_ylim(-3, 103)
            axes.set_aspect("equal")
            quiet_frame(axes, "both")
            axes.tick_params(labelcolor=INK)
        words = of_images(
            material.data,
            measures.images,
            f"top-{measures.top} accuracy in per cent, a point a class",
            "95\N{NO-BREAK SPACE}% intervals (bootstrap), of r over classes, of \N{GREEK SMALL LETTER KAPPA} over images",
        )
        return finished(figure, self.title, words)


def _pair(first: str, second: str, right: Mapping[str, NDArray[np.bool_]], shown: NDArray[np.int64], seed: int) -> Pair:
    _, members, counts = np.unique(shown, return_inverse=True, return_counts=True)
    by_class = {name: np.bincount(members, right[name]) / counts for name in (first, second)}
    both = np.stack([right[first], right[second]], 1)
    consistency = bootstrap(both, lambda rows: kappa(rows[:, 0], rows[:, 1]), seed)
    return Pair(first, second, correlation(by_class[first], by_class[second], seed), consistency)


def _row(material: Material, label: int, members: NDArray[np.bool_], right: Mapping[str, NDArray[np.bool_]]) -> Row:
    entry = material.classes[label]
    accuracies = {name: float(values[members].mean()) for name, values in right.items()}
    return {"class": str(entry), "wnid": entry.wnid or "", "images": int(members.sum()), **accuracies}


def _sentences(measures: Measures, shown: NDArray[np.int64]) -> list[str]:
    counts = np.unique(shown, return_counts=True)[1]
    closest = max(measures.pairs, key=lambda pair: np.nan_to_num(pair.correlation.value, nan=-2))
    consistent = max(measures.pairs, key=lambda pair: np.nan_to_num(pair.kappa.value, nan=-2))
    return [
        f"Most alike class by class are {closest.first} and {closest.second}: correlation of top-{measures.top} accuracy "
        f"{closest.correlation.text()} over {len(counts)} classes of {int(np.median(counts))} images each (median); the fewer "
        "these are, the noisier the accuracies, and the lower their correlation.",
        f"{consistent.first} and {consistent.second} err on the same images most: kappa {consistent.kappa.text()}.",
    ]
