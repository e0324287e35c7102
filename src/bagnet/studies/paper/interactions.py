"""Do distant parts of an image interact? The change by many masks together against the sum of their single changes (Fig. 6)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...engine.inference import like_weights
from ...evidence.edits import change, occlude
from ...figures.charts import BOOTSTRAP, finished, of_images
from ...figures.colours import coloured
from ...figures.picture import Picture
from ...figures.style import INK, SOFT, abridged, labels, model_colours, panel_title, quiet_frame, side_by_side, wrapped
from ...geometry import Box
from ...runs.table import Row
from ...statistics import Estimate, bootstrap, correlation
from .experiment import Experiment, Findings, Workplace
from .measured import measured
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
class Interactions(Experiment):
    """See `question`. Squares on a grid, with gaps between them, are replaced each by its own mean colour.

    Args:
        sides: of the squares, in pixels of the network's input.
        gaps: between them, one for each side, in pixels; as long as the sides where none are named.
    """

    name = "interactions"
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
    labels = False
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
        masks = self.masks
        subjects = [one.doubled() if one.window is not None else one for one in material.ordered]
        rows = measured(work, material, subjects, lambda _: [one.name for one in masks], self._measure)
        no_room = [one for layout in masks for one in _without_room(subjects, layout, rows)]
        rows = [row for row in rows if row["masks"]]
        if not rows:
            raise ValueError(f"sides={self.sides}: the models' input has no room for {_FEWEST} masks of any of these sides")
        found = [
            self._compare(one, layout, chosen, material.seed)
            for one in subjects
            for layout in masks
            if (chosen := [row for row in rows if row["model"] == one.name and row["part"] == layout.name])
        ]
        figures = {
            self.name: self._picture(material, found, no_room),
            f"{self.name}_maps": self._maps(material, subjects, {one["masks"] for one in found}),
        }
        sentences = [*_sentences(found), *map(_no_room, no_room)]
        return Findings({"comparisons": found, "no_room": no_room}, sentences, figures)

    def _measure(self, subject: Subject, _: int, x: Tensor) -> dict[str, Row]:
        found: dict[str, Row] = {}
        for layout in self.masks:
            boxes = layout.boxes(x.shape[2], x.shape[3])
            if len(boxes) < _FEWEST:
                found[layout.name] = {"masks": 0}
                continue
            singles, joint, leading = changes(subject, x, boxes)
            found[layout.name] = {"masks": len(boxes), "class": leading, "joint": joint, "sum": float(singles.sum())}
        return found

    def _compare(self, subject: Subject, masks: Masks, rows: Sequence[Row], seed: int) -> dict[str, Any]:
        joint, total = (np.array([row[name] for row in rows]) for name in ("joint", "sum"))
        error = bootstrap(np.stack([joint, total], 1), _difference, seed)
        return {
            "model": subject.name,
            "window": subject.window,
            "masks": masks.name,
            "side": masks.side,
            "gap": masks.gap,
            "count": int(rows[0]["masks"]),
            "images": len(rows),
            "correlation": correlation(joint, total, seed).to_dict(),
            "relative_error": error.to_dict(),
            "exact": subject.window is not None and masks.gap >= subject.window - 1,
        }

    def _picture(self, material: Material, found: Sequence[dict[str, Any]], no_room: Sequence[Mapping[str, Any]]) -> Picture:
        figure, panels = side_by_side([4.6, 4.6], 4.3)
        left, right = (figure.add_subplot(panel) for panel in panels)
        there = {one["masks"] for one in found}
        shown = [one for one in self.masks if one.name in there]
        masks = [one.name for one in shown]
        step = min(0.09, 0.6 / len(material.ordered))
        colours = dict(zip(material.ordered, model_colours([one.window for one in material.ordered]), strict=True))
        for place, subject in enumerate(material.ordered):
            own = [one for one in found if one["model"] == subject.name]
            at = [masks.index(one["masks"]) + step * (place - (len(colours) - 1) / 2) for one in own]
            for axes, measure in ((left, "correlation"), (right, "relative_error")):
                values, low, high = (np.array([one[measure][name] for one in own], float) for name in ("value", "low", "high"))
                spread = np.abs(np.stack([values - low, high - values]))
                look: Any = {"color": colours[subject], "marker": "o", "markersize": 4, "linewidth": 1.6}
                axes.errorbar(at, values, spread, label=abridged(subject.name, 44), **look)
        panel_title(left, "Correlation of the two changes")
        panel_title(right, "Mean difference, as a share of the joint change")
        for axes in (left, right):
            axes.set_xticks(range(len(masks)), [f"{one.side} px,\n{one.gap} px apart" for one in shown])
            axes.set_xlim(-0.5, len(masks) - 0.5)
            labels(axes, "masks, in pixels of the input", "")
            quiet_frame(axes, "y")
        lowest = min(left.get_ylim()[0], 0.99)
        left.set_ylim(lowest, 1 + 0.04 * (1 - lowest))  # so that points at the edge are drawn whole
        right.set_ylim(bottom=-0.03 * right.get_ylim()[1])
        missed = ", ".join(f"{one['side']}\N{NO-BREAK SPACE}px{_apart(one)} on {_input(one)}" for one in no_room)
        words = [f"bars: {BOOTSTRAP}", *([f"no room for masks of {missed}"] if missed else [])]
        return finished(figure, self.title, of_images(material.data, [one["images"] for one in found], *words), [left])

    def _maps(self, material: Material, subjects: Sequence[Subject], there: Collection[str]) -> Picture:
        """The single changes of the first image that can be read, and how their sum compares with the joint change."""
        masks = [one for one in self.masks if one.name in there]
        name, photo = _first(material)
        figure, (whole,) = side_by_side([2.4 * (len(masks) + 1)], 0.9 + 2.6 * len(subjects))
        grid = whole.subgridspec(len(subjects), len(masks) + 1)
        for line, subject in enumerate(subjects):
            x = like_weights(subject.transform(photo)[None], subject.model)
            cells: list[tuple[list[Box], Any, float]] = []
            for layout in masks:
                boxes = layout.boxes(x.shape[2], x.shape[3])
                with torch.inference_mode():
                    cells.append((boxes, *changes(subject, x, boxes)[:2]) if len(boxes) >= _FEWEST else ([], np.zeros(0), 0.0))
            limit = max((float(np.abs(singles).max()) for _, singles, _ in cells if len(singles)), default=1.0) or 1.0
            axes = figure.add_subplot(grid[line, 0])
            axes.imshow(subject.transform.picture(x[0]))
            axes.set_title(wrapped(subject.name, 2.1, 8.5, 2), fontsize=8.5, color=INK, loc="left")
            axes.set_axis_off()
            for place, (boxes, singles, joint) in enumerate(cells, 1):
                axes = figure.add_subplot(grid[line, place])
                axes.set_axis_off()
                if not boxes:
                    words = f"{masks[place - 1].name} px: no room"
                    axes.text(0.5, 0.5, words, fontsize=8, color=SOFT, ha="center", transform=axes.transAxes)
                    continue
                canvas = np.full((*x.shape[2:], 3), 246, np.uint8)
                for box, colour in zip(boxes, coloured(singles, limit), strict=True):
                    canvas[box.slices] = colour
                axes.imshow(canvas)
                words = f"{masks[place - 1].name} px: sum {singles.sum():+.2f}, joint {joint:+.2f}"
                axes.set_title(words, fontsize=7.5, color=SOFT, loc="left")
        colours = "red where a mask lowers the logit of the leading class, in a scale of each model's own"
        return finished(figure, "What each mask alone changes", of_images(material.data, 1, abridged(name, 60), colours))


def _difference(both: Any) -> float:
    """(N, 2) joint changes and sums -> how far they are apart, as a share of the joint change."""
    changed = np.abs(both[:, 0]).mean()
    return float(np.abs(both[:, 0] - both[:, 1]).mean() / changed) if changed else float("nan")


def changes(subject: Subject, x: Tensor, boxes: Sequence[Box]) -> tuple[Any, float, str]:
    """How far the leading class's logit falls when boxes are replaced by their mean colours.

    Args:
        subject: the model.
        x: (1, C, H, W) prepared image.
        boxes: N, which do not overlap.

    Returns:
        (N,) float64: by each box alone; by all at once; and the name of the class.
    """
    model = subject.model
    x = like_weights(x, model)
    fills = torch.stack([x[(0, ..., *box.slices)].mean((1, 2)) for box in boxes])
    together, mask = x.clone(), torch.zeros(x.shape[2:], dtype=torch.bool)
    for box, fill in zip(boxes, fills, strict=True):
        together[(0, ..., *box.slices)] = fill[:, None, None]
        mask[box.slices] = True
    before = subject.logits(x)[0]
    leading = int(before.argmax())
    column = subject.columns[leading]
    if subject.window is not None:
        values = model.evidence(x, [column])
        singles = occlude(model, x, boxes, fills, [column], values)[:, 0].cpu()
        joint = change(model, values, together, mask, [column]).mean((2, 3))[0, 0].cpu()
    else:
        masked = []
        for box, fill in zip(boxes, fills, strict=True):
            one = x[0].clone()
            one[(..., *box.slices)] = fill[:, None, None]
            masked.append(one)
        batches: tuple[Tensor, ...] = torch.stack([*masked, together[0]]).split(64)  # type: ignore[no-untyped-call]
        after = torch.cat([subject.logits(part)[:, leading] for part in batches])
        singles, joint = after[:-1], after[-1]
    first = before[leading].double()
    return (first - singles.double()).numpy(), float(first - joint.double()), str(model.classes[column])


def _first(material: Material) -> tuple[str, Any]:
    """The first image that can be read, with its name."""
    for row, name in enumerate(material.images.names):
        try:
            return name, material.images.photo(row).image
        except (OSError, ValueError):
            continue
    raise ValueError(f"{material.data}: none of the images can be read")


def _without_room(subjects: Sequence[Subject], masks: Masks, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Where too few masks could be placed: for each side of an input the models, and on how many images of one at least."""
    found: dict[int | None, dict[str, int]] = {}
    for subject in subjects:
        own = [row for row in rows if (row["model"], row["part"]) == (subject.name, masks.name) and not row["masks"]]
        if own:
            found.setdefault(subject.transform.crop, {})[subject.name] = len(own)
    return [
        {"side": masks.side, "gap": masks.gap, "input": side, "models": list(models), "images": max(models.values())}
        for side, models in found.items()
    ]


