"""The windows that decide: one pass over the images, kept on the disk as it goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...data.labels import LabelledImages
from ...data.transforms import Preprocessing
from ...engine.classifier import Classifier, model_name
from ...geometry import Geometry
from ...progress import Listener
from ...runs.store import Rows, Store
from ...runs.sweep import Batch, check_finite, check_some, sweep
from ...runs.table import Row

FOR, AGAINST = 0, 1  # roles: windows for the predicted class; of wrong images, windows for it against the true class

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Task:
    """What is audited: a model on some images.

    Args:
        model: a BagNet or a prepared one.
        images: with one label each.
        columns: where the classes of the images are among the model's logits.
        transform: from an image to the network's input.
        windows: how many decide an image, at most.
        seed: of everything that is drawn at random.
        batch_size: images at a time.
        workers: processes that read images, as for `read_batches`.
    """

    model: Classifier
    images: LabelledImages
    columns: Sequence[int]
    transform: Preprocessing
    windows: int
    seed: int
    batch_size: int
    workers: int | None

    @property
    def geometry(self) -> Geometry:
        return self.model.geometry

    @property
    def reach(self) -> int:
        """Cells that count as one clue with a window: those less than half a window away along both axes."""
        return max(0, -(-(self.geometry.size // 2) // self.geometry.stride) - 1)

    @property
    def wanted(self) -> list[int] | None:
        """The columns as `evidence` asks for them: None where they are all, in order."""
        every = list(range(self.model.num_classes))
        return None if list(self.columns) == every else list(self.columns)

    def sweep(self, rows: Sequence[int], stage: str, progress: Listener | None) -> Iterator[Batch]:
        """`runs.sweep` over some of the images."""
        return sweep(
            self.model,
            self.images.images,
            rows,
            transform=self.transform,
            batch_size=self.batch_size,
            workers=self.workers,
            progress=progress,
            stage=stage,
        )


@dataclass(frozen=True, eq=False)
class Decisive:
    """N images and the W windows that decide each of them, for the predicted class (0) and for it against the true class (1).

    Args:
        predicted: (N,) the class with the largest logit; -1 of images that cannot be read.
        grids: (N, 2) rows and columns of cells.
        cells: (N, 2, W) row * columns + column of each window's cell; -1 where there are fewer, or the image is right.
        logits: (N, 2, W) of each window: its logit for the predicted class; in the second role less that for the true class.
        evidence_shares: (N, 2, W) of the positive evidence of all windows, the share of this one and of those that are one clue
            with it.
        features: (N, 2, W, C) float16, each of length 1; on the disk.
        bad: (row, reason) of images that cannot be read.
    """

    predicted: Ints
    grids: Ints
    cells: Ints
    logits: NDArray[np.float64]
    evidence_shares: NDArray[np.float64]
    features: NDArray[np.float16]
    bad: tuple[tuple[int, str], ...]

    def cell(self, row: int, role: int, window: int) -> tuple[int, int]:
        """(row, column) of a window's cell on the grid of its image."""
        down, across = divmod(int(self.cells[row, role, window]), int(self.grids[row, 1]))
        return down, across


def find_decisive(task: Task, store: Store, progress: Listener | None) -> Decisive:
    """Classify all images and note which windows decide. What a run before this one noted is read from the store.

    Args:
        task: what is audited.
        store: for a row of each image, and the features of the windows.
        progress: told after every batch.

    Raises:
        NotANumber: a logit is not finite.
        BadImage: no image can be read.
        OSError: the store cannot be written.
    """
    names = task.images.images.names
    features = store.array("features", (len(names), 2, task.windows, task.model.num_features), np.float16)
    rows = store.rows("decisive")
    todo = [row for row, name in enumerate(names) if name not in rows.done]
    for batch in task.sweep(todo, "finding the windows that decide", progress):
        entries = list(_decided(task, batch, features)) if batch.rows else []
        features.flush()  # before the rows say that they are there
        rows.append((names[row], entry) for row, entry in entries)
        rows.append((names[row], {"error": reason}) for row, reason in batch.bad)
    return _collected(rows, names, features)


