"""Do distant parts of an image interact? The change by many masks together against the sum of their single changes (Fig. 6)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ...engine.inference import like_weights
from ...evidence.edits import change, occlude
from ...figures.charts import finished, intervals, labels, panel_title, quiet_frame, side_by_side
from ...figures.colours import INK, SOFT, coloured, model_colours
from ...figures.picture import Picture
from ...figures.words import BOOTSTRAP, abridged, of_images, wrapped
from ...geometry import Box
from ...statistics import Estimate, bootstrap, correlation
from .experiment import Experiment, Findings, Workplace
from .measured import Columns, Failed, Measurements, measured
from .subjects import Material, Subject

_FEWEST = 4  # masks that can say something of interactions


class Masks(NamedTuple):
    """Squares on a grid with gaps between them, in pixels."""

    side: int
    gap: int

    @property
    def name(self) -> str:
        """For people; masks that differ have names that differ."""
        return str(self.side) if self.gap == self.side else f"{self.side}, {self.gap} apart"

    def boxes(self, height: int, width: int) -> list[Box]:
        """Those that lie wholly in an image."""
        tops, lefts = (range(0, length - self.side + 1, self.side + self.gap) for length in (height, width))
        return [Box(left, top, left + self.side, top + self.side) for top in tops for left in lefts]


@dataclass(frozen=True)
class Changes(Columns):
    """By how much masks lower the leading class's logit of one image; nothing but 0 masks where there is no room for four."""

    masks: int
    class_: str | None = None
    joint: float | None = None  # by all masks together
    sum: float | None = None  # of what each does alone


@dataclass(frozen=True)
class Comparison:
    """The joint change against the sum of the single ones, of one model and one kind of masks, over images."""

    model: str
    window: int | None  # side in pixels; None where it sees the whole image
    masks: str
    side: int
    gap: int
    count: int  # of masks on an image
    images: int  # that have room for them
    correlation: Estimate
    relative_error: Estimate  # mean difference of the two changes, as a share of the joint one
    exact: bool  # no window sees two masks


@dataclass(frozen=True)
class NoRoom:
    """Where too few masks could be placed."""

    side: int
    gap: int
    input: int | None  # side of what these models see; None where it is the image as it is
    models: Sequence[str]
    images: int  # of one model, the most of all


@dataclass(frozen=True)
class Measures:
    """All that was measured."""

    comparisons: Sequence[Comparison]
    no_room: Sequence[NoRoom]


