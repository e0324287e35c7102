"""Labels that were flipped are those that look wrong; thresholds are those that one computes on paper."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bagnet.data.labels import BadLabels
from bagnet.data.names import ClassNames
from bagnet.evaluation.evaluate import Evaluation, evaluate
from bagnet.evaluation.suspicious import suspicious_labels, write_suspicious

from .colours import folder_of, reader

NAMES = ClassNames.from_words(["crack", "sound", "other"])


def evaluation(probabilities: list[list[float]], labels: list[int]) -> Evaluation:
    """With these as the model's probabilities."""
    scores = np.log(np.array(probabilities, np.float32))
    names = tuple(f"{row}.png" for row in range(len(labels)))
    return Evaluation("hand.made", "paper", NAMES, np.array(labels), scores, (), 1.0, names=names)


def test_flipped_labels_are_found() -> None:
    """Of 120 images that a model tells apart by and large, five are labelled as another class."""
    random = np.random.default_rng(0)
    labels = np.arange(120) % 3
    scores = (2.5 * np.eye(3)[labels] + random.normal(scale=0.4, size=(120, 3))).astype(np.float32)
    flipped = [4, 17, 60, 77, 101]
    wrong = labels.copy()
    wrong[flipped] = (labels[flipped] + 1) % 3
    names = tuple(map(str, range(120)))
    suspicious = suspicious_labels(Evaluation("a", "b", NAMES, wrong, scores, (), 1.0, names=names))
    assert sorted(int(row.image) for row in suspicious[:5]) == flipped
    assert {row.image: row.suggested for row in suspicious[:5]} == {str(row): str(NAMES[labels[row]]) for row in flipped}
    assert len(suspicious) <= 7, "hardly any of the others"
    assert not suspicious_labels(
        Evaluation("a", "b", NAMES, labels, 10 * np.eye(3, dtype=np.float32)[labels], (), 1.0, names=names)
    )


def test_by_hand() -> None:
    """What a class is usually answered with, not a half, is the limit."""
    table = [[0.8, 0.15, 0.05], [0.4, 0.45, 0.15], [0.6, 0.38, 0.02], [0.3, 0.6, 0.1], [0.55, 0.42, 0.03], [0.3, 0.6, 0.1]]
    found = suspicious_labels(evaluation(table, [0, 0, 0, 1, 1, 0]))
    # Thresholds: crack (0.8 + 0.4 + 0.6 + 0.3) / 4 = 0.525, sound (0.6 + 0.42) / 2 = 0.51, other: no image.
    assert [(row.image, row.label, row.suggested) for row in found] == [("5.png", "crack", "sound"), ("4.png", "sound", "crack")]
    assert found[0].threshold_of_suggested == pytest.approx(0.51, abs=1e-6)
    assert found[1].threshold_of_suggested == pytest.approx(0.525, abs=1e-6)
    assert (found[0].probability_of_label, found[0].probability_of_suggested) == pytest.approx((0.3, 0.6), abs=1e-6)


def test_a_class_that_is_never_answered_surely_is_suggested_all_the_same() -> None:
    """Its images have 0.4 of it on average: one labelled otherwise with 0.45 is suspicious, though no class has a half."""
    found = suspicious_labels(evaluation([[0.3, 0.4, 0.3], [0.9, 0.05, 0.05], [0.3, 0.45, 0.25]], [1, 0, 0]))
    assert [(row.image, row.suggested) for row in found] == [("2.png", "sound")]


def test_a_table(tmp_path: Path) -> None:
    data = folder_of(tmp_path, {"red": ["red", "green", "red"], "green": ["green", "green"], "blue": ["blue"]})
    measured = evaluate(reader(), data, workers=0)
    write_suspicious(tmp_path / "a.csv", suspicious_labels(measured))
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert list(row) == [
        "image",
        "label",
        "suggested",
        "probability_of_label",
        "probability_of_suggested",
        "threshold_of_suggested",
    ]
    assert (row["image"], row["label"], row["suggested"]) == ("red/1.png", "red", "green")
    write_suspicious(tmp_path / "none.csv", [])
    assert (tmp_path / "none.csv").read_text().startswith("image,label,suggested,")


def test_where_there_is_nothing_to_say() -> None:
    one = evaluation([[0.8, 0.1, 0.1]], [0])
    with pytest.raises(ValueError, match="names of its images were not kept"):
        suspicious_labels(replace(one, names=()))
    with pytest.raises(BadLabels, match="several labels"):
        suspicious_labels(replace(one, labels=np.array([[True, False, False]])))