def strongest(values: NDArray[Any], count: int, reach: int) -> tuple[Ints, Ints]:
    """The strongest cells of some maps, such that one clue is not counted twice: the rule of `Evidence.windows`.

    Args:
        values: (B, h, w).
        count: how many, at most.
        reach: cells along both axes to which a chosen cell keeps others away.

    Returns:
        (B, count) cells as row * w + column, strongest first, -1 where there are no more; and (B, h, w) for every cell the
        rank of the chosen one that stands for it, the first of those within reach, or -1.
    """
    maps, height, width = values.shape
    rows, columns = np.indices((height, width))
    left = np.array(values, np.float64)
    cells = np.full((maps, count), -1, np.int64)
    clues = np.full(values.shape, -1, np.int64)
    for rank in range(count):
        best = left.reshape(maps, -1).argmax(1)  # the first of equal ones
        remains = np.isfinite(left.reshape(maps, -1)[np.arange(maps), best])
        cells[remains, rank] = best[remains]
        row, column = best // width, best % width
        near = np.maximum(abs(rows - row[:, None, None]), abs(columns - column[:, None, None])) <= reach
        clues[near & (clues < 0) & remains[:, None, None]] = rank
        left[near] = -np.inf
    return cells, clues


def _decided(task: Task, batch: Batch, features: NDArray[np.float16]) -> Iterator[tuple[int, Row]]:
    """(row, entry for the store) of each image of a batch; the features go straight into their array."""
    rows, bags = list(batch.rows), task.model.features(batch.x)
    evidence = task.model.head(bags, task.wanted).float().cpu()
    check_finite(evidence, model_name(task.model), task.images.images.names[rows[0]])
    values = evidence.numpy()  # (B, K, h, w)
    predicted = values.mean((2, 3), dtype=np.float64).argmax(1)
    true = task.images.targets[rows].numpy()
    for index, row in enumerate(rows):
        best, bag = values[index, predicted[index]], bags[index].flatten(1)
        entry: dict[str, Any] = {"predicted": int(predicted[index]), "grid": list(best.shape)}
        maps = {FOR: best}
        if predicted[index] != true[index]:
            maps[AGAINST] = best - values[index, true[index]]
        for role, logits in maps.items():
            (cells,), (clues,) = strongest(logits[None], task.windows, task.reach)
            cells = cells[cells >= 0]
            positive = np.maximum(logits, 0).astype(np.float64)
            shares = [float(positive[clues == rank].sum() / (positive.sum() or 1.0)) for rank in range(len(cells))]
            chosen = torch.nn.functional.normalize(bag[:, cells].float(), dim=0)  # (C, W)
            features[row, role, : len(cells)] = chosen.T.cpu().numpy()
            entry[str(role)] = [cells.tolist(), logits.reshape(-1)[cells].astype(float).tolist(), shares]
        yield row, entry


def _collected(rows: Rows, names: Sequence[str], features: NDArray[np.float16]) -> Decisive:
    numbers = {name: row for row, name in enumerate(names)}
    count, windows = len(names), features.shape[2]
    predicted, grids = np.full(count, -1, np.int64), np.zeros((count, 2), np.int64)
    cells = np.full((count, 2, windows), -1, np.int64)
    logits, evidence_shares = np.zeros((2, count, 2, windows))
    bad: list[tuple[int, str]] = []
    for name, entry in rows:
        row = numbers[name]
        if "error" in entry:
            bad.append((row, entry["error"]))
            continue
        predicted[row], grids[row] = entry["predicted"], entry["grid"]
        for role in (FOR, AGAINST):
            for array, values in zip((cells, logits, evidence_shares), entry.get(str(role), ()), strict=False):
                array[row, role, : len(values)] = values
    check_some(range(count - len(bad)), bad)
    return Decisive(predicted, grids, cells, logits, evidence_shares, features, tuple(sorted(bad)))
