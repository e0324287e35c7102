"""Teachers' answers to the training images, computed once and kept on the disk."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..card import digest
from ..data.labels import LabelledImages
from ..files import replacing
from ..runs.loader import read_batches

_PART = 2048  # images whose answers are written at a time
Progress = Callable[[int, int], None]  # images done, images in all


def agreed(
    teachers: Sequence[Any],
    images: LabelledImages,
    folder: Path,
    *,
    workers: int | None = None,
    rank: int = 0,
    ranks: int = 1,
) -> Tensor:
    """The mean of the logits of one teacher or more: (N, K) float16. Arguments and errors as for `answers`."""
    total = torch.zeros((), dtype=torch.float16)
    for one in teachers:
        total = total + answers(one.eval(), images, folder, workers=workers, rank=rank, ranks=ranks) / len(teachers)
    return total


def answers(
    teacher: Any,
    images: LabelledImages,
    folder: Path,
    *,
    batch_size: int = 64,
    workers: int | None = None,
    rank: int = 0,
    ranks: int = 1,
    progress: Progress | None = None,
) -> Tensor:
    """A teacher's logits for the classes of some images, from its own preprocessing of the whole image.

    Kept in a folder that is named after all they depend on; what is there is not computed again, and an interrupted run
    goes on.

    Args:
        teacher: a BagNet or an `ExternalNetwork`, in eval mode, that knows all classes of the images.
        images: N of them.
        folder: in which to keep them.
        batch_size: images at a time.
        workers: processes that decode; one per core but one, where None and there are many images.
        rank: which process this is; each asks about its share and waits for the others'.
        ranks: of how many.
        progress: told after every part.

    Returns:
        (N, K) float16 logits; NaN of images that cannot be read.

    Raises:
        ValueError: the teacher lacks a class.
    """
    columns = images.classes.among(teacher.classes)
    settings = {
        "teacher": digest(teacher.state_dict()),
        "preprocessing": teacher.transform.to_dict(),
        "images": images.images.fingerprint,
        "columns": columns,
    }
    home = folder / sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    parts = [range(start, min(start + _PART, len(images))) for start in range(0, len(images), _PART)]
    files = [home / f"{rows.start:09d}.npy" for rows in parts]
    mine = [place for place, path in enumerate(files) if place % ranks == rank and not path.exists()]
    _ask(
        teacher,
        images,
        columns,
        [parts[place] for place in mine],
        [files[place] for place in mine],
        batch_size,
        workers,
        progress,
    )
    while not all(path.exists() for path in files):  # the other processes' parts
        time.sleep(1)
    return torch.cat([torch.from_numpy(np.load(path)) for path in files])


@torch.inference_mode()
def _ask(
    teacher: Any,
    images: LabelledImages,
    columns: Sequence[int],
    parts: Sequence[range],
    files: Sequence[Path],
    batch_size: int,
    workers: int | None,
    progress: Progress | None,
) -> None:
    """Write a file for each part; each as soon as it is complete."""
    device = next(teacher.parameters()).device
    todo = [row for part in parts for row in part]
    known: dict[int, Tensor] = {}
    place = done = 0
    for batch in read_batches(images.images, todo, teacher.transform, batch_size, workers):
        for group, x in batch.groups:
            known.update(zip(group, teacher(x.to(device)).float().cpu()[:, columns], strict=True))
        known.update((row, torch.full((len(columns),), torch.nan)) for row, _ in batch.bad)
        while place < len(parts) and all(row in known for row in parts[place]):
            logits = torch.stack([known.pop(row) for row in parts[place]])
            with replacing(files[place]) as part, part.open("wb") as file:
                np.save(file, logits.half().numpy())
            place, done = place + 1, done + len(logits)
            if progress is not None:
                progress(done, len(todo))
