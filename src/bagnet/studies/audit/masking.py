"""What becomes of the predictions when decisive windows are masked, and where else a pattern is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...evidence.edits import change
from ...geometry import Box
from ...progress import Listener
from ...runs.store import Rows, Store
from .decisive import AGAINST, FOR, Decisive, Task, strongest
from .patterns import Pattern


class Outcome(NamedTuple):
    """What becomes of an image when some of its windows are masked.

    Args:
        label: the class with the largest logit.
        true_ahead: whether the true class has a larger logit than the class that was predicted before.
        margin_drop: the share that is gone of the predicted class's margin, its logit less the next one's: from 0 (nothing, or
            the margin has grown) to 1 (another class is ahead).
        masked_area: share of the network's input that was masked.
    """

    label: int
    true_ahead: bool
    margin_drop: float
    masked_area: float


@dataclass(frozen=True, eq=False)
class ConfusedImages:
    """Images of one class that are classified as one other.

    Args:
        true: the class that they show.
        predicted: what they are classified as.
        rows: (n,) the images.
        causes: for each image, which cause each of its windows belongs to.
    """

    true: int
    predicted: int
    rows: NDArray[np.int64]
    causes: Mapping[int, Sequence[int]]


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What becomes of the images when windows are masked, and where the patterns are.

    Args:
        patterns: (image, pattern) -> with the pattern's windows masked.
        control: (image, how many windows) -> with so many windows masked that were drawn at random.
        confused: image -> with all windows masked that speak for the predicted class against the true one.
        causes: (image, cause) -> with those of one cause masked.
        present: (P, 3) how many images have each pattern in any of their windows: of those that show its class; of the others;
            and of the others those that are classified as its class.
    """

    patterns: Mapping[tuple[int, int], Outcome]
    control: Mapping[tuple[int, int], Outcome]
    confused: Mapping[int, Outcome]
    causes: Mapping[tuple[int, int], Outcome]
    present: NDArray[np.int64]


def mask_all(
    task: Task,
    decisive: Decisive,
    patterns: Sequence[Pattern],
    confused: Sequence[ConfusedImages],
    store: Store,
    progress: Listener | None,
) -> Outcomes:
    """Mask the windows of each pattern and of each confusion, and look for the patterns in all images.

    Masked windows become the mean colour (zero, normalised) on the network's input; the logits after that are recomputed
    exactly, by `change`. As a control the same number of windows is masked at random, no two of them one clue.

    Args:
        task: what is audited.
        decisive: windows of each image.
        patterns: in them.
        confused: of which to mask the causes.
        store: for a row of each image.
        progress: told after every batch.

    Raises:
        OSError: the store cannot be written.
    """
    names = task.images.images.names
    by_image: dict[int, list[int]] = {}
    for number, pattern in enumerate(patterns):
        for row in pattern.images.tolist():
            by_image.setdefault(row, []).append(number)
    confusion_of = {row: group for group in confused for row in group.rows.tolist()}
    good = np.flatnonzero(decisive.predicted >= 0).tolist()
    centres = torch.from_numpy(np.stack([pattern.centre for pattern in patterns])) if patterns else torch.empty(0)
    near = torch.tensor([pattern.near for pattern in patterns])
    rows = store.rows("masked")
    todo = [row for row in good if names[row] not in rows.done]
    for batch in task.sweep(todo, "masking them", progress):
        if not batch.rows:
            continue
        bags = task.model.features(batch.x)
        values = task.model.head(bags, task.wanted)
        centres, near = centres.to(bags.device), near.to(bags.device)
        entries = []
        for index, row in enumerate(batch.rows):
            image = _Image(task, decisive, row, batch.x[index : index + 1], values[index : index + 1])
            numbered = [(number, patterns[number]) for number in by_image.get(row, ())]
            entry = _entry(image, decisive.cells[row], numbered, confusion_of.get(row))
            entry["present"] = _present(bags[index], centres, near)
            entries.append((names[row], entry))
        rows.append(entries)
    return _collected(rows, task, decisive, patterns)


