"""A teacher's answers to the training images, computed once and kept on the disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from ..card import digest
from ..data.labelled import LabelledImages
from ..data.samples import Prepared
from ..files import replacing

_PART = 2048  # images whose answers are written at a time
Progress = Callable[[int, int], None]  # images done, images in all


def answers(
    teacher: Any,
    images: LabelledImages,
    folder: Path,
    *,
    batch_size: int = 64,
    workers: int = 0,
    progress: Progress | None = None,
) -> Tensor:
    """A teacher's logits for the classes of some images, from its own preprocessing of the whole image.

    Kept in a folder that is named after all they depend on; what is there is not computed again, and an interrupted run
    goes on.

    Args:
        teacher: a BagNet or an `OtherNetwork`, in eval mode, that knows all classes of the images.
        images: N of them.
        folder: in which to keep them.
        batch_size: images at a time.
        workers: processes that decode.
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
        "images": sha256("\n".join(images.images.names).encode()).hexdigest(),
        "columns": columns,
    }
    home = folder / sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    found = []
    device = next(teacher.parameters()).device
    prepared = Prepared(images.images, teacher.transform)
    for start in range(0, len(images), _PART):
        path = home / f"{start:09d}.npy"
        if not path.exists():
            rows = range(start, min(start + _PART, len(images)))
            logits = torch.full((len(rows), len(columns)), torch.nan)
            loader: DataLoader[Any] = DataLoader(Subset(prepared, rows), batch_size, num_workers=workers, collate_fn=list)
            with torch.inference_mode():
                for batch in loader:
                    good = [(row - start, x) for row, x in batch if isinstance(x, Tensor)]
                    if good:
                        x = torch.stack([x for _, x in good]).to(device)
                        logits[[place for place, _ in good]] = teacher(x).float().cpu()[:, columns]
            with replacing(path) as part, part.open("wb") as file:
                np.save(file, logits.half().numpy())
        found.append(torch.from_numpy(np.load(path)))
        if progress is not None:
            progress(min(start + _PART, len(images)), len(images))
    return torch.cat(found)
