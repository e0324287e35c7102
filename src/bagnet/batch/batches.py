"""Images of a collection as batches ready for a network, read beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ..data.samples import Prepared
from ..data.sources import Images
from ..data.transforms import Preprocessing


@dataclass(frozen=True, slots=True)
class Decoded:
    """Some images, read and prepared.

    Args:
        groups: (rows, (B, C, H, W) images) of each input size.
        bad: (row, reason) of those that cannot be read.
    """

    groups: list[tuple[list[int], Tensor]] = field(default_factory=list)
    bad: list[tuple[int, str]] = field(default_factory=list)


def read_batches(
    images: Images, rows: Sequence[int], preprocessing: Preprocessing, batch_size: int, workers: int | None = None
) -> Iterator[Decoded]:
    """Read some rows of a collection, a batch at a time, in order.

    Args:
        images: the collection.
        rows: which ones.
        preprocessing: of the network.
        batch_size: images at a time.
        workers: processes that read; one per core but one, where None and there are enough images to make it pay.
    """
    count = max(0, (os.cpu_count() or 1) - 1) if workers is None else workers
    count = 0 if len(rows) < 4 * batch_size else count  # starting a process takes longer than a few images
    loader: DataLoader[Any] = DataLoader(
        Prepared(images, preprocessing, rows),
        batch_size,
        num_workers=count,
        collate_fn=list,
        multiprocessing_context="spawn" if count else None,  # forking a process that runs threads may hang it
    )
    for batch in loader:
        by_size: dict[tuple[int, ...], list[tuple[int, Tensor]]] = {}
        bad: list[tuple[int, str]] = []
        for row, found in batch:
            if isinstance(found, Tensor):
                by_size.setdefault(tuple(found.shape), []).append((row, found))
            else:
                bad.append((row, found))
        yield Decoded([([row for row, _ in group], torch.stack([x for _, x in group])) for group in by_size.values()], bad)
