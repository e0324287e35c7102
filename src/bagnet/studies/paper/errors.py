"""Do models err alike? Class-conditional accuracy of pairs of models (Fig. 7), and error consistency."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...evaluation.evaluate import rank_of_label
from ...figures.charts import finished, of_images
from ...figures.picture import Picture
from ...figures.style import BLUE, GREY, INK, abridged, labels, panel_title, quiet_frame, side_by_side
from ...statistics import Estimate, bootstrap, correlation, kappa
from .experiment import Experiment, Findings, Workplace
from .scores import all_scores
from .subjects import Material

_PANELS = 3  # in a row of the figure


@dataclass(frozen=True)
class Errors(Experiment):
    """See `question`.

    Args:
        top: an answer is right if the true class is among so many; 1 where there are no more classes than that.
    """

    name = "errors"
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

    top: int = 5

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ValueError(f"top={self.top}: at least the best answer counts")

    def find(self, material: Material, work: Workplace) -> Findings:
        """As `Experiment.find`. ValueError: there are fewer than two models."""
        if len(material.subjects) < 2:
            raise ValueError("errors compares models: name two at least")
        readable, logits = all_scores(material, work)
        shown = material.labels.numpy()[readable]
        top = self.top if self.top < len(material.classes) else 1
        right = {name: rank_of_label(values, shown) < top for name, values in logits.items()}
        pairs = list(combinations([one.name for one in material.ordered], 2))
        found = {pair: self._pair(right[pair[0]], right[pair[1]], shown, material.seed) for pair in pairs}
        closest, consistent = (max(pairs, key=lambda pair: np.nan_to_num(found[pair][which].value, nan=-2)) for which in (0, 1))
        counts = np.unique(shown, return_counts=True)[1]
        sentences = [
            f"Most alike class by class are {closest[0]} and {closest[1]}: correlation of top-{top} accuracy "
            f"{found[closest][0].text()} over {len(counts)} classes of {int(np.median(counts))} images each (median); the fewer "
            "these are, the noisier the accuracies, and the lower their correlation.",
            f"{consistent[0]} and {consistent[1]} err on the same images most: kappa {found[consistent][1].text()}.",
        ]
        rows = [_class_row(material, shown, right, int(place)) for place in np.unique(shown)]
        measures = {
            "images": len(shown),
            "top": top,
            "pairs": [
                {"first": one, "second": other, "correlation": pair[0].to_dict(), "kappa": pair[1].to_dict()}
                for (one, other), pair in found.items()
            ],
        }
        return Findings(measures, sentences, {self.name: self._picture(material, len(shown), top, rows, found)}, rows)

    def _pair(
        self, one: NDArray[np.bool_], other: NDArray[np.bool_], shown: NDArray[Any], seed: int
    ) -> tuple[Estimate, Estimate]:
        """(correlation of class-conditional accuracy, its interval over classes; kappa, its interval over images)"""
        return (
            correlation(*_by_class(one, other, shown), seed),
            bootstrap(np.stack([one, other], 1), lambda rows: kappa(rows[:, 0], rows[:, 1]), seed),
        )

    def _picture(
        self,
        material: Material,
        images: int,
        top: int,
        rows: list[dict[str, Any]],
        found: dict[tuple[str, str], tuple[Estimate, Estimate]],
    ) -> Picture:
        columns = min(_PANELS, len(found))
        lines = -(-len(found) // columns)
        figure, (whole,) = side_by_side([max(3.6 * columns, 6.4)], 0.8 + 4.1 * lines)
        grid = whole.subgridspec(lines, columns)
        for place, ((one, other), (alike, same)) in enumerate(found.items()):
            axes = figure.add_subplot(grid[place // columns, place % columns])
            axes.plot([0, 100], [0, 100], color=GREY, linewidth=1, linestyle=(0, (4, 3)))
            points = np.array([(100 * row[one], 100 * row[other]) for row in rows])
            axes.scatter(points[:, 0], points[:, 1], s=14, color=BLUE, alpha=0.55, linewidths=0)
            panel_title(axes, f"r {alike.text(2)}\n\N{GREEK SMALL LETTER KAPPA} {same.text(2)}")
            labels(axes, abridged(one, 40), abridged(other, 40))
            axes.set_xlim(-3, 103)
            axes.set_ylim(-3, 103)
            axes.set_aspect("equal")
            quiet_frame(axes, "both")
            axes.tick_params(labelcolor=INK)
        words = of_images(
            material.data,
            images,
            f"top-{top} accuracy in per cent, a point a class",
            "95\N{NO-BREAK SPACE}% intervals (bootstrap), of r over classes, of \N{GREEK SMALL LETTER KAPPA} over images",
        )
        return finished(figure, self.title, words)


def _by_class(
    one: NDArray[np.bool_], other: NDArray[np.bool_], shown: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N,) right answers of two models, and the classes shown -> accuracy of both for each class that has images."""
    _, places, counts = np.unique(shown, return_inverse=True, return_counts=True)
    return np.bincount(places, one) / counts, np.bincount(places, other) / counts


def _class_row(material: Material, shown: NDArray[Any], right: dict[str, NDArray[np.bool_]], place: int) -> dict[str, Any]:
    members = shown == place
    entry = material.classes[place]
    accuracies = {name: float(values[members].mean()) for name, values in right.items()}
    return {"class": str(entry), "wnid": entry.wnid or "", "images": int(members.sum()), **accuracies}
