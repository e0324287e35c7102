"""Which figures fit a task, and how sure they are."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bagnet.evaluation.measures import FEW_IMAGES, Answers, Measure, balances, measures_of_questions
from bagnet.statistics import Estimate


def answers(labels: np.ndarray[tuple[int], np.dtype[np.int64]], classes: int) -> Answers:
    """Random logits."""
    return Answers.of(np.random.default_rng(0).normal(size=(len(labels), classes)), labels)


def keys(labels: object, classes: int) -> list[str]:
    return [measure.key for measure in answers(np.array(labels), classes).measures()]


def test_many_equal_classes_are_told_by_top1_and_top5() -> None:
    assert keys(np.arange(300) % 100, 100) == ["top1", "top5", "balanced_accuracy"]


def test_few_classes_count_alike() -> None:
    assert keys(np.arange(60) % 6, 6) == ["balanced_accuracy", "top1"]  # the best five of six say nothing
    assert keys(np.arange(60) % 10, 10) == ["balanced_accuracy", "top1", "top5"]
    assert keys(np.arange(60) % 2, 2) == ["balanced_accuracy", "roc_auc", "top1"]


def test_unequal_classes_count_alike() -> None:
    many, few = np.arange(100), np.zeros(200, int)
    assert keys(np.concatenate([many, few]), 100) == ["balanced_accuracy", "top1", "top5"]
    drawn = np.random.default_rng(0).integers(0, 100, 150)
    assert not balances(np.bincount(drawn, minlength=100)), "no more unequal than chance makes equal ones"


def test_measures_by_hand() -> None:
    """Of four images of class 0 three are right, of one of class 1 none."""
    logits = np.array([[2.0, 0], [2, 0], [2, 0], [0, 1], [1, 0]])
    both = Answers.joined([Answers.of(logits[:2], np.array([0, 0])), Answers.of(logits[2:], np.array([0, 0, 1]))])
    balanced, area, top1 = both.measures()
    assert (balanced.estimate.value, top1.estimate.value) == (0.375, 0.6)
    assert area.estimate.value == pytest.approx(3 / 4)  # three of four are further on the side of class 0
    assert both.counts.tolist() == [4, 1]
    assert both.right.tolist() == [3, 0]
    low, high = stats.binomtest(3, 4).proportion_ci(method="wilson")
    assert (both.recalls[0].low, both.recalls[0].high) == pytest.approx((low, high))
    assert balanced.text == f"balanced accuracy 37.50 % [{100 * balanced.estimate.low:.1f}, {100 * balanced.estimate.high:.1f}]"
    assert area.text == f"ROC AUC 0.750 [{area.estimate.low:.2f}, {area.estimate.high:.2f}]"


def test_intervals_are_told_where_images_are_few() -> None:
    estimate = Estimate(0.5, 0.4, 0.6)
    assert Measure("top1", "top-1", estimate, FEW_IMAGES).text == "top-1 50.00 % [40.0, 60.0]"
    assert Measure("top1", "top-1", estimate, FEW_IMAGES + 1).text == "top-1 50.00 %"
    nothing = float("nan")
    assert Measure("roc_auc", "ROC AUC", Estimate(nothing, nothing, nothing), 3, in_percent=False).text == "ROC AUC undefined"


def test_questions() -> None:
    """Of one question also the area under its ROC curve."""
    scores, truth = np.array([[3.0], [2], [1], [0]]), np.array([[True], [False], [True], [False]])
    precision, area = measures_of_questions(scores, truth)
    assert precision.estimate.value == pytest.approx((1 + 2 / 3) / 2)
    assert precision.estimate.low < precision.estimate.value < precision.estimate.high
    assert area.estimate.value == pytest.approx(3 / 4)
    several = measures_of_questions(np.hstack([scores] * 21), np.hstack([truth] * 21))
    assert [measure.interval for measure in several] == [""]
