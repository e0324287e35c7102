"""The windows that decide: one pass over the images, kept on the disk as it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...data.decode import BadImage
from ...data.labels import LabelledImages
from ...data.transforms import Preprocessing
from ...engine.classifier import Classifier
from ...engine.inference import exact, like_weights
from ...evaluation.evaluate import NotANumber
from ...geometry import Geometry
from ...runs.journal import Journal, Row
from ...runs.loader import read_batches

FOR, AGAINST = 0, 1  # windows for the predicted class; of wrong images, windows for it rather than for the true one
FEATURES = "features.npy"

Progress = Callable[[int, int], None]  # images done, images in all
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Task:
    """What is asked: the images and who classifies them.

    Args:
        model: a BagNet or a prepared one.
        images: with one label each.
        columns: where the classes of the images are among the model's logits.
        transform: from an image to the network's input.
        windows: how many decide an image, at most.
        seed: of everything that is drawn by lot.
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

    def batches(self, rows: Sequence[int]) -> Iterator[tuple[list[int], Tensor, list[tuple[int, str]]]]:
        """(rows, (B, C, H, W) images where the weights are, (row, reason) of those that the network cannot take)."""
        names = self.images.images.names
        for batch in read_batches(self.images.images, rows, self.transform, self.batch_size, self.workers):
            bad = list(batch.bad)
            for group, x in batch.groups:
                try:
                    self.model.check(x)
                except ValueError as error:  # where there is no crop, each image has a size of its own
                    bad += [(row, f"{names[row]}: {error}") for row in group]
                else:
                    yield group, like_weights(x, self.model), []
            yield [], torch.empty(0), bad


@dataclass(frozen=True, eq=False)
class Decisive:
    """N images, the W windows that decide each of them, for (0) the predicted class and (1) against the true one.

    Args:
        predicted: (N,) the class with the largest logit; -1 of images that cannot be read.
        grids: (N, 2) rows and columns of cells.
        cells: (N, 2, W) row * columns + column of each window's cell; -1 where there are fewer, or the image is right.
        logits: (N, 2, W) what each says: its logit, or its difference of logits.
        carried: (N, 2, W) of the positive evidence of all windows, the share of this one and those that are one clue with it.
        features: (N, 2, W, C) float16, each of length 1; on the disk.
        bad: (row, reason) of images that cannot be read.
    """

    predicted: Ints
    grids: Ints
    cells: Ints
    logits: NDArray[np.float64]
    carried: NDArray[np.float64]
    features: NDArray[np.float16]
    bad: tuple[tuple[int, str], ...]

    def place(self, row: int, role: int, window: int) -> tuple[int, int]:
        """(row, column) of a window's cell."""
        found = divmod(int(self.cells[row, role, window]), int(self.grids[row, 1]))
        return int(found[0]), int(found[1])


def find_decisive(task: Task, folder: Path, settings: Mapping[str, Any], progress: Progress | None) -> Decisive:
    """Classify all images and note which windows decide. What is known already is read from the folder.

    Args:
        task: what is asked.
        folder: for a journal of what is known, and `features.npy`.
        settings: what the answers depend on.
        progress: told after every batch.

    Raises:
        OtherRun: the folder holds the beginning of another run.
        NotANumber: a logit is NaN.
        BadImage: no image can be read.
        OSError: the folder cannot be written.
    """
    names = task.images.images.names
    shape = (len(names), 2, task.windows, task.model.num_features)
    path = folder / FEATURES
    table = folder / "decisive.csv"
    if not path.exists():  # without the features the rest is of no use
        table.with_name(f"{table.name}.journal").unlink(missing_ok=True)
    with Journal(table, settings, overwrite=True) as journal:
        features = np.lib.format.open_memmap(path, "r+" if journal.done else "w+", np.float16, shape)
        todo = [row for row, name in enumerate(names) if name not in journal.done]
        with exact(task.model), torch.inference_mode():
            for rows, x, bad in task.batches(todo):
                found = list(_decided(task, rows, x, features)) if rows else []
                features.flush()  # before the journal says that they are there
                journal.write("image", [(names[row], entry) for row, entry in found])
                journal.write("image", [(names[row], {"error": reason}) for row, reason in bad])
                if progress is not None:
                    progress(len(journal.done), len(names))
        return _collected(journal, names, features)


