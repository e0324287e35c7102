"""Masked windows: what is recomputed is what a whole pass over the masked image says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from bagnet.geometry import Box
from bagnet.runs.store import Store
from bagnet.studies.audit.decisive import AGAINST, FOR, Decisive, Task
from bagnet.studies.audit.masking import ConfusedImages, Outcome, Outcomes, mask_all
from bagnet.studies.audit.patterns import Pattern, find_patterns
from bagnet.studies.audit.tally import find_confused

from .colours import FISH, LEAF


@pytest.fixture
def patterns(decisive: Decisive) -> list[Pattern]:
    return find_patterns(decisive, 2, 0)


@pytest.fixture
def confused(decisive: Decisive, task: Task) -> list[ConfusedImages]:
    return find_confused(decisive, task.images.targets.numpy(), 10, 0)


@pytest.fixture
def outcomes(task: Task, decisive: Decisive, patterns: list[Pattern], confused: list[ConfusedImages], store: Store) -> Outcomes:
    return mask_all(task, decisive, patterns, confused, store, None)


def by_hand(task: Task, decisive: Decisive, row: int, boxes: list[Box]) -> Outcome:
    """With boxes of one image masked, by a whole pass over it."""
    x = task.transform(task.images.images.photo(row).image)[None]
    masked, mask = x.clone(), torch.zeros(x.shape[2:], dtype=torch.bool)
    for box in boxes:
        mask[box.slices] = True
    masked[..., mask] = 0
    with torch.inference_mode():
        before, after = (task.model(pixels)[0].double().numpy() for pixels in (x, masked))
    predicted, true = int(decisive.predicted[row]), int(task.images.targets[row])
    margin, left = (logits[predicted] - np.delete(logits, predicted).max() for logits in (before, after))
    drop = float(np.clip(1 - left / margin, 0, 1))
    return Outcome(int(after.argmax()), bool(after[true] > after[predicted]), drop, float(mask.double().mean()))


def same(outcome: Outcome, expected: Outcome) -> bool:
    return outcome[:2] == expected[:2] and outcome[2:] == pytest.approx(expected[2:], abs=1e-5)


def test_with_a_patterns_windows_masked(outcomes: Outcomes, task: Task, decisive: Decisive, patterns: list[Pattern]) -> None:
    assert len(outcomes.patterns) == sum(len(pattern.images) for pattern in patterns)
    for (row, number), outcome in outcomes.patterns.items():
        windows = patterns[number].of_image(row)
        boxes = [task.geometry.window(*decisive.cell(row, FOR, window)) for window in windows]
        assert same(outcome, by_hand(task, decisive, row, boxes))


def test_faint_fish_flip_without_the_mark_and_clear_ones_stay(outcomes: Outcomes, patterns: list[Pattern]) -> None:
    mark = next(number for number, pattern in enumerate(patterns) if pattern.label == FISH and 0 in pattern.images)
    assert [outcomes.patterns[row, mark].label for row in range(9)] == [LEAF] * 6 + [FISH] * 3
    assert all(outcomes.patterns[row, mark].margin_drop == 1 for row in range(6))
    assert all(0 < outcomes.patterns[row, mark].margin_drop < 1 for row in range(6, 9))


def test_with_the_windows_of_a_confusion_masked(
    outcomes: Outcomes, task: Task, decisive: Decisive, confused: list[ConfusedImages]
) -> None:
    assert sorted(outcomes.confused) == [10, 11, 19]
    for group in confused:
        for row, causes in group.causes.items():
            boxes = [task.geometry.window(*decisive.cell(row, AGAINST, window)) for window in range(len(causes))]
            assert same(outcomes.confused[row], by_hand(task, decisive, row, boxes))
            for cause in set(causes):
                some = [box for box, number in zip(boxes, causes, strict=True) if number == cause]
                assert same(outcomes.causes[row, cause], by_hand(task, decisive, row, some))


def test_the_control_masks_as_many_windows(outcomes: Outcomes, patterns: list[Pattern], confused: list[ConfusedImages]) -> None:
    sizes = {(int(row), len(pattern.of_image(row))) for pattern in patterns for row in pattern.images}
    sizes |= {(row, len(causes)) for group in confused for row, causes in group.causes.items()}
    assert set(outcomes.control) == sizes
    for (_, size), outcome in outcomes.control.items():
        assert 0 < outcome.masked_area <= size * 81 / 33**2


def test_the_control_is_the_same_whatever_the_batch(
    outcomes: Outcomes, task: Task, decisive: Decisive, patterns: list[Pattern], confused: list[ConfusedImages], store: Store
) -> None:
    store.discard()
    again = mask_all(replace(task, batch_size=1), decisive, patterns, confused, store, None)
    assert again.control.keys() == outcomes.control.keys()
    assert all(same(again.control[key], outcome) for key, outcome in outcomes.control.items())
    store.discard()
    other = mask_all(replace(task, seed=1), decisive, patterns, confused, store, None)
    assert any(not same(other.control[key], outcome) for key, outcome in outcomes.control.items())


def test_where_the_mark_is(outcomes: Outcomes, patterns: list[Pattern]) -> None:
    """In nine of the twelve fish; in one leaf, which is classified as a fish."""
    mark = next(number for number, pattern in enumerate(patterns) if pattern.label == FISH and 0 in pattern.images)
    assert outcomes.present[mark].tolist() == [9, 1, 1]


def test_without_patterns_and_confusions_there_is_nothing_to_mask(task: Task, decisive: Decisive, store: Store) -> None:
    outcomes = mask_all(task, decisive, [], [], store, None)
    assert [len(part) for part in (outcomes.patterns, outcomes.control, outcomes.confused, outcomes.causes)] == [0] * 4
    assert outcomes.present.shape == (0, 3)
