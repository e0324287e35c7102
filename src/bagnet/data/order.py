"""The order of training: which rows are in which batch of an epoch, whoever makes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Sampler

from .tables import STREAMED_GROUPS

SampleKey = tuple[int, int]  # (epoch, row)


class Order(Sampler[list[SampleKey]]):
    """The rows of each step, as (epoch, row): every row once an epoch, in an order that (seed, epoch) fixes.

    The epoch travels with the row, so that whatever is random can be a function of (seed, epoch, row) in any worker. Rows
    that do not fill the last batch sit this epoch out. Processes that train together deal each batch out among them.

    Args:
        rows: how many there are.
        batch_size: rows of a step, over all processes; all rows where there are fewer.
        seed: of the run.
        rank: which process this is.
        ranks: of how many.
        parts: into which each process splits its share of a step.
        weights: (N,) how likely each row is drawn, with replacement; each once where None.
        starts: first rows of groups that are read together: a few groups at a time are mixed, in an order of chance; all rows
            with each other where None.
    """

    def __init__(
        self,
        rows: int,
        batch_size: int,
        seed: int,
        *,
        rank: int = 0,
        ranks: int = 1,
        parts: int = 1,
        weights: Tensor | None = None,
        starts: Sequence[int] | None = None,
    ) -> None:
        self.rows, self.seed = rows, seed
        self.starts = None if starts is None else [*starts, rows]
        self.batch_size = min(batch_size, rows // (ranks * parts) * ranks * parts)
        self.rank, self.ranks, self.parts = rank, ranks, parts
        self.weights = None if weights is None else weights.double().numpy() / weights.double().sum().item()
        if not self.batch_size or self.batch_size % (ranks * parts):
            raise ValueError(
                f"{rows} images in steps of {batch_size} cannot be dealt out evenly among {ranks} processes in {parts} parts"
            )
        self.epoch = 0
        self._from = (0, 0)

    def set_epoch(self, epoch: int) -> None:
        """Give the rows of that epoch from now on."""
        self.epoch = epoch

    def go_on(self, epoch: int, count: int) -> None:
        """Begin with an epoch, and leave out its first parts, which were done before an interruption.

        That it is this epoch has to be known before anybody says so by `set_epoch`: processes that prepare images ask for the
        first rows as soon as they start.
        """
        self.epoch, self._from = epoch, (epoch, count)

    @property
    def steps(self) -> int:
        """Of a whole epoch."""
        return self.rows // self.batch_size

    def __len__(self) -> int:
        """Parts of a whole epoch."""
        return self.steps * self.parts

    def __iter__(self) -> Iterator[list[SampleKey]]:
        random = np.random.default_rng((self.seed, self.epoch))
        order = self._order(random)
        share = self.batch_size // self.parts
        first = self._from[1] if self.epoch == self._from[0] else 0
        for part in range(first, len(self)):
            rows = order[part * share : (part + 1) * share]
            yield [(self.epoch, int(row)) for row in rows[self.rank :: self.ranks]]

    def _order(self, random: np.random.Generator) -> np.ndarray[Any, Any]:
        """(N,) all rows of an epoch."""
        if self.weights is not None:
            return random.choice(self.rows, self.rows, p=self.weights)
        if self.starts is None:
            return random.permutation(self.rows)
        groups = random.permutation(len(self.starts) - 1)
        mixed = [groups[first : first + STREAMED_GROUPS] for first in range(0, len(groups), STREAMED_GROUPS)]
        ranges = ([np.arange(self.starts[group], self.starts[group + 1]) for group in together] for together in mixed)
        return np.concatenate([random.permutation(np.concatenate(rows)) for rows in ranges])
