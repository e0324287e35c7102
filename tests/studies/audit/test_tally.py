"""From outcomes to measures: sums that can be done by hand."""

from __future__ import annotations

import numpy as np
import pytest

from bagnet.statistics import mean
from bagnet.studies.audit.decisive import AGAINST, FOR, Decisive
from bagnet.studies.audit.masking import ConfusedImages, Outcome, Outcomes
from bagnet.studies.audit.patterns import Pattern
from bagnet.studies.audit.tally import find_confused, numbered, rank_patterns, tally_confusions

TARGETS = np.array([0, 0, 0, 0, 1, 1, 2, 0])
PREDICTED = np.array([0, 0, 1, 1, 0, 2, 2, -1])  # the last one cannot be read


@pytest.fixture
def decisive() -> Decisive:
    """Two windows an image, on a grid of 2 x 3 cells; of wrong images also against the true class."""
    cells = np.full((8, 2, 2), -1)
    cells[:7, FOR] = [0, 5]
    wrong = [2, 3, 4, 5]
    cells[wrong, AGAINST] = [1, 3]
    logits = np.zeros((8, 2, 2))
    logits[:, FOR] = np.arange(8)[:, None] + [0.5, 0.0]
    logits[:, AGAINST] = -np.arange(8)[:, None] + [0.5, 0.0]
    shares = np.zeros((8, 2, 2))
    shares[:, FOR] = [0.5, 0.25]
    features = np.zeros((8, 2, 2, 3), np.float16)
    features[..., 0] = 1
    return Decisive(PREDICTED, np.tile([2, 3], (8, 1)), cells, logits, shares, features, ((7, "unreadable"),))


def pattern_of(label: int, rows: list[int], windows: list[int], appearance: float, position: float) -> Pattern:
    return Pattern(label, np.array(rows), np.array(windows), np.array([1.0, 0, 0]), 0.9, appearance, position)


def outcome(label: int, drop: float, ahead: bool = False) -> Outcome:
    return Outcome(label, ahead, drop, 0.1)


@pytest.fixture
def patterns() -> list[Pattern]:
    """Of class 0, which images 0, 1 and 4 are classified as: one in all of them, and one in one."""
    return [pattern_of(0, [4], [1], 0.2, 0.2), pattern_of(0, [0, 1, 1, 4], [0, 0, 1, 0], 0.8, 0.4)]


@pytest.fixture
def outcomes() -> Outcomes:
    return Outcomes(
        patterns={(4, 0): outcome(0, 0.3), (0, 1): outcome(1, 1.0), (1, 1): outcome(0, 0.5), (4, 1): outcome(2, 1.0)},
        control={
            **{(row, 1): outcome(0, 0.1) for row in (0, 1, 4)},
            (1, 2): outcome(2, 0.2),
            **{(row, 2): outcome(int(PREDICTED[row]), 0.0) for row in (2, 3, 4, 5)},
        },
        confused={2: outcome(0, 1.0, True), 3: outcome(2, 1.0), 4: outcome(0, 0.0), 5: outcome(1, 1.0, True)},
        causes={(2, 0): outcome(0, 1.0, True), (3, 0): outcome(1, 0.5)},
        present=np.array([[0, 1, 1], [3, 2, 1]]),
    )


def test_the_most_common_confusions_first(decisive: Decisive) -> None:
    first, second, third = find_confused(decisive, TARGETS, 10, 0)
    assert (first.true, first.predicted, first.rows.tolist()) == (0, 1, [2, 3])
    assert (second.true, second.predicted) == (1, 0)
    assert (third.true, third.predicted) == (1, 2)
    assert first.causes == {2: [0, 0], 3: [0, 0]}
    assert len(find_confused(decisive, TARGETS, 1, 0)) == 1


def test_flips_of_a_confusion_are_counted(decisive: Decisive, outcomes: Outcomes) -> None:
    group = ConfusedImages(0, 1, np.array([2, 3]), {2: [0, 0], 3: [0, 0]})
    (confusion,) = tally_confusions([group], decisive, outcomes, TARGETS, 5)
    assert (confusion.images, confusion.class_images) == (2, 4)
    masked = confusion.masked
    assert (masked.images, masked.flips_to_true, masked.flips_to_other, masked.true_ahead) == (2, 1, 1, 1)
    assert (confusion.control.flips_to_true, confusion.control.flips_to_other) == (0, 0)
    (cause,) = confusion.causes
    assert (cause.windows, cause.masked.images, cause.masked.flips_to_true, cause.masked.flips_to_other) == (4, 2, 1, 0)
    assert [(example.image, example.cell) for example in cause.examples] == [(2, (0, 1)), (3, (0, 1))]


def test_measures_of_a_pattern(decisive: Decisive, patterns: list[Pattern], outcomes: Outcomes) -> None:
    first, second = rank_patterns(patterns, decisive, outcomes, TARGETS, 2)
    assert (first.rank, first.pattern, second.rank, second.pattern) == (1, 1, 2, 0)  # by score
    assert (first.label, first.predictions, first.images, first.windows) == (0, 3, 3, 4)
    assert first.margin_drop == pytest.approx((1.0 + 0.5 + 1.0) / 3)
    assert first.control_margin_drop == pytest.approx((0.1 + 0.2 + 0.1) / 3)
    assert first.margin_drop_over_control == mean([0.9, 0.3, 0.9])
    assert (first.flips, first.control_flips) == (2, 1)
    assert first.evidence_share == pytest.approx((3 * 0.5 + 0.25) / 3)
    assert first.masked_area == pytest.approx(0.1)
    assert second.margin_drop == pytest.approx(0.3 / 3), "0 for predictions without it"


def test_where_a_pattern_is(decisive: Decisive, patterns: list[Pattern], outcomes: Outcomes) -> None:
    first = rank_patterns(patterns, decisive, outcomes, TARGETS, 2)[0]
    assert first.position_counts.tolist() == [[3, 0, 0], [0, 0, 1]]
    assert first.position_ninths.tolist() == [[0.75, 0, 0], [0, 0, 0], [0, 0, 0.25]]
    assert (first.class_images, first.present_in_class) == (4 - 1 + 1, 3)
    assert (first.other_images, first.present_elsewhere) == (3, 2)
    assert (first.present_and_predicted, first.absent_and_predicted) == (1, 0)  # image 4


def test_examples_are_the_strongest_window_of_each_image(decisive: Decisive, patterns: list[Pattern], outcomes: Outcomes) -> None:
    first = rank_patterns(patterns, decisive, outcomes, TARGETS, 2)[0]
    assert [(example.image, example.cell, example.logit) for example in first.examples] == [(4, (0, 0), 4.5), (1, (0, 0), 1.5)]
    assert (first.examples[0].true, first.examples[0].predicted) == (1, 0)


def test_windows_are_numbered_by_rank_and_cause(decisive: Decisive, patterns: list[Pattern], outcomes: Outcomes) -> None:
    group = ConfusedImages(0, 1, np.array([2]), {2: [0, 1]})
    numbers = numbered(decisive, [group], patterns, rank_patterns(patterns, decisive, outcomes, TARGETS, 2))
    assert numbers[[0, 1, 4], FOR].tolist() == [[1, 0], [1, 1], [1, 2]]
    assert numbers[2, AGAINST].tolist() == [1, 2]
    assert not numbers[[3, 5, 6, 7]].any()
