"""Cross-validation of linear heads: which features and which regularisation are best, and how right the heads then are.

The images that say how right a head is have no say in its choice: what is chosen for a fold is what does best on the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .logistic import PENALTIES, Floats, Head, Task, fit

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class OutOfFold:
    """What heads say of images that they were not trained on, for one kind of features.

    Args:
        logits: (P, N, K) for each penalty.
        losses: (P, N) weighted cross-entropy.
    """

    logits: Floats
    losses: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """What cross-validation says.

    Args:
        features: index of the best kind of features.
        penalty: the best one for them.
        losses: (F, P) mean loss of every kind of features by penalty, on images not trained on.
        logits: (N, K) of each image, by a head that neither was trained on its fold nor chosen by it.
    """

    features: int
    penalty: float
    losses: Floats
    logits: Floats


def out_of_fold(features: NDArray[np.float32], task: Task, fold_of: Ints, penalties: Sequence[float] = PENALTIES) -> OutOfFold:
    """Train a head on all folds but one, for each fold and penalty.

    Args:
        features: (N, C).
        task: of the same images.
        fold_of: (N,) from 0.
        penalties: from strong to weak.
    """
    logits = np.empty((len(penalties), *task.shown.shape))
    losses = np.empty((len(penalties), len(features)))
    for inside in _folds(fold_of):
        held = task.rows(inside)
        for place, head in enumerate(fit(features[~inside], task.rows(~inside), penalties)):
            logits[place, inside] = head(features[inside])
            losses[place, inside] = held.losses(logits[place, inside])
    return OutOfFold(logits, losses)


def choose(kinds: Sequence[OutOfFold], fold_of: Ints, penalties: Sequence[float] = PENALTIES) -> Choice:
    """The kind of features and the penalty with the lowest loss on images that were not trained on.

    Args:
        kinds: of features, for the same images, folds and penalties.
        fold_of: (N,) from 0.
        penalties: as `out_of_fold` had them.
    """
    losses = np.stack([kind.losses for kind in kinds])
    logits = np.empty(kinds[0].logits.shape[1:])
    for inside in _folds(fold_of):
        kind, penalty = _lowest(losses[:, :, ~inside].mean(2))
        logits[inside] = kinds[kind].logits[penalty, inside]
    means = losses.mean(2)
    kind, penalty = _lowest(means)
    return Choice(kind, penalties[penalty], means, logits)


def best_head(features: NDArray[np.float32], task: Task, penalty: float) -> Head:
    """The head of all images."""
    return fit(features, task, [penalty])[0]


def _folds(fold_of: Ints) -> Iterator[NDArray[np.bool_]]:
    """(N,) which images are in the fold, for each."""
    for fold in range(int(fold_of.max()) + 1):
        yield fold_of == fold


def _lowest(losses: Floats) -> tuple[int, int]:
    """(row, column) of the smallest; of equal ones that with the strongest penalty of the first features."""
    row, column = np.unravel_index(int(losses.argmin()), losses.shape)
    return int(row), int(column)
