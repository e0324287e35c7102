"""Teachers' answers to the training images, computed once and kept on the disk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..data.labels import LabelledImages
from ..engine.classifier import Predictor, model_name
from ..progress import Listener
from ..runs.store import FINISHED
from ..runs.vectors import vectors, vectors_folder


def mean_answers(
    teachers: Sequence[Predictor],
    images: LabelledImages,
    folder: Path,
    *,
    workers: int | None = None,
    rank: int = 0,
    ranks: int = 1,
    progress: Listener | None = None,
) -> Tensor:
    """The mean of the logits of one teacher or more: (N, K) float16. Arguments and errors as for `answers`."""
    total = torch.zeros((), dtype=torch.float16)
    for teacher in teachers:
        logits = answers(teacher, images, folder, workers=workers, rank=rank, ranks=ranks, progress=progress)
        total = total + logits / len(teachers)
    return total


def answers(
    teacher: Predictor,
    images: LabelledImages,
    folder: Path,
    *,
    batch_size: int = 64,
    workers: int | None = None,
    rank: int = 0,
    ranks: int = 1,
    progress: Listener | None = None,
) -> Tensor:
    """A teacher's logits for the classes of some images, from its own preprocessing of the whole image.

    Kept in a folder that is named after all they depend on; what is there is not computed again, and an interrupted run
    goes on.

    Args:
        teacher: that knows all classes of the images.
        images: N of them.
        folder: in which to keep them.
        batch_size: images at a time.
        workers: processes that decode; as for `read_batches`.
        rank: which process this is; each asks about its share and waits for the others'.
        ranks: of how many.
        progress: told after every batch.

    Returns:
        (N, K) float16 logits; NaN of images that cannot be read.

    Raises:
        ValueError: the teacher lacks a class.
    """
    columns = images.classes.among(teacher.classes)
    settings = {
        "teacher": teacher.weights_digest,
        "preprocessing": teacher.transform.to_dict(),
        "images": images.images.fingerprint,
        "columns": columns,
        "ranks": ranks,
    }
    home = vectors_folder(folder, settings)
    shares = [home / f"{number + 1}-of-{ranks}" for number in range(ranks)]
    vectors(
        teacher,
        images.images,
        shares[rank],
        settings,
        len(columns),
        lambda x: teacher(x)[:, columns],
        rows=range(rank, len(images), ranks),
        dtype=np.float16,
        batch_size=batch_size,
        workers=workers,
        progress=progress,
        stage=f"asking {model_name(teacher)}",
    )
    while not all((share / f"{FINISHED}.npz").exists() for share in shares):
        time.sleep(1)
    every = np.empty((len(images), len(columns)), np.float16)
    for number, share in enumerate(shares):
        every[number::ranks] = np.load(share / "vectors.npy")
    return torch.from_numpy(every)
