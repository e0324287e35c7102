"""Teachers' answers to the training images, computed once and kept on the disk; or to each view of them, anew in each step."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import resize

from ..data.labels import LabelledImages
from ..data.names import ClassNames
from ..data.transforms import Preprocessing
from ..engine.classifier import Predictor, model_name
from ..progress import Listener
from ..runs.store import FINISHED
from ..runs.vectors import vectors, vectors_folder


def mean_answers(
    teachers: Sequence[Predictor],
    images: LabelledImages,
    folder: Path,
    *,
    grey: tuple[float, float] | None = None,
    workers: int | None = None,
    rank: int = 0,
    ranks: int = 1,
    progress: Listener | None = None,
) -> Tensor:
    """The mean of the logits of one teacher or more: (N, K) float16. Arguments and errors as for `answers`."""
    total = torch.zeros((), dtype=torch.float16)
    for teacher in teachers:
        logits = answers(teacher, images, folder, grey=grey, workers=workers, rank=rank, ranks=ranks, progress=progress)
        total = total + logits / len(teachers)
    return total


def answers(
    teacher: Predictor,
    images: LabelledImages,
    folder: Path,
    *,
    grey: tuple[float, float] | None = None,
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
        grey: which levels its student sees as black and white, and it with it; its own where None.
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
    transform = teacher.transform if grey is None else replace(teacher.transform, grey=grey)
    settings = {
        "teacher": teacher.weights_digest,
        "preprocessing": transform.to_dict(),
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
        transform=transform,
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


class ConsistentTeachers:
    """The mean of the logits of one teacher or more for the very views that a student learns from (Beyer et al. 2022).

    Args:
        teachers: each knows all of the classes; networks are moved to where the student is.
        classes: K of the student.
        channels: of the views.
        device: where the student is.
        precision: of the arithmetic, as a recipe has it; of bf16 the weights are float32.

    Raises:
        ValueError: a teacher lacks a class, takes other channels, or resizes as only Pillow does.
    """

    def __init__(
        self, teachers: Sequence[Predictor], classes: ClassNames, channels: int, device: torch.device, precision: str
    ) -> None:
        self._columns = [classes.among(teacher.classes) for teacher in teachers]
        for teacher in teachers:
            _check_views(teacher, channels)
        self._teachers = [
            teacher.to(device).to(memory_format=torch.channels_last).eval() if isinstance(teacher, nn.Module) else teacher
            for teacher in teachers
        ]
        self._device, self._bf16 = device, precision == "bf16"

    def __call__(self, views: Tensor) -> Tensor:
        """(B, K) float32 logits of (B, C, H, W) pixels in 0 to 255, each view resized to a teacher's input, all of it."""
        total = torch.zeros((), device=views.device)
        for teacher, columns in zip(self._teachers, self._columns, strict=True):
            where = self._device if isinstance(teacher, nn.Module) else torch.device("cpu")
            with torch.no_grad(), torch.autocast(where.type, torch.bfloat16) if self._bf16 else nullcontext():
                logits = teacher(_as_seen(views.to(where), teacher.transform))
            total = total + logits[:, columns].float().to(views.device) / len(self._teachers)
        return total


def _check_views(teacher: Predictor, channels: int) -> None:
    seen_as = teacher.transform
    if len(seen_as.mean) != channels and (channels, len(seen_as.mean)) != (1, 3):
        raise ValueError(
            f"{model_name(teacher)} takes {len(seen_as.mean)} channels and views have {channels}: leave consistent out"
        )
    if seen_as.interpolation == "lanczos":
        raise ValueError(f"{model_name(teacher)} resizes by lanczos, which PyTorch has not: leave consistent out")


def _as_seen(views: Tensor, preprocessing: Preprocessing) -> Tensor:
    """(B, C, h, w) normalised, of views that are seen whole."""
    pixels = views.float().expand(-1, len(preprocessing.mean), -1, -1)
    shorter = preprocessing.crop or preprocessing.resize
    if shorter is not None and shorter != min(pixels.shape[-2:]):
        pixels = resize(pixels, [shorter], InterpolationMode(preprocessing.interpolation), antialias=True).clamp(0, 255)
    return preprocessing.normalise(pixels.clone()).contiguous(memory_format=torch.channels_last)
