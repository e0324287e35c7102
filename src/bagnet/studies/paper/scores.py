"""The logits of every model for every image, asked for once and kept; and how often they are right."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...files import file_stem
from ...runs.store import claim
from ...runs.sweep import check_finite, check_some
from ...statistics import Estimate, mean
from .experiment import Workplace
from .subjects import Material, Subject

_UNUSABLE = np.inf
MANY = 5  # answers


@dataclass(frozen=True)
class Accuracies:
    """Shares of the images that are right.

    Args:
        top1: whose true class has the largest logit.
        top5: whose true class is among the five largest logits; None where there are no more classes than that.
    """

    top1: Estimate
    top5: Estimate | None

    @property
    def by_top(self) -> dict[int, Estimate]:
        """1 and, where there is such a measure, 5 -> accuracy."""
        return {1: self.top1} if self.top5 is None else {1: self.top1, MANY: self.top5}


def accuracies(ranks: NDArray[np.int64], classes: int, seed: int) -> tuple[Estimate, Estimate | None]:
    """Top-1 and top-5 of (N,) ranks of the true class among so many, 0 the best. As `Accuracies`."""
    return mean(ranks < 1, seed), mean(ranks < MANY, seed) if classes > MANY else None


def scores(material: Material, subject: Subject, work: Workplace, cache: Path | None = None) -> NDArray[np.float32]:
    """A model's logits, from the disk as far as they are kept there.

    Args:
        material: images.
        subject: the model.
        work: where the experiment works; images that cannot be used are noted there.
        cache: where logits are kept; where None, beside the experiment's folder, where the other experiments find them.

    Returns:
        (N, K) logits of the classes of the images; a row of infinities for an image that cannot be used: it cannot be read, or is
        smaller than a window.

    Raises:
        NotANumber: a logit is NaN or infinite.
        BadImage: no image can be used.
        OSError: they cannot be written.
    """
    names = material.images.names
    settings = {**material.settings(), "models": subject.fingerprint}
    bad: list[tuple[int, str]] = []
    with claim((cache or work.cache) / file_stem(subject.name), settings, overwrite=True) as store:
        kept = store.array("logits", (len(names), len(material.classes)), np.float32, np.nan)
        todo = np.flatnonzero(~np.isfinite(kept).all(1)).tolist()  # what could not be used is asked again: it has a reason
        for batch in material.sweep(subject, todo):
            if batch.rows:
                logits = subject.logits(batch.x).float()
                check_finite(logits, subject.name, names[batch.rows[0]])
                kept[list(batch.rows)] = logits.numpy()
            for row, reason in batch.bad:
                kept[row] = _UNUSABLE
                work.note_unusable(names[row], reason)
            bad += batch.bad
            kept.flush()
        logits_of_all: NDArray[np.float32] = np.array(kept)
    check_some(np.flatnonzero(np.isfinite(logits_of_all[:, 0])).tolist(), bad)
    return logits_of_all


def all_scores(material: Material, work: Workplace) -> tuple[NDArray[np.bool_], dict[str, NDArray[np.float32]]]:
    """((N,) images that every model could use, name of each model -> (n, K) logits of those). Raises as `scores`."""
    logits = {subject.name: scores(material, subject, work) for subject in material.ordered}
    readable = np.all([np.isfinite(values[:, 0]) for values in logits.values()], axis=0)
    return readable, {name: values[readable] for name, values in logits.items()}
