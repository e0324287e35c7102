"""What an audit reports in words and as JSON, of measures that are set by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bagnet.statistics import Estimate
from bagnet.studies.audit.findings import Audit, Confusion, Flips, RankedPattern

from .colours import FISH, LEAF


def pattern(**measures: Any) -> RankedPattern:
    ninths = np.zeros((3, 3))
    ninths[2, 2] = 1
    chosen: dict[str, Any] = {
        "label": FISH,
        "rank": 1,
        "predictions": 20,
        "images": 10,
        "windows": 12,
        "margin_drop": 0.5,
        "control_margin_drop": 0.1,
        "margin_drop_over_control": Estimate(0.4, 0.3, 0.5),
        "flips": 5,
        "control_flips": 1,
        "evidence_share": 0.25,
        "masked_area": 0.125,
        "appearance_similarity": 0.9,
        "position_similarity": 0.5,
        "position_counts": np.array([[12]]),
        "position_ninths": ninths,
        "class_images": 18,
        "present_in_class": 9,
        "other_images": 30,
        "present_elsewhere": 4,
        "present_and_predicted": 2,
        "absent_and_predicted": 1,
        "examples": (),
        "pattern": 0,
    }
    return RankedPattern(**{**chosen, **measures})


def test_shares_are_of_all_predictions() -> None:
    assert (pattern().coverage, pattern().flip_rate, pattern().control_flip_rate) == (0.5, 0.25, 0.05)


def test_the_score() -> None:
    assert pattern().score == pytest.approx(0.4 * (0.9 + 0.5) / 2)
    assert pattern(margin_drop_over_control=Estimate(-0.1, -0.2, 0.0)).score == 0


@pytest.mark.parametrize(
    ("ninths", "words"),
    [
        ([[0.6, 0.4, 0], [0, 0, 0], [0, 0, 0]], "at the top left"),
        ([[0, 0.6, 0], [0, 0, 0], [0, 0.4, 0]], "at the top"),
        ([[0, 0, 0], [0, 0, 0.9], [0.1, 0, 0]], "at the right"),
        ([[0, 0, 0], [0, 0, 0], [0, 0, 1]], "at the bottom right"),
        ([[0, 0, 0], [0, 0.6, 0.4], [0, 0, 0]], "in the middle"),
        ([[0.5, 0.5, 0], [0, 0, 0], [0, 0, 0]], "in various places"),
    ],
)
def test_where_it_lies_in_words(ninths: list[list[float]], words: str) -> None:
    assert pattern(position_ninths=np.array(ninths)).where == words


def test_shares_at_corners_and_along_the_border() -> None:
    ninths = np.array([[0.1, 0.2, 0.0], [0.0, 0.4, 0.0], [0.0, 0.0, 0.3]])
    assert pattern(position_ninths=ninths).corner_share == pytest.approx(0.4)
    assert pattern(position_ninths=ninths).border_share == pytest.approx(0.6)


def test_a_pattern_as_json(audited: tuple[Audit, Path]) -> None:
    """The words of `audit.json`, which other programs read."""
    entry = pattern().to_dict(audited[0].classes)
    assert json.loads(json.dumps(entry)) == {
        "class": "fish",
        "rank": 1,
        "score": 0.28,
        "predictions": 20,
        "images": 10,
        "windows": 12,
        "flips": 5,
        "control_flips": 1,
        "coverage": 0.5,
        "margin_drop": 0.5,
        "control_margin_drop": 0.1,
        "flip_rate": 0.25,
        "control_flip_rate": 0.05,
        "evidence_share": 0.25,
        "masked_area": 0.125,
        "appearance_similarity": 0.9,
        "position_similarity": 0.5,
        "corner_share": 1.0,
        "border_share": 1.0,
        "margin_drop_over_control": {"value": 0.4, "low": 0.3, "high": 0.5},
        "where": "at the bottom right",
        "position_ninths": [[0, 0, 0], [0, 0, 0], [0, 0, 1]],
        "position_counts": [[12]],
        "class_images": 18,
        "present_in_class": 9,
        "other_images": 30,
        "present_elsewhere": 4,
        "present_and_predicted": 2,
        "absent_and_predicted": 1,
    }


def test_a_confusion_as_json(audited: tuple[Audit, Path]) -> None:
    counts = {"images": 4, "flips_to_true": 2, "flips_to_other": 1, "true_ahead": 3}
    confusion = Confusion(FISH, LEAF, 9, Flips(**counts), Flips(4, 0, 0, 0), ())
    assert confusion.to_dict(audited[0].classes) == {
        "true": "fish",
        "predicted": "leaf",
        "images": 4,
        "class_images": 9,
        "masked": counts,
        "control": {"images": 4, "flips_to_true": 0, "flips_to_other": 0, "true_ahead": 0},
        "causes": [],
    }


def test_an_audit_as_json(audited: tuple[Audit, Path]) -> None:
    result = audited[0]
    record = result.to_dict()
    assert (record["model"], record["window"], record["stride"], record["windows_per_image"]) == ("bagnet9.colours", 9, 4, 3)
    assert (record["images"], record["correct"], record["bad"]) == (20, 17, [])
    fish, leaf = record["classes"]
    assert (fish["class"], fish["predictions"], leaf["class"], leaf["predictions"]) == ("fish", 11, "leaf", 9)
    assert fish["patterns"] == [pattern.to_dict(result.classes) for pattern in result.of_class(FISH)]


def test_top_patterns_are_significant_ones_by_score(audited: tuple[Audit, Path]) -> None:
    strong, weak = pattern(label=LEAF), pattern(margin_drop_over_control=Estimate(0.2, 0.1, 0.3))
    chance = pattern(margin_drop_over_control=Estimate(0.9, -0.01, 1.0))
    result = replace(audited[0], patterns=(weak, chance, strong))
    assert result.top_patterns(10) == (strong, weak)
    assert result.top_patterns(1) == (strong,)
    assert result.of_class(FISH) == (weak, chance)


def test_sentences(audited: tuple[Audit, Path]) -> None:
    confusion = Confusion(FISH, LEAF, 12, Flips(4, 2, 1, 3), Flips(4, 0, 0, 1), ())
    result = replace(audited[0], confusions=(confusion,), patterns=(pattern(),))
    assert result.sentences() == [
        "bagnet9.colours classifies 17 of 20 images of data val correctly (85.0 %).",
        'Its most common mistake: 4 of 12 images of "fish" are classified as "leaf".',
        "In the 4 images of the most common kind of mistake, masking the windows that caused it puts the true class ahead of the "
        "predicted one in 75.0 %, and ahead of all classes in 50.0 %; masking as many windows at random, in 25.0 % and 0.0 %.",
        'The pattern most like a shortcut, with a score of 0.28 of 1, is in "fish", at the bottom right: 50.0 % of the 20 '
        "predictions of the class have it among their strongest windows. When it is masked, their margin over the next class "
        "drops by 50.0 % on average, and 25.0 % of them flip; with as many windows masked at random, 10.0 % and 5.0 %. The "
        "difference of the margin drops is 40.0 [30.0, 50.0] % (95 % interval over predictions).",
    ]


def test_patterns_that_may_be_due_to_chance_are_not_named(audited: tuple[Audit, Path]) -> None:
    chance = pattern(margin_drop_over_control=Estimate(0.4, -0.01, 0.9))
    result = replace(audited[0], patterns=(chance,), confusions=())
    assert len(result.sentences()) == 2
    assert result.sentences()[-1].startswith("No class has a pattern on which more of its margin")
    assert result.to_dict()["classes"][FISH]["patterns"], "it is still among the measures"
