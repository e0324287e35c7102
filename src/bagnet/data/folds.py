"""Images dealt into folds: every fold with as much of each class as there is, and what belongs together in one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .labels import BadLabels, LabelledImages

Ints = NDArray[np.int64]


def folds(images: LabelledImages, count: int, groups: Sequence[str] | None = None) -> Ints:
    """Which fold each image belongs to: the same every time, whatever the seed of a run.

    Groups are dealt one after the other, those that weigh most first, each into the fold that has least of its classes so far:
    that which keeps the sum of squared shares of classes smallest. An image without a group is one by itself.

    Args:
        images: with their labels.
        count: of the folds.
        groups: (N,) names of what the images belong to (a patient, a part); images of a group come into one fold.

    Returns:
        (N,) numbers from 0 to `count` - 1.

    Raises:
        BadLabels: fewer than two folds, or a class is shown by fewer images, or groups, than there are folds; then some fold
            would never see it.
    """
    if count < 2:
        raise BadLabels(f"images are dealt into two folds at least, got {count}")
    return _dealt(images, np.ones(count), groups)


def hold_out(images: LabelledImages, share: float, groups: Sequence[str] | None = None) -> tuple[LabelledImages, LabelledImages]:
    """(the rest, about a share of the images to select on), as `LabelledImages.hold_out`, but groups are never divided.

    Of each class the share is as near as groups allow.

    Raises:
        BadLabels: a class has one group alone, which cannot lie on both sides.
    """
    if groups is None:
        return images.hold_out(share)
    held = _dealt(images, np.array([share, 1 - share]), groups) == 0
    return images.take(np.flatnonzero(~held)), images.take(np.flatnonzero(held))


def _dealt(images: LabelledImages, sizes: NDArray[np.float64], groups: Sequence[str] | None) -> Ints:
    """(N,) into which part each image comes, of parts that are to be of such sizes in proportion."""
    members = _members(len(images), groups)
    held = _shares(images, members)
    _check(images, members, len(sizes), groups is not None)
    filled = np.zeros((len(sizes), held.shape[1]))
    part_of = np.zeros(len(images), np.int64)
    order = np.random.default_rng(0).permutation(len(members))
    for unit in order[np.argsort(-held[order].sum(1), kind="stable")]:
        part = int((filled @ held[unit]).argmin())
        filled[part] += held[unit] / sizes[part]
        part_of[members[unit]] = part
    return part_of


def _members(images: int, groups: Sequence[str] | None) -> list[Ints]:
    """The images of each group."""
    if groups is None:
        return list(np.arange(images)[:, None])
    _, of = np.unique(np.asarray(groups), return_inverse=True)
    order = np.argsort(of, kind="stable")
    return np.split(order, np.cumsum(np.bincount(of))[:-1])


def _shares(images: LabelledImages, members: Sequence[Ints]) -> NDArray[np.float64]:
    """(groups, K + 1) of each class, and of all images, the share that a group has."""
    shown = _shown(images)
    held = np.array([shown[rows].sum(0) for rows in members], np.float64)
    held = np.column_stack([held, [len(rows) for rows in members]])
    shares: NDArray[np.float64] = held / np.maximum(1, held.sum(0))
    return shares


def _check(images: LabelledImages, members: Sequence[Ints], count: int, grouped: bool) -> None:
    shown = _shown(images)
    showing = np.array([shown[rows].any(0) for rows in members]).sum(0)
    short = np.flatnonzero((showing < count) & (shown.any(0) | (not images.multilabel)))
    if not len(short):
        return
    rarest = short[showing[short].argmin()]
    few = int(showing[rarest])
    what = ("group" if grouped else "image") + ("" if few == 1 else "s")
    remedy = f"give it more, or take {few} folds (--folds {few})" if few > 1 else "give it more, or leave the class out"
    raise BadLabels(f"class {images.classes[rarest]} has {few or 'no'} {what}, fewer than {count} folds: {remedy}")


def _shown(images: LabelledImages) -> NDArray[Any]:
    """(N, K) bool: the classes of each image."""
    if images.multilabel:
        return images.targets.numpy()
    shown: NDArray[Any] = images.targets.numpy()[:, None] == np.arange(len(images.classes))
    return shown
