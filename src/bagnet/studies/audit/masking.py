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


class Answer(NamedTuple):
    """What the network says of an image after masking.

    Args:
        label: the class with the largest logit.
        ahead: whether the true class has a larger logit than the class that was predicted before.
        lost: of the lead that the predicted class had, its logit less the next one's, the share that is gone: from 0 (nothing,
            or it has grown) to 1 (another class is ahead).
        area: share of the network's input that was masked.
    """

    label: int
    ahead: bool
    lost: float
    area: float


@dataclass(frozen=True, eq=False)
class Mistakes:
    """Images of one class that are taken for one other.

    Args:
        true: the class that they show.
        predicted: what they are taken for.
        rows: (n,) the images.
        causes: for each image, which cause each of its windows belongs to.
    """

    true: int
    predicted: int
    rows: NDArray[np.int64]
    causes: Mapping[int, Sequence[int]]


@dataclass(frozen=True, eq=False)
class Masked:
    """What becomes of the images after masking, and where the patterns are.

    Args:
        patterns: (image, pattern) -> what becomes of it with the pattern's windows masked.
        control: (image, how many windows) -> with so many windows masked that were drawn by lot.
        mistakes: image -> with all windows masked that speak for the predicted class against the true one.
        causes: (image, cause) -> with those of one cause masked.
        having: (P, 3) how many images have each pattern in any of their windows: of those that show its class; of the others;
            and of the others those that are taken for its class.
    """

    patterns: Mapping[tuple[int, int], Answer]
    control: Mapping[tuple[int, int], Answer]
    mistakes: Mapping[int, Answer]
    causes: Mapping[tuple[int, int], Answer]
    having: NDArray[np.int64]


def mask_all(
    task: Task,
    decisive: Decisive,
    patterns: Sequence[Pattern],
    mistakes: Sequence[Mistakes],
    store: Store,
    progress: Listener | None,
) -> Masked:
    """Mask the windows of each pattern and of each mistake, and look for the patterns in all images.

    Masked windows become the mean colour (zero, normalised) on the network's input; the logits after that are recomputed
    exact, by `change`. As a control the same number of windows is masked that were drawn by lot, no two of them one clue.

    Args:
        task: what is asked.
        decisive: windows of each image.
        patterns: found in them.
        mistakes: of which to mask the causes.
        store: for rows of what is known.
        progress: told after every batch.

    Raises:
        OSError: the store cannot be written.
    """
    names = task.images.images.names
    by_image: dict[int, list[int]] = {}
    for number, pattern in enumerate(patterns):
        for row in pattern.images.tolist():
            by_image.setdefault(row, []).append(number)
    of_mistake = {row: one for one in mistakes for row in one.rows.tolist()}
    good = np.flatnonzero(decisive.predicted >= 0).tolist()
    centres = torch.from_numpy(np.stack([one.centre for one in patterns])) if patterns else torch.empty(0)
    near = torch.tensor([one.near for one in patterns])
    rows = store.rows("masked")
    todo = [row for row in good if names[row] not in rows.done]
    for batch in task.sweep(todo, "masking them", progress):
        if not batch.rows:
            continue
        bags = task.model.features(batch.x)
        values = task.model.head(bags, task.wanted)
        centres, near = centres.to(bags.device), near.to(bags.device)
        entries = []
        for place, row in enumerate(batch.rows):
            image = _Image(task, decisive, row, batch.x[place : place + 1], values[place : place + 1])
            own = [(number, patterns[number]) for number in by_image.get(row, ())]
            entry = _entry(image, decisive.cells[row], own, of_mistake.get(row))
            entry["has"] = _present(bags[place], centres, near)
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
        self.lead = self._lead(_means(values))

    def without(self, cells: NDArray[np.int64]) -> Answer:
        """With the windows of some cells masked."""
        mask = torch.zeros(self.x.shape[2:], dtype=torch.bool)
        for cell in cells.tolist():
            mask[self.task.geometry.window(*divmod(cell, self.grid[1])).intersect(self.whole).slices] = True
        edited = self.x.clone()
        edited[..., mask.to(edited.device)] = 0
        logits = _means(change(self.task.model, self.values, edited, mask, self.task.wanted))
        label, lead = int(logits.argmax()), self._lead(logits)
        left = lead / self.lead if self.lead > 0 else float(label == self.predicted)
        ahead = bool(logits[self.true] > logits[self.predicted])
        return Answer(label, ahead, float(np.clip(1 - left, 0, 1)), float(mask.double().mean()))

    def _lead(self, logits: NDArray[np.float64]) -> float:
        """Of the predicted class over the next; negative where another is ahead."""
        return float(logits[self.predicted] - np.delete(logits, self.predicted).max())