@dataclass(frozen=True)
class Interactions(Experiment):
    """See `question`. Squares on a grid, with gaps between them, are replaced each by its own mean colour.

    Args:
        sides: of the squares, in pixels of the network's input.
        gaps: between them, one for each side, in pixels; as long as the sides where none are named.
    """

    title = "Do distant parts of an image interact?"
    question = (
        "Is the change of the leading class's logit by many masks at once the sum of the changes by each alone (eq. 1)? "
        "The correlation of the two over images is 1 where parts as far apart as the masks do not interact."
    )
    paper = (
        "Eq. 1 and Fig. 6: exact for a BagNet where masks are further apart than its windows are long; VGG-16 shows few "
        "interactions between parts more than 16 or 32 pixels apart, deeper and better networks more (recalled; the numbers "
        "are not known here)."
    )
    differs = (
        "The masks are squares on a grid, each of its own mean colour, and the leading class is that of the whole image. "
        "BagNets are asked in float64."
    )
    sample = 500

    sides: tuple[int, ...] = (8, 16, 32)
    gaps: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.sides or min(self.sides) < 1:
            raise ValueError(f"sides={self.sides}: masks have one pixel at least")
        if self.gaps and (len(self.gaps) != len(self.sides) or min(self.gaps) < 1):
            raise ValueError(f"gaps={self.gaps}: name one for each of sides={self.sides}, of a pixel at least")

    @property
    def masks(self) -> list[Masks]:
        """What is masked, each once."""
        return list(dict.fromkeys(starmap(Masks, zip(self.sides, self.gaps or self.sides, strict=True))))

    def find(self, material: Material, work: Workplace) -> Findings:
        """As `Experiment.find`. ValueError: no image has room for four masks of any side."""
        subjects = [subject if subject.window is None else subject.doubled() for subject in material.ordered]
        parts = [masks.name for masks in self.masks]
        changed = measured(work, material, subjects, lambda _: parts, self._measure, Changes.of_row)
        comparisons = [
            _comparison(subject, masks, rows, material.seed)
            for subject in subjects
            for masks in self.masks
            if (rows := [row for row in changed.of(subject, masks.name) if row.masks])
        ]
        if not comparisons:
            raise ValueError(f"sides={self.sides}: the models' input has no room for {_FEWEST} masks of any of these sides")
        no_room = [entry for masks in self.masks for entry in _without_room(subjects, masks, changed)]
        measures = Measures(comparisons, no_room)
        figures = {
            self.name: self._picture(material, measures),
            f"{self.name}_maps": self._maps(material, subjects, {comparison.masks for comparison in comparisons}),
        }
        return Findings(measures, [*_sentences(comparisons), *map(_no_room, no_room)], figures)

    def _measure(self, subject: Subject, _: int, x: Tensor) -> Mapping[str, Changes | Failed]:
        changed: dict[str, Changes | Failed] = {}
        for masks in self.masks:
            boxes = masks.boxes(x.shape[2], x.shape[3])
            if len(boxes) < _FEWEST:
                changed[masks.name] = Changes(0)
                continue
            singles, joint, leading = changes(subject, x, boxes)
            changed[masks.name] = Changes(len(boxes), leading, joint, float(singles.sum()))
        return changed

    def _picture(self, material: Material, measures: Measures) -> Picture:
        figure, panels = side_by_side([4.6, 4.6], 4.3)
        left, right = (figure.add_subplot(panel) for panel in panels)
        compared = {comparison.masks for comparison in measures.comparisons}
        shown = [masks for masks in self.masks if masks.name in compared]
        positions = {masks.name: position for position, masks in enumerate(shown)}
        models = material.ordered
        step = min(0.09, 0.6 / len(models))
        for number, (model, colour) in enumerate(zip(models, model_colours([model.window for model in models]), strict=True)):
            comparisons = [comparison for comparison in measures.comparisons if comparison.model == model.name]
            shift = step * (number - (len(models) - 1) / 2)
            at = [positions[comparison.masks] + shift for comparison in comparisons]
            look: Any = {"color": colour, "marker": "o", "markersize": 4, "linewidth": 1.6, "label": abridged(model.name, 44)}
            intervals(left, at, [comparison.correlation for comparison in comparisons], **look)
            intervals(right, at, [comparison.relative_error for comparison in comparisons], **look)
        panel_title(left, "Correlation of the two changes")
        panel_title(right, "Mean difference, as a share of the joint change")
        for axes in (left, right):
            axes.set_xticks(range(len(shown)), [f"{masks.side} px,\n{masks.gap} px apart" for masks in shown])
            axes.set_xlim(-0.5, len(shown) - 0.5)
            labels(axes, "masks, in pixels of the input", "")
            quiet_frame(axes, "y")
        lowest = min(left.get_ylim()[0], 0.99)
        left.set_ylim(lowest, 1 + 0.04 * (1 - lowest))  # so that points at the edge are drawn whole
        right.set_ylim(bottom=-0.03 * right.get_ylim()[1])
        missed = ", ".join(f"{entry.side}\N{NO-BREAK SPACE}px{_apart(entry)} on {_input(entry)}" for entry in measures.no_room)
        words = [f"bars: {BOOTSTRAP}", *([f"no room for masks of {missed}"] if missed else [])]
        images = [comparison.images for comparison in measures.comparisons]
        return finished(figure, self.title, of_images(material.data, images, *words), [left])

    def _maps(self, material: Material, subjects: Sequence[Subject], compared: Collection[str]) -> Picture:
        """The single changes of the first image that can be read, and how their sum compares with the joint change."""
        shown = [masks for masks in self.masks if masks.name in compared]
        name, photo = _first(material)
        figure, (whole,) = side_by_side([2.4 * (len(shown) + 1)], 0.9 + 2.6 * len(subjects))
        grid = whole.subgridspec(len(subjects), len(shown) + 1)
        for line, subject in enumerate(subjects):
            x = like_weights(subject.transform(photo)[None], subject.model)
            cells: list[tuple[list[Box], NDArray[np.float64], float]] = []
            for masks in shown:
                boxes = masks.boxes(x.shape[2], x.shape[3])
                with torch.inference_mode():
                    cells.append((boxes, *changes(subject, x, boxes)[:2]) if len(boxes) >= _FEWEST else ([], np.zeros(0), 0.0))
            limit = max((float(np.abs(singles).max()) for _, singles, _ in cells if len(singles)), default=1.0) or 1.0
            axes = figure.add_subplot(grid[line, 0])
            axes.imshow(subject.transform.picture(x[0]))
            axes.set_title(wrapped(subject.name, 2.1, 8.5, 2), fontsize=8.5, color=INK, loc="left")
            axes.set_axis_off()
            for column, (masks, (boxes, singles, joint)) in enumerate(zip(shown, cells, strict=True), 1):
                axes = figure.add_subplot(grid[line, column])
                axes.set_axis_off()
                if not boxes:
                    words = f"{masks.name} px: no room"
                    axes.text(0.5, 0.5, words, fontsize=8, color=SOFT, ha="center", transform=axes.transAxes)
                    continue
                canvas = np.full((*x.shape[2:], 3), 246, np.uint8)
                for box, colour in zip(boxes, coloured(singles, limit), strict=True):
                    canvas[box.slices] = colour
                axes.imshow(canvas)
                words = f"{masks.name} px: sum {singles.sum():+.2f}, joint {joint:+.2f}"
                axes.set_title(words, fontsize=7.5, color=SOFT, loc="left")
        colours = "red where a mask lowers the logit of the leading class, in a scale of each model's own"
        return finished(figure, "What each mask alone changes", of_images(material.data, 1, abridged(name, 60), colours))


