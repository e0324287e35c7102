"""How much of the evidence counts? Accuracy when weak evidence is clipped, or all of it becomes a yes or no (appendix)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...engine.inference import like_weights
from ...evaluation.measures import rank_of_label
from ...figures.charts import finished, labels, panel_title, quiet_frame, side_by_side
from ...figures.colours import model_colours
from ...figures.picture import Picture
from ...figures.words import WILSON, abridged, of_images
from ...runs.sweep import NotANumber, check_some
from ...runs.table import Row
from ...statistics import Estimate
from .experiment import Experiment, Findings, Workplace
from .measured import Columns, measured
from .needs import Needs
from .scores import Accuracies, accuracies
from .subjects import Material, Subject

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RULES = ("clipped", "binarised")
_DRAWN = 200  # images whose evidence says where its percentiles lie
_VALUES = 10_000  # of the evidence of each of them, drawn at random
_LITTLE = 0.01  # of accuracy
_PART = "ranks"
_WHOLE = "rank"  # column: without a threshold
_NAME = 44  # letters
_TITLES = {
    "clipped": "Evidence below the threshold counts as the threshold",
    "binarised": "Evidence above it counts 1, all other 0",
}


@dataclass(frozen=True)
class ImageRanks(Columns):
    """The rank of an image's true class, 0 the best.

    Args:
        label: the true class.
        ranks: column -> rank, without a threshold and by each rule at each percentile.
    """

    label: str
    ranks: Mapping[str, int]

    def to_row(self) -> Row:
        """As `Columns.to_row`."""
        return {"label": self.label, **self.ranks}

    @classmethod
    def of_row(cls, row: Row) -> Self:
        """As `Columns.of_row`."""
        return cls(row["label"], {column: rank for column, rank in row.items() if column.startswith(_WHOLE)})


@dataclass(frozen=True)
class Level:
    """Accuracy by each rule at one threshold, in logits, which lies at a percentile of the evidence."""

    percentile: float
    threshold: float
    clipped: Accuracies
    binarised: Accuracies

    def by(self, rule: str) -> Accuracies:
        """By one of `RULES`."""
        return self.clipped if rule == "clipped" else self.binarised


@dataclass(frozen=True)
class ModelLevels:
    """Accuracy of one model without a threshold and at each, over so many images."""

    model: str
    window: int | None
    images: int
    unchanged: Accuracies
    thresholds: Sequence[Level]


@dataclass(frozen=True)
class Measures:
    """All that was measured."""

    models: Sequence[ModelLevels]


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
    needs = Needs(labels=True, bagnets=True)

    percentiles: tuple[float, ...] = (1.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9)

    def __post_init__(self) -> None:
        if not self.percentiles or not all(0 <= percentile <= 100 for percentile in self.percentiles):
            raise ValueError(f"percentiles={self.percentiles}: they lie between 0 and 100")

    def find(self, material: Material, work: Workplace) -> Findings:
        """As `Experiment.find`."""
        levels = {bagnet.name: self._levels(material, bagnet) for bagnet in material.bagnets}

        def measure(subject: Subject, row: int, x: Tensor) -> Mapping[str, ImageRanks]:
            label = int(material.labels[row])
            by_column = zip(self._columns(), ranks(evidence(subject, x), levels[subject.name], label).tolist(), strict=True)
            return {_PART: ImageRanks(str(material.classes[label]), dict(by_column))}

        rows = measured(work, material, material.bagnets, lambda _: [_PART], measure, ImageRanks.of_row)
        models = [self._summary(bagnet, levels[bagnet.name], rows.of(bagnet, _PART), material) for bagnet in material.bagnets]
        return Findings(Measures(models), list(map(_sentence, models)), {self.name: self._picture(material, models)})

    def _columns(self) -> list[str]:
        """In the order of `ranks`."""
        return [_WHOLE, *(_column(rule, percentile) for rule in RULES for percentile in self.percentiles)]

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

    def _summary(self, subject: Subject, levels: Sequence[float], rows: Sequence[ImageRanks], material: Material) -> ModelLevels:
        def right(column: str) -> Accuracies:
            values = np.array([row.ranks[column] for row in rows])
            return Accuracies(*accuracies(values, len(material.classes), material.seed))

        thresholds = [
            Level(percentile, level, right(_column("clipped", percentile)), right(_column("binarised", percentile)))
            for percentile, level in zip(self.percentiles, levels, strict=True)
        ]
        return ModelLevels(subject.name, subject.window, len(rows), right(_WHOLE), thresholds)

    def _picture(self, material: Material, models: Sequence[ModelLevels]) -> Picture:
        tops = list(models[0].unchanged.by_top)
        figure, panels = side_by_side([5.2, 5.2], 1.2 + 3.3 * len(tops))
        charts: list[Axes] = []
        colours = model_colours([model.window for model in models])
        for rule, panel in zip(RULES, panels, strict=True):
            cells = panel.subgridspec(len(tops), 1)
            for line, top in enumerate(reversed(tops)):
                axes = figure.add_subplot(cells[line])
                for model, colour in zip(models, colours, strict=True):
                    _curve(axes, model, rule, top, colour)
                if line == 0:
                    panel_title(axes, _TITLES[rule])
                labels(axes, "threshold, logits of a window", f"top-{top} accuracy, per cent")
                axes.set_ylim(0, 1.05 * max(_highest(model, top) for model in models))
                quiet_frame(axes, "y")
                charts.append(axes)
        words = of_images(
            material.data,
            [model.images for model in models],
            f"points: percentiles {min(self.percentiles):g} to {max(self.percentiles):g} of the evidence",
            "dashed: without a threshold",
            f"bands: {WILSON}",
        )
        return finished(figure, self.title, words, charts[:1])


def _highest(model: ModelLevels, top: int) -> float:
    """End of the highest interval of a model, in per cent, so that all panels in a row have one scale."""
    measures = [model.unchanged, *(level.by(rule) for level in model.thresholds for rule in RULES)]
    return 100 * max(measure.by_top[top].high for measure in measures) or 100.0


def _curve(axes: Axes, model: ModelLevels, rule: str, top: int, colour: str) -> None:
    levels = sorted(model.thresholds, key=lambda level: level.threshold)
    at = [level.threshold for level in levels]
    estimates: list[Estimate] = [level.by(rule).by_top[top] for level in levels]
    low, high = [100 * estimate.low for estimate in estimates], [100 * estimate.high for estimate in estimates]
    axes.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
    values = [100 * estimate.value for estimate in estimates]
    axes.plot(at, values, color=colour, linewidth=1.6, marker="o", markersize=3.5, label=abridged(model.model, _NAME))
    axes.axhline(100 * model.unchanged.by_top[top].value, color=colour, linewidth=1.1, linestyle=(0, (4, 3)))


def evidence(subject: Subject, x: Tensor) -> Tensor:
    """Evidence of one image for the classes of the images, in float64 on the CPU.

    Args:
        subject: a BagNet.
        x: (1, C, H, W) prepared image.

    Returns:
        (K, n) logits of n windows.

    Raises:
        ValueError: the image is smaller than a window.
        NotANumber: a logit is NaN or infinite.
    """
    values = subject.classifier.evidence(like_weights(x, subject.model), subject.columns)[0]
    if not values.isfinite().all():
        raise NotANumber(f"{subject.name} answers with evidence that is not finite")
    return values.flatten(1).to("cpu", torch.float64)


def ranks(values: Tensor, levels: Sequence[float], label: int) -> NDArray[np.int64]:
    """The rank of the true class, 0 the best, without a threshold, with clipped and with binarised evidence.

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
    return f"{_WHOLE} {rule} at {percentile:g} %"


def _sentence(model: ModelLevels) -> str:
    """How much can be clipped at little cost, and the best that binarised evidence does."""

    def words(accuracy: Accuracies) -> str:
        return accuracy.by_top[top].text(1, 100)

    top = max(model.unchanged.by_top)
    levels = sorted(model.thresholds, key=lambda level: level.percentile)
    least = model.unchanged.by_top[top].value - _LITTLE
    cheap = [level for level in levels if level.clipped.by_top[top].value >= least]
    clipped = cheap[-1] if cheap else levels[0]
    costs = "the most that costs no more than a point" if cheap else "which costs more than a point"
    best = max(levels, key=lambda level: level.binarised.by_top[top].value)
    return (
        f"{model.model} is right (top-{top}) on {words(model.unchanged)} % of images; on {words(clipped.clipped)} % with "
        f"the lowest {clipped.percentile:g} % of the evidence clipped, {costs}; on {words(best.binarised)} % with evidence "
        f"binarised at {best.threshold:+.2f} (percentile {best.percentile:g}), the best of {len(levels)} thresholds."
    )
