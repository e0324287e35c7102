"""What labelled images are, wherever they came from."""

from __future__ import annotations

import numpy as np
import torch

from .images import numbered, words


def test_counts_and_shares() -> None:
    single = numbered([2, 0, 2], 4)
    assert (len(single), single.multilabel) == (3, False)
    assert single.counts.tolist() == [1, 0, 2, 0]
    assert single.shares(0).tolist() == [0, 0, 1, 0]
    several = numbered([[True, False, True], [False, False, False]], 3)
    assert several.multilabel
    assert several.counts.tolist() == [1, 0, 1]
    assert [several.shares(row).tolist() for row in (0, 1)] == [[1, 0, 1], [0, 0, 0]]
    assert single.shares(0).dtype == several.shares(0).dtype == torch.float32


def test_questions_are_one_a_class_or_one_for_two() -> None:
    three = numbered([2, 0, 1], 3).questions()
    assert three.targets.tolist() == [[False, False, True], [True, False, False], [False, True, False]]
    assert words(three) == ["class 0", "class 1", "class 2"]
    two = numbered([1, 0, 1], 2).questions()
    assert two.targets.tolist() == [[True], [False], [True]]
    assert words(two) == ["class 1"]
    several = numbered([[True, False]], 2)
    assert several.questions() is several


def test_take_takes_rows_of_rows() -> None:
    images = numbered([0, 1, 2, 3, 4], 5).take(np.array([4, 1, 3])).take([2, 0])
    assert images.targets.tolist() == [3, 4]
    assert images.images.names == ["array:3", "array:4"]
    assert [images.images.pixels(row, 1)[0, 0, 0] for row in (0, 1)] == [3, 4]
    assert [images.images.photo(row).name for row in (0, 1)] == ["array:3", "array:4"]
    assert len(images.classes) == 5
    assert len(images.take([])) == 0


def test_hold_out_is_a_fixed_share() -> None:
    images = numbered([row % 3 for row in range(100)], 3)
    rest, held = images.hold_out()
    torch.manual_seed(7)
    np.random.seed(7)
    again = images.hold_out()
    assert (len(rest), len(held)) == (94, 6)
    rows = [[int(name.split(":")[1]) for name in part.images.names] for part in (rest, held)]
    assert sorted(rows[0] + rows[1]) == list(range(100))
    assert rows == [sorted(part) for part in rows]
    assert [part.images.names for part in (rest, held)] == [part.images.names for part in again]
    assert [int(label) for label in held.targets] == [row % 3 for row in rows[1]]
    assert [len(part) for part in images.hold_out(0.3)] == [70, 30]
    assert [len(part) for part in numbered([0, 1, 0], 2).hold_out()] == [2, 1]


def test_a_small_set_is_held_out_class_by_class() -> None:
    images = numbered([0] * 150 + [1] * 40 + [2] * 8 + [3], 5)
    rest, held = images.hold_out(0.2)
    assert held.counts.tolist() == [30, 8, 2, 0, 0]
    assert rest.counts.tolist() == [120, 32, 6, 1, 0]
    assert [len(part) for part in numbered([0, 1, 2], 3).hold_out()] == [2, 1]  # no class can spare one: some image all the same
