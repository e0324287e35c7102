"""Folds of images: alike in their classes, groups never divided."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from bagnet.data.arrays import ArrayImages
from bagnet.data.folds import folds, hold_out
from bagnet.data.labels import BadLabels, LabelledImages
from bagnet.data.names import ClassNames


def labelled(labels: Sequence[int] | np.ndarray) -> LabelledImages:
    targets = torch.as_tensor(labels)
    names = ClassNames.from_words(list("abcdefgh")[: targets.shape[1] if targets.ndim == 2 else int(targets.max()) + 1])
    return LabelledImages(ArrayImages(np.zeros((len(targets), 2, 2, 3), np.uint8), "grey"), targets, names)


def table(fold_of: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(folds, classes) images."""
    counts = np.zeros((fold_of.max() + 1, labels.max() + 1), int)
    np.add.at(counts, (fold_of, labels), 1)
    return counts


def test_every_fold_has_its_share_of_every_class() -> None:
    labels = np.repeat([0, 1, 2], [50, 10, 5])
    assert (table(folds(labelled(labels), 5), labels) == [10, 2, 1]).all()
    assert (folds(labelled(labels), 5) == folds(labelled(labels), 5)).all()


def test_groups_are_never_divided_and_folds_still_alike() -> None:
    groups = np.repeat(np.arange(30), 4)  # of four images each, of one class
    labels = (groups % 3 == 0).astype(int)
    fold_of = folds(labelled(labels), 5, list(map(str, groups)))
    assert all(len(set(fold_of[groups == group])) == 1 for group in range(30))
    assert (table(fold_of, labels) == [16, 8]).all()


def test_a_large_group_is_made_up_for() -> None:
    groups = ["big"] * 8 + list("abcdefgh")
    fold_of = folds(labelled([0, 1] * 8), 2, groups)
    assert (fold_of[:8] != fold_of[8]).all()
    assert len(set(fold_of[8:])) == 1


def test_several_labels() -> None:
    targets = torch.zeros(40, 2, dtype=torch.bool)
    targets[:10, 0] = targets[5:15, 1] = True
    fold_of = folds(labelled(targets), 5)
    shown = np.array([targets.numpy()[fold_of == fold].sum(0) for fold in range(5)])
    assert (shown == 2).all()
    assert (np.bincount(fold_of) == 8).all()


@pytest.mark.parametrize(
    ("labels", "groups", "count", "message"),
    [
        ([0] * 9 + [1] * 3, None, 5, r"class b has 3 images, fewer than 5 folds: give it more, or take 3 folds \(--folds 3\)"),
        ([0] * 9 + [1], None, 5, "class b has 1 image, fewer than 5 folds: give it more, or leave the class out"),
        ([0] * 9 + [1] * 9, list("abcdefghi") + ["x"] * 9, 2, "class b has 1 group, fewer than 2 folds"),
        ([0, 1], None, 1, "two folds at least, got 1"),
    ],
)
def test_folds_that_cannot_be(labels: list[int], groups: list[str] | None, count: int, message: str) -> None:
    with pytest.raises(BadLabels, match=message):
        folds(labelled(labels), count, groups)


def test_whole_groups_are_held_out() -> None:
    labels, groups = np.arange(40) % 2, [str(row // 4) for row in range(40)]
    images = labelled(labels)
    rest, held = hold_out(images, 0.2, groups)
    assert (len(rest), len(held)) == (32, 8)
    names = images.images.names
    group_of = dict(zip(names, groups, strict=True))
    assert not {group_of[name] for name in rest.images.names} & {group_of[name] for name in held.images.names}
    rest, held = hold_out(labelled([0] * 30 + [1] * 4), 0.1, [str(row // 2) for row in range(34)])
    assert (rest.counts.tolist(), held.counts.tolist()) == ([26, 2], [4, 2]), "two groups of the rare class: one on each side"
    with pytest.raises(BadLabels, match="class b has 1 group, fewer than 2 folds: give it more, or leave the class out"):
        hold_out(labelled([0, 0, 1, 1]), 0.5, ["x", "y", "z", "z"])
    assert [part.images.names for part in hold_out(images, 0.2)] == [part.images.names for part in images.hold_out(0.2)]