def _means(values: Tensor) -> NDArray[np.float64]:
    """(1, K, h, w) evidence -> (K,) logits."""
    return values[0].double().mean((1, 2)).cpu().numpy()


def _entry(
    image: _Image, cells: NDArray[np.int64], patterns: Sequence[tuple[int, Pattern]], mistake: Mistakes | None
) -> dict[str, Any]:
    """What the rows say of one image, whose decisive windows are cells (2, W)."""
    entry: dict[str, Any] = {"patterns": [], "control": []}
    sizes: set[int] = set()
    for number, pattern in patterns:
        chosen = pattern.of_image(image.row)
        entry["patterns"].append([number, *image.without(cells[FOR, chosen])])
        sizes.add(len(chosen))
    if mistake is not None:
        causes = np.asarray(mistake.causes[image.row])
        blamed = cells[AGAINST, : len(causes)]
        entry["mistake"] = image.without(blamed)
        entry["causes"] = [[int(one), *image.without(blamed[causes == one])] for one in np.unique(causes)]
        sizes.add(len(blamed))
    if sizes:
        lots = np.random.default_rng((image.task.seed, image.row)).random(image.grid)  # the same whatever the batch
        (drawn,), _ = strongest(lots[None], max(sizes), image.task.reach)
        drawn = drawn[drawn >= 0]
        entry["control"] = [[size, *image.without(drawn[:size])] for size in sorted(sizes)]
    return entry


def _present(bag: Tensor, centres: Tensor, near: Tensor) -> list[int]:
    """Which patterns one of the windows belongs to, of features (C, h, w); centres (P, C), and how near each (P,) it must be."""
    if not len(centres):
        return []
    directions = torch.nn.functional.normalize(bag.float().flatten(1), dim=0)  # (C, h * w)
    found: list[int] = torch.nonzero((centres @ directions).amax(1) >= near).flatten().tolist()
    return found


def _collected(rows: Rows, task: Task, decisive: Decisive, patterns: Sequence[Pattern]) -> Masked:
    numbers = {name: row for row, name in enumerate(task.images.images.names)}
    targets, labels = task.images.targets.numpy(), np.array([one.label for one in patterns], np.int64)
    by_pattern: dict[tuple[int, int], Answer] = {}
    control: dict[tuple[int, int], Answer] = {}
    mistakes: dict[int, Answer] = {}
    causes: dict[tuple[int, int], Answer] = {}
    having = np.zeros((len(patterns), 3), np.int64)
    for name, entry in rows:
        row = numbers[name]
        for kind, kept in (("patterns", by_pattern), ("control", control), ("causes", causes)):
            kept.update({(row, key): Answer(*answer) for key, *answer in entry.get(kind, ())})
        if "mistake" in entry:
            mistakes[row] = Answer(*entry["mistake"])
        there = np.array(entry["has"], np.int64)
        own = labels[there] == targets[row]
        having[there] += np.stack([own, ~own, ~own & (labels[there] == decisive.predicted[row])], 1)
    return Masked(by_pattern, control, mistakes, causes, having)