def strongest(values: NDArray[Any], count: int, reach: int) -> tuple[Ints, Ints]:
    """The strongest cells of some maps, such that one clue is not counted twice: the rule of `Evidence.windows`.

    Args:
        values: (B, h, w).
        count: how many, at most.
        reach: cells along both axes to which a chosen cell keeps others away.

    Returns:
        (B, count) cells as row * w + column, strongest first, -1 where there are no more; and (B, h, w) for every cell the
        place of the chosen one that stands for it, the first of those within reach, or -1.
    """
    maps, height, width = values.shape
    rows, columns = np.indices((height, width))
    left = np.array(values, np.float64)
    cells = np.full((maps, count), -1, np.int64)
    clues = np.full(values.shape, -1, np.int64)
    for place in range(count):
        best = left.reshape(maps, -1).argmax(1)  # the first of equal ones
        there = np.isfinite(left.reshape(maps, -1)[np.arange(maps), best])
        cells[there, place] = best[there]
        row, column = best // width, best % width
        near = np.maximum(abs(rows - row[:, None, None]), abs(columns - column[:, None, None])) <= reach
        clues[near & (clues < 0) & there[:, None, None]] = place
        left[near] = -np.inf
    return cells, clues


def _decided(task: Task, rows: Sequence[int], x: Tensor, features: NDArray[np.float16]) -> Iterator[tuple[int, Row]]:
    """What the journal says of each image of a batch; the features go where they belong."""
    bags = task.model.features(x)
    values = task.model.head(bags, task.wanted).float().cpu().numpy()  # (B, K, h, w)
    if not np.isfinite(values).all():
        raise NotANumber(f"{task.images.images.names[rows[0]]}: the model answers with logits that are no numbers")
    predicted = values.mean((2, 3), dtype=np.float64).argmax(1)
    true = task.images.targets[list(rows)].numpy()
    for place, row in enumerate(rows):
        own, bag = values[place, predicted[place]], bags[place].flatten(1)
        entry: dict[str, Any] = {"predicted": int(predicted[place]), "grid": list(own.shape)}
        says = {FOR: own}
        if predicted[place] != true[place]:
            says[AGAINST] = own - values[place, true[place]]
        for role, map_ in says.items():
            (cells,), (clues,) = strongest(map_[None], task.windows, task.reach)
            cells = cells[cells >= 0]
            positive = np.maximum(map_, 0).astype(np.float64)
            shares = [float(positive[clues == one].sum() / (positive.sum() or 1.0)) for one in range(len(cells))]
            chosen = torch.nn.functional.normalize(bag[:, cells].float(), dim=0)  # (C, W)
            features[row, role, : len(cells)] = chosen.T.cpu().numpy()
            entry[str(role)] = [cells.tolist(), map_.reshape(-1)[cells].astype(float).tolist(), shares]
        yield row, entry


def _collected(journal: Journal, names: Sequence[str], features: NDArray[np.float16]) -> Decisive:
    numbers = {name: row for row, name in enumerate(names)}
    count, windows = len(names), features.shape[2]
    predicted, grids = np.full(count, -1, np.int64), np.zeros((count, 2), np.int64)
    cells = np.full((count, 2, windows), -1, np.int64)
    logits, carried = np.zeros((2, count, 2, windows))
    bad: list[tuple[int, str]] = []
    for entry in journal.rows():
        row = numbers[entry["image"]]
        if "error" in entry:
            bad.append((row, entry["error"]))
            continue
        predicted[row], grids[row] = entry["predicted"], entry["grid"]
        for role in (FOR, AGAINST):
            for array, found in zip((cells, logits, carried), entry.get(str(role), ()), strict=False):
                array[row, role, : len(found)] = found
    if len(bad) == count:
        raise BadImage(f"none of the {count} images can be read: {bad[0][1]}")
    return Decisive(predicted, grids, cells, logits, carried, features, tuple(sorted(bad)))