def _input(one: Mapping[str, Any]) -> str:
    """Where there was no room, in words."""
    size = "image" if one["images"] == 1 else "images"
    return f"{one['images']:,} {size} that are smaller" if one["input"] is None else f"inputs of {one['input']} px"


def _no_room(one: Mapping[str, Any]) -> str:
    masks = f"{one['side']} px, {one['gap']} px apart"
    return f"There is no room for {_FEWEST} masks of {masks}, on {_input(one)} ({', '.join(one['models'])}): left out there."


def _apart(one: Mapping[str, Any]) -> str:
    return "" if one["gap"] == one["side"] else f", {one['gap']} px apart"


def _sentences(found: Sequence[dict[str, Any]]) -> list[str]:
    def of(one: dict[str, Any]) -> str:
        value = Estimate(**{name: np.nan if number is None else number for name, number in one["correlation"].items()})
        return f"{one['model']} at {one['side']} px{_apart(one)}: {value.text(4)}"

    known = [one for one in found if one["correlation"]["value"] is not None]
    if not known:
        return ["So few images say nothing of a correlation."]
    exact = [one for one in known if one["exact"]]
    others = [one for one in known if not one["exact"]]
    sentences = []
    if exact:
        apart = max(0.0, *(1 - one["correlation"]["value"] for one in exact))
        pairs = ", ".join(f"{one['model']} at {one['side']} px{_apart(one)}" for one in exact)
        sentences.append(
            f"Where masks are at least a window less one pixel apart, the changes of BagNets add up ({pairs}): no correlation is "
            f"further than {apart:.1e} from 1 (float64)."
        )
    if others:
        sentences.append(f"Elsewhere, correlation over {others[0]['images']:,} images: " + "; ".join(map(of, others)) + ".")
    return sentences