class _Image:
    """One prepared image, of which windows can be masked."""

    def __init__(self, task: Task, decisive: Decisive, row: int, x: Tensor, values: Tensor) -> None:
        self.task, self.row, self.x, self.values = task, row, x, values
        self.true, self.predicted = int(task.images.targets[row]), int(decisive.predicted[row])
        self.whole = Box(0, 0, x.shape[3], x.shape[2])
        self.grid = values.shape[2], values.shape[3]
        self.margin = self._margin(_means(values))

    def without(self, cells: NDArray[np.int64]) -> Outcome:
        """With the windows of some cells masked."""
        mask = torch.zeros(self.x.shape[2:], dtype=torch.bool)
        for cell in cells.tolist():
            mask[self.task.geometry.window(*divmod(cell, self.grid[1])).intersect(self.whole).slices] = True
        edited = self.x.clone()
        edited[..., mask.to(edited.device)] = 0
        logits = _means(change(self.task.model, self.values, edited, mask, self.task.wanted))
        label, margin = int(logits.argmax()), self._margin(logits)
        left = margin / self.margin if self.margin > 0 else float(label == self.predicted)
        true_ahead = bool(logits[self.true] > logits[self.predicted])
        return Outcome(label, true_ahead, float(np.clip(1 - left, 0, 1)), float(mask.double().mean()))

    def _margin(self, logits: NDArray[np.float64]) -> float:
        """Of the predicted class over the next; negative where another is ahead."""
        return float(logits[self.predicted] - np.delete(logits, self.predicted).max())


def _means(values: Tensor) -> NDArray[np.float64]:
    """(1, K, h, w) evidence -> (K,) logits."""
    return values[0].double().mean((1, 2)).cpu().numpy()


def _entry(
    image: _Image, cells: NDArray[np.int64], patterns: Sequence[tuple[int, Pattern]], confused: ConfusedImages | None
) -> dict[str, Any]:
    """What the store keeps of one image, whose decisive windows are cells (2, W)."""
    entry: dict[str, Any] = {"patterns": [], "control": []}
    sizes: set[int] = set()
    for number, pattern in patterns:
        chosen = pattern.of_image(image.row)
        entry["patterns"].append([number, *image.without(cells[FOR, chosen])])
        sizes.add(len(chosen))
    if confused is not None:
        causes = np.asarray(confused.causes[image.row])
        blamed = cells[AGAINST, : len(causes)]
        entry["confused"] = image.without(blamed)
        entry["causes"] = [[int(cause), *image.without(blamed[causes == cause])] for cause in np.unique(causes)]
        sizes.add(len(blamed))
    if sizes:
        order = np.random.default_rng((image.task.seed, image.row)).random(image.grid)  # the same whatever the batch
        (drawn,), _ = strongest(order[None], max(sizes), image.task.reach)
        drawn = drawn[drawn >= 0]
        entry["control"] = [[size, *image.without(drawn[:size])] for size in sorted(sizes)]
    return entry


def _present(bag: Tensor, centres: Tensor, near: Tensor) -> list[int]:
    """Which patterns one of the windows belongs to, of features (C, h, w); centres (P, C), and how near each (P,) it must be."""
    if not len(centres):
        return []
    directions = torch.nn.functional.normalize(bag.float().flatten(1), dim=0)  # (C, h * w)
    numbers: list[int] = torch.nonzero((centres @ directions).amax(1) >= near).flatten().tolist()
    return numbers


def _collected(rows: Rows, task: Task, decisive: Decisive, patterns: Sequence[Pattern]) -> Outcomes:
    row_of = {name: row for row, name in enumerate(task.images.images.names)}
    targets, labels = task.images.targets.numpy(), np.array([pattern.label for pattern in patterns], np.int64)
    by_pattern: dict[tuple[int, int], Outcome] = {}
    control: dict[tuple[int, int], Outcome] = {}
    confused: dict[int, Outcome] = {}
    causes: dict[tuple[int, int], Outcome] = {}
    present = np.zeros((len(patterns), 3), np.int64)
    for name, entry in rows:
        row = row_of[name]
        for kind, outcomes in (("patterns", by_pattern), ("control", control), ("causes", causes)):
            outcomes.update({(row, key): Outcome(*values) for key, *values in entry.get(kind, ())})
        if "confused" in entry:
            confused[row] = Outcome(*entry["confused"])
        numbers = np.array(entry["present"], np.int64)
        in_class = labels[numbers] == targets[row]
        predicted = labels[numbers] == decisive.predicted[row]
        present[numbers] += np.stack([in_class, ~in_class, ~in_class & predicted], 1)
    return Outcomes(by_pattern, control, confused, causes, present)
