"""Do distant parts of an image interact? The change by many masks together against the sum of their single changes (Fig. 6)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..batch.journal import Row
from ..chart_style import (
    INK,
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
from ..evidence.change import change
from ..evidence.colours import coloured
from ..evidence.explain import like_weights
from ..evidence.occlude import occlude
from ..evidence.picture import Picture
from ..geometry import Box
from .experiment import Experiment, Findings
from .measured import measured
from .statistics import Estimate, bootstrap, correlation
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

    def find(self, material: Material, folder: Path) -> Findings:
        """As `Experiment.find`. ValueError: no image has room for four masks of any side."""
        masks = self.masks
        subjects = [one.doubled() if one.window is not None else one for one in material.ordered]
        settings = {"sides": self.sides, "gaps": self.gaps}
        rows = measured(
            folder / f"{self.name}.csv", settings, material, subjects, lambda _: [one.name for one in masks], self._measure
        )
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
            self.name: self._picture(material, found),
            f"{self.name}_maps": self._maps(material, subjects, {one["masks"] for one in found}),
        }
        return Findings({"comparisons": found}, _sentences(found), figures)

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

    def _picture(self, material: Material, found: Sequence[dict[str, Any]]) -> Picture:
        figure, panels = side_by_side([4.6, 4.6], 4.3)
        images = max(one["images"] for one in found)
        heading(figure, self.title, f"{material.data}, {images:,} images; 95 % intervals over images")
        left, right = (figure.add_subplot(panel) for panel in panels)
        there = {one["masks"] for one in found}
        masks = [one.name for one in self.masks if one.name in there]
        colours = dict(zip(material.ordered, model_colours([one.window for one in material.ordered]), strict=True))
        for place, subject in enumerate(material.ordered):
            own = [one for one in found if one["model"] == subject.name]
            at = [masks.index(one["masks"]) + 0.05 * (place - len(colours) / 2) for one in own]
            for axes, measure in ((left, "correlation"), (right, "relative_error")):
                values, low, high = (np.array([one[measure][name] for one in own], float) for name in ("value", "low", "high"))
                spread = np.abs(np.stack([values - low, high - values]))
                look: Any = {"color": colours[subject], "marker": "o", "markersize": 4, "linewidth": 1.6}
                axes.errorbar(at, values, spread, label=short(subject.name, 32), **look)
        panel_title(left, "Correlation of the two changes")
        panel_title(right, "Mean difference, as a share of the joint change")
        for axes in (left, right):
            axes.set_xticks(range(len(masks)), [one.replace(", ", "\n") for one in masks])
            axes.set_xlim(-0.5, len(masks) - 0.5)
            labels(axes, "side of the masks in pixels; gaps as long, where no other is named", "")
            quiet_frame(axes, "y")
        left.set_ylim(top=min(1.0, left.get_ylim()[1]))
        right.set_ylim(bottom=0)
        legend(right)
        return Picture(figure)

    def _maps(self, material: Material, subjects: Sequence[Subject], there: Collection[str]) -> Picture:
        """The single changes of the first image that can be read, and how their sum compares with the joint change."""
        masks = [one for one in self.masks if one.name in there]
        photo = _first(material)
        figure, panels = side_by_side([2.3] * (len(masks) + 1), 0.9 + 2.45 * len(subjects))
        heading(figure, "What each mask alone changes", "leading class; red: its logit falls when the cell is masked")
        grids = [panel.subgridspec(len(subjects), 1) for panel in panels]
        for line, subject in enumerate(subjects):
            x = like_weights(subject.transform(photo)[None], subject.model)
            cells: list[tuple[list[Box], Any, float]] = []
            for layout in masks:
                boxes = layout.boxes(x.shape[2], x.shape[3])
                with torch.inference_mode():
                    cells.append((boxes, *changes(subject, x, boxes)[:2]) if len(boxes) >= _FEWEST else ([], np.zeros(0), 0.0))
            limit = max((float(np.abs(singles).max()) for _, singles, _ in cells if len(singles)), default=1.0) or 1.0
            axes = figure.add_subplot(grids[0][line])
            axes.imshow(subject.transform.picture(x[0]))
            axes.set_title(short(subject.name, 24), fontsize=8.5, color=INK, loc="left")
            axes.set_axis_off()
            for place, (boxes, singles, joint) in enumerate(cells, 1):
                axes = figure.add_subplot(grids[place][line])
                axes.set_axis_off()
                if not boxes:
                    continue
                canvas = np.full((*x.shape[2:], 3), 246, np.uint8)
                for box, colour in zip(boxes, coloured(singles, limit), strict=True):
                    canvas[box.slices] = colour
                axes.imshow(canvas)
                words = f"{masks[place - 1].name} px: sum {singles.sum():+.2f}, joint {joint:+.2f}"
                axes.set_title(words, fontsize=7.5, color=SOFT, loc="left")
        return Picture(figure)


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


def _first(material: Material) -> Any:
    """The first image that can be read."""
    for row in range(len(material)):
        try:
            return material.images.photo(row).image
        except (OSError, ValueError):
            continue
    raise ValueError(f"{material.data}: none of the images can be read")


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