def changes(subject: Subject, x: Tensor, boxes: Sequence[Box]) -> tuple[NDArray[np.float64], float, str]:
    """How far the leading class's logit falls when boxes are replaced by their mean colours.

    Args:
        subject: the model.
        x: (1, C, H, W) prepared image.
        boxes: N, which do not overlap.

    Returns:
        (N,) by each box alone; by all at once; and the name of the class.
    """
    x = like_weights(x, subject.model)
    fills = torch.stack([x[(0, ..., *box.slices)].mean((1, 2)) for box in boxes])
    together, mask = x.clone(), torch.zeros(x.shape[2:], dtype=torch.bool)
    for box, fill in zip(boxes, fills, strict=True):
        together[(0, ..., *box.slices)] = fill[:, None, None]
        mask[box.slices] = True
    before = subject.logits(x)[0]
    leading = int(before.argmax())
    column = subject.columns[leading]
    if subject.window is not None:
        model = subject.classifier
        values = model.evidence(x, [column])
        singles = occlude(model, x, boxes, fills, [column], values)[:, 0].cpu()
        joint = change(model, values, together, mask, [column]).mean((2, 3))[0, 0].cpu()
    else:
        versions = []
        for box, fill in zip(boxes, fills, strict=True):
            versions.append(x.clone())
            versions[-1][(0, ..., *box.slices)] = fill[:, None, None]
        after = subject.logits_of_versions([*versions, together])[:, leading]
        singles, joint = after[:-1], after[-1]
    first = before[leading].double()
    return (first - singles.double()).numpy(), float(first - joint.double()), str(subject.model.classes[column])


def _comparison(subject: Subject, masks: Masks, rows: Sequence[Changes], seed: int) -> Comparison:
    joint, total = np.array([row.joint for row in rows], np.float64), np.array([row.sum for row in rows], np.float64)
    return Comparison(
        subject.name,
        subject.window,
        masks.name,
        masks.side,
        masks.gap,
        rows[0].masks,
        len(rows),
        correlation(joint, total, seed),
        bootstrap(np.stack([joint, total], 1), _difference, seed),
        subject.window is not None and masks.gap >= subject.window - 1,
    )


def _difference(both: NDArray[np.float64]) -> float:
    """(N, 2) joint changes and sums -> how far they are apart, as a share of the joint change."""
    changed = np.abs(both[:, 0]).mean()
    return float(np.abs(both[:, 0] - both[:, 1]).mean() / changed) if changed else float("nan")


def _first(material: Material) -> tuple[str, Image.Image]:
    """The first image that can be read, with its name."""
    for row, name in enumerate(material.images.names):
        try:
            return name, material.images.photo(row).image
        except (OSError, ValueError):
            continue
    raise ValueError(f"{material.data}: none of the images can be read")


def _without_room(subjects: Iterable[Subject], masks: Masks, changed: Measurements[Changes]) -> list[NoRoom]:
    """An entry for each side of an input on which there was no room for masks."""
    images: dict[int | None, dict[str, int]] = {}
    for subject in subjects:
        if count := sum(not row.masks for row in changed.of(subject, masks.name)):
            images.setdefault(subject.transform.crop, {})[subject.name] = count
    return [NoRoom(masks.side, masks.gap, side, list(counts), max(counts.values())) for side, counts in images.items()]


def _input(entry: NoRoom) -> str:
    """Where there was no room, in words."""
    size = "image" if entry.images == 1 else "images"
    return f"{entry.images:,} {size} that are smaller" if entry.input is None else f"inputs of {entry.input} px"


def _no_room(entry: NoRoom) -> str:
    masks = f"{entry.side} px, {entry.gap} px apart"
    return f"There is no room for {_FEWEST} masks of {masks}, on {_input(entry)} ({', '.join(entry.models)}): left out there."


def _apart(masks: Comparison | NoRoom) -> str:
    return "" if masks.gap == masks.side else f", {masks.gap} px apart"


def _sentences(comparisons: Sequence[Comparison]) -> list[str]:
    def named(comparison: Comparison) -> str:
        return f"{comparison.model} at {comparison.side} px{_apart(comparison)}"

    defined = [comparison for comparison in comparisons if np.isfinite(comparison.correlation.value)]
    if not defined:
        return ["So few images say nothing of a correlation."]
    exact = [comparison for comparison in defined if comparison.exact]
    others = [comparison for comparison in defined if not comparison.exact]
    sentences = []
    if exact:
        apart = max(0.0, *(1 - comparison.correlation.value for comparison in exact))
        sentences.append(
            "Where masks are at least a window less one pixel apart, the changes of BagNets add up "
            f"({', '.join(map(named, exact))}): no correlation is further than {apart:.1e} from 1 (float64)."
        )
    if others:
        words = "; ".join(f"{named(comparison)}: {comparison.correlation.text(4)}" for comparison in others)
        sentences.append(f"Elsewhere, correlation over {others[0].images:,} images: {words}.")
    return sentences
