"""How much of the evidence counts? Accuracy when weak evidence is clipped, or all of it becomes a yes or no (appendix)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...engine.inference import like_weights
from ...evaluation.evaluate import rank_of_label
from ...figures.charts import WILSON, finished, of_images
from ...figures.picture import Picture
from ...figures.style import abridged, labels, model_colours, panel_title, quiet_frame, side_by_side
from ...runs.sweep import NotANumber, check_some
from ...runs.table import Row
from ...statistics import Estimate, mean
from .experiment import Experiment, Findings, Workplace
from .measured import Measure, measured
from .subjects import Material, Subject

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RULES = ("clipped", "binarised")
_TOPS = (1, 5)
_DRAWN = 200  # images whose evidence says where its percentiles lie
_VALUES = 10_000  # of the evidence of each of them, drawn by lot
_LITTLE = 0.01  # of accuracy
_PART = "ranks"
_NAME = 44  # letters
_TITLES = {
    "clipped": "Evidence below the threshold counts as the threshold",
    "binarised": "Evidence above it counts 1, all other 0",
}


@dataclass(frozen=True)
class Thresholds(Experiment):
    """See `question`.

    The paper's exact rules are not known here. These are taken, for evidence e of a class at a window and a threshold t:

    - clipped: max(e, t), so that what lies below t counts as t. For a t below all evidence nothing changes, the logits are
      continuous in t, and at t = 0 it is PatchGuard's clipping (Xiang et al. 2021).
    - binarised: 1 where e > t, and 0 elsewhere, so that a logit is a share of the windows.

    Either way the logit of a class is the mean over the windows. Of equal logits the first class counts as the better one.

    Args:
        percentiles: of each model's evidence, over all classes, windows and images of a sample, where its thresholds lie.
    """

    name = "thresholds"
    title = "How much of the evidence counts?"
    question = (
        "How right do BagNets stay when evidence below a threshold is clipped, and when a threshold makes all evidence 0 or 1?"
    )
    paper = (
        "Appendix: both cost little top-5 accuracy at a suitable threshold (recalled, not verified; its exact rules and its "
        "numbers are not known here)."
    )
    differs = (
        "The rules: evidence is raised to the threshold where it lies below, or made 1 above it and 0 elsewhere; thresholds "
        "lie at percentiles of each model's evidence."
    )

    percentiles: tuple[float, ...] = (1.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9)

    def find(self, material: Material, work: Workplace) -> Findings:
        """As `Experiment.find`. ValueError: no model is a BagNet, or a percentile is not between 0 and 100."""
        if not material.bagnets:
            raise ValueError("thresholds is about evidence, and none of the models is a BagNet: name one")
        if not self.percentiles or not all(0 <= one <= 100 for one in self.percentiles):
            raise ValueError(f"percentiles={self.percentiles}: they lie between 0 and 100")
        levels = {one.name: self._levels(material, one) for one in material.bagnets}
        rows = measured(
            work,
            material,
            material.bagnets,
            lambda _: [_PART],
            self._measure(levels, material),
        )
        tops = [top for top in _TOPS if top < len(material.classes)]
        found = [self._summary(one, levels[one.name], rows, tops, material.seed) for one in material.bagnets]
        figure = self._picture(material, found, tops)
        return Findings({"models": found}, [_sentence(one, tops[-1]) for one in found], {self.name: figure})

    def _levels(self, material: Material, subject: Subject) -> list[float]:
        """The thresholds of one model, in logits."""
        sample = material.sample(_DRAWN)
        drawn: list[NDArray[np.float64]] = []
        bad: list[tuple[int, str]] = []
        for batch in sample.sweep(subject, stage=f"{subject.name}, percentiles"):
            for row, x in zip(batch.rows, batch.x, strict=True):
                values = evidence(subject, x[None]).numpy().ravel()
                if len(values) > _VALUES:
                    values = np.random.default_rng((material.seed, row)).choice(values, _VALUES, replace=False)
                drawn.append(values)
            bad += batch.bad
        check_some(drawn, bad)
        return [float(level) for level in np.percentile(np.concatenate(drawn), self.percentiles)]

    def _measure(self, levels: Mapping[str, Sequence[float]], material: Material) -> Measure:
        def measure(subject: Subject, row: int, x: Tensor) -> dict[str, Row]:
            found = ranks(evidence(subject, x), levels[subject.name], int(material.labels[row]))
            columns = ["rank", *(_column(rule, percentile) for rule in RULES for percentile in self.percentiles)]
            label = str(material.classes[int(material.labels[row])])
            return {_PART: {"label": label, **dict(zip(columns, found.tolist(), strict=True))}}

        return measure

    def _summary(
        self, subject: Subject, levels: Sequence[float], rows: Sequence[Row], tops: Sequence[int], seed: int
    ) -> dict[str, Any]:
        own = [row for row in rows if row["model"] == subject.name]

        def right(column: str) -> dict[str, Any]:
            place = np.array([row[column] for row in own])
            return {f"top{top}": mean(place < top, seed).to_dict() for top in tops}

        return {
            "model": subject.name,
            "window": subject.window,
            "images": len(own),
            "unchanged": right("rank"),
            "thresholds": [
                {"percentile": percentile, "threshold": level, **{rule: right(_column(rule, percentile)) for rule in RULES}}
                for percentile, level in zip(self.percentiles, levels, strict=True)
            ],
        }

    def _picture(self, material: Material, found: Sequence[Mapping[str, Any]], tops: Sequence[int]) -> Picture:
        figure, panels = side_by_side([5.2, 5.2], 1.2 + 3.3 * len(tops))
        charts: list[Axes] = []
        colours = model_colours([one["window"] for one in found])
        for rule, panel in zip(RULES, panels, strict=True):
            cells = panel.subgridspec(len(tops), 1)
            for line, top in enumerate(reversed(tops)):
                axes = figure.add_subplot(cells[line])
                for one, colour in zip(found, colours, strict=True):
                    _curve(axes, one, rule, f"top{top}", colour)
                if line == 0:
                    panel_title(axes, _TITLES[rule])
                labels(axes, "threshold, logits of a window", f"top-{top} accuracy, per cent")
                axes.set_ylim(0, 1.05 * max(_highest(one, f"top{top}") for one in found))
                quiet_frame(axes, "y")
                charts.append(axes)
        words = of_images(
            material.data,
            [one["images"] for one in found],
            f"points: percentiles {min(self.percentiles):g} to {max(self.percentiles):g} of the evidence",
            "dashed: without a threshold",
            f"bands: {WILSON}",
        )
        return finished(figure, self.title, words, charts[:1])


def _highest(one: Mapping[str, Any], measure: str) -> float:
    """End of the highest interval of a model, in per cent, so that all panels in a row have one scale."""
    measures = [one["unchanged"], *(level[rule] for level in one["thresholds"] for rule in RULES)]
    return 100 * max(entry[measure]["high"] for entry in measures) or 100.0


def _curve(axes: Axes, one: Mapping[str, Any], rule: str, measure: str, colour: str) -> None:
    order = sorted(one["thresholds"], key=lambda level: level["threshold"])
    at = [level["threshold"] for level in order]
    value, low, high = (100 * np.array([level[rule][measure][name] for level in order]) for name in ("value", "low", "high"))
    axes.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(at, value, color=colour, linewidth=1.6, marker="o", markersize=3.5, label=abridged(one["model"], _NAME))
    whole = 100 * one["unchanged"][measure]["value"]
    axes.axhline(whole, color=colour, linewidth=1.1, linestyle=(0, (4, 3)))


def evidence(subject: Subject, x: Tensor) -> Tensor:
    """Evidence of one image for the classes of the images, in float64 on the CPU.

    Args:
        subject: a BagNet.
        x: (1, C, H, W) prepared image.

    Returns:
        (K, n) logits of n windows.

    Raises:
        ValueError: the image is smaller than a window.
        NotANumber: a logit is NaN.
    """
    found: Tensor = subject.model.evidence(like_weights(x, subject.model), subject.columns)[0]
    if found.isnan().any():
        raise NotANumber(f"{subject.name} answers with NaN")
    return found.flatten(1).to("cpu", torch.float64)


def ranks(values: Tensor, levels: Sequence[float], label: int) -> NDArray[np.int64]:
    """The place of the true class, 0 the best, without a threshold, with clipped and with binarised evidence.

    Args:
        values: (K, n) evidence of K classes at n windows.
        levels: T thresholds.
        label: the true class.

    Returns:
        (1 + 2 T,): without a threshold, clipped at each, binarised at each.
    """
    clipped = [values.clamp(min=level).mean(1) for level in levels]
    binarised = [(values > level).double().mean(1) for level in levels]
    logits = torch.stack([values.mean(1), *clipped, *binarised]).numpy()
    return rank_of_label(logits, np.full(len(logits), label))


def _column(rule: str, percentile: float) -> str:
    return f"rank {rule} at {percentile:g} %"


def _sentence(one: Mapping[str, Any], top: int) -> str:
    """How much can be clipped at little cost, and the best that binarised evidence does."""
    measure = f"top{top}"

    def words(entry: Mapping[str, Any]) -> str:
        return Estimate(**entry[measure]).text(1, 100)

    levels = sorted(one["thresholds"], key=lambda level: level["percentile"])
    least = one["unchanged"][measure]["value"] - _LITTLE
    cheap = [level for level in levels if level["clipped"][measure]["value"] >= least]
    clipped = cheap[-1] if cheap else levels[0]
    costs = "the most that costs no more than a point" if cheap else "which costs more than a point"
    best = max(levels, key=lambda level: level["binarised"][measure]["value"])
    return (
        f"{one['model']} is right (top-{top}) on {words(one['unchanged'])} % of images; on {words(clipped['clipped'])} % with "
        f"the lowest {clipped['percentile']:g} % of the evidence clipped, {costs}; on {words(best['binarised'])} % with evidence "
        f"binarised at {best['threshold']:+.2f} (percentile {best['percentile']:g}), the best of {len(levels)} thresholds."
    )
