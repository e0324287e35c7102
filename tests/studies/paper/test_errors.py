from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bagnet.studies.paper.errors import Errors
from bagnet.studies.paper.subjects import gather
from bagnet.zoo.external import ExternalNetwork

from .material import findings_of, images_of, measures_of, saying


def reads(column: int, classes: int = 3) -> ExternalNetwork:
    """A network that says the class written in one pixel."""

    def logits(x: Tensor) -> Tensor:
        return torch.nn.functional.one_hot((x[:, 0, column, 0] * 255).round().long(), classes).float()

    return saying(logits, classes, 9)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twelve images of three classes. Row 0 says the truth; row 1 too but for half of class 0; row 2 errs on other images."""
    labels = np.repeat([0, 1, 2], 4)
    images = np.zeros((12, 9, 9, 3), np.uint8)
    answers = np.stack([labels, labels, labels])
    answers[1, :2], answers[2, 2:4] = 1, 1
    answers[0, 4], answers[1, 4], answers[2, 4] = 2, 2, 2
    images[:, :3, 0, 0] = answers.T
    return images_of(tmp_path / "data.npz", images, labels.tolist())


def test_by_hand(data: Path, tmp_path: Path) -> None:
    material = gather([("a", reads(0)), ("b", reads(1)), ("c", reads(2))], data)
    findings = findings_of(Errors(top=1), material, tmp_path)
    pairs = {(pair.first, pair.second): pair for pair in findings.measures.pairs}
    # b and c are right on half of class 0 each, on other images: alike class by class, not image by image.
    assert pairs["b", "c"].correlation.value == pytest.approx(1.0)
    # Right: 9 of 12 each; both right 7, both wrong 1: agreement 8/12, chance (81 + 9) / 144.
    assert pairs["b", "c"].kappa.value == pytest.approx((8 / 12 - 90 / 144) / (1 - 90 / 144))
    # a is right on 11, b on 9 of these: agreement 10/12, chance (99 + 3) / 144. By class: (1, 3/4, 1) and (1/2, 3/4, 1).
    assert pairs["a", "b"].kappa.value == pytest.approx((10 / 12 - 102 / 144) / (1 - 102 / 144))
    assert pairs["a", "b"].correlation.value == pytest.approx(0.0, abs=1e-12)
    assert [(row["class"], row["images"], row["a"], row["b"]) for row in findings.rows] == [
        ("class 0", 4, 1.0, 0.5),
        ("class 1", 4, 0.75, 0.75),
        ("class 2", 4, 1.0, 1.0),
    ]


def test_the_interval_of_the_correlation_is_over_classes(tmp_path: Path) -> None:
    """Sixty classes of ten images, hard or easy for both alike: the value and nearly all of the truth lie inside."""
    random = np.random.default_rng(0)
    hard = random.uniform(0.1, 0.9, 60)
    labels = np.repeat(np.arange(60), 10)
    right = random.uniform(size=(2, 600)) < hard[labels]
    images = np.zeros((600, 9, 9, 3), np.uint8)
    images[:, :2, 0, 0] = np.where(right, labels, (labels + 1) % 60).T
    material = gather([("a", reads(0, 60)), ("b", reads(1, 60))], images_of(tmp_path / "data.npz", images, labels.tolist()))
    findings = findings_of(Errors(top=1), material, tmp_path)
    (pair,) = findings.measures.pairs
    assert pair.correlation.low < pair.correlation.value < pair.correlation.high
    accuracies = [model.reshape(60, 10).mean(1) for model in right]
    assert pair.correlation.value == pytest.approx(np.corrcoef(*accuracies)[0, 1])
    assert "60 classes of 10 images each" in findings.sentences[0]


def test_names_are_no_formulas(data: Path, tmp_path: Path) -> None:
    material = gather([(r"a $\frac{x$ b", reads(0)), ("$", reads(1))], data)
    assert findings_of(Errors(top=1), material, tmp_path).figures["errors"].image.width > 400


def test_fewer_classes_than_answers_that_count(data: Path, tmp_path: Path) -> None:
    measures = measures_of(Errors(), gather([("a", reads(0)), ("b", reads(1))], data), tmp_path)
    assert measures["top"] == 1
    with pytest.raises(ValueError, match="top=0"):
        Errors(top=0)
