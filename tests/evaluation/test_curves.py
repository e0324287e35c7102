"""Thresholds of one class against the rest: by hand, by naive loops, and as torchmetrics has them."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest
import torch

from bagnet.evaluation.curves import Ranked, against_the_rest, curves_of
from bagnet.statistics import Resamples, bootstrap, mean_of_shares, roc_auc

ONCE = np.ones((1, 6))
SCORES = np.array([6.0, 5, 4, 4, 2, 1])
TRUTH = np.array([True, False, True, False, False, True])


def test_by_hand() -> None:
    ranked = Ranked(SCORES, TRUTH)
    # Thresholds accept 1 of 3 and 0 of 3 others, 1 and 1, 2 and 2, 2 and 3, 3 and 3.
    assert ranked.average_precision(ONCE)[0] == pytest.approx((1 + 2 / 4 + 3 / 6) / 3)
    for specificity, share in ((0.99, 1 / 3), (2 / 3, 1 / 3), (1 / 3, 2 / 3), (0.3, 2 / 3)):
        assert ranked.sensitivity(ONCE, specificity)[0] == pytest.approx(share)
    assert ranked.last_accepted(2 / 3) == 1
    assert ranked.last_accepted(0.3) == 3
    assert Ranked(-SCORES, TRUTH).last_accepted(0.99) == 5
    assert Ranked(-SCORES, ~TRUTH).last_accepted(0.99) is None, "the best of all is another one already"
    assert ranked.roc_auc(ONCE)[0] == roc_auc(SCORES, TRUTH).value


def test_weights_are_images_that_are_there_so_often() -> None:
    random = np.random.default_rng(0)
    scores, truth = random.integers(0, 6, 40).astype(float), random.random(40) < 0.4
    weights = random.integers(0, 3, (5, 40)).astype(float)
    ranked = Ranked(scores, truth)
    for measure in (ranked.average_precision, ranked.roc_auc, lambda drawn: ranked.sensitivity(drawn, 0.8)):
        together = measure(weights)
        for row, value in zip(weights.astype(int), together, strict=True):
            copies = Ranked(np.repeat(scores, row), np.repeat(truth, row))
            once = np.ones((1, row.sum()))
            name = getattr(measure, "__name__", "")
            alone = getattr(copies, name)(once) if hasattr(copies, name) else copies.sensitivity(once, 0.8)
            assert value == pytest.approx(alone[0], abs=1e-12)


def test_what_is_not_defined() -> None:
    nobody, everybody = Ranked(SCORES, np.zeros(6, bool)), Ranked(SCORES, np.ones(6, bool))
    assert np.isnan(nobody.average_precision(ONCE)[0])
    assert np.isnan(nobody.sensitivity(ONCE, 0.9)[0])
    assert np.isnan(everybody.sensitivity(ONCE, 0.9)[0]), "nothing can be left out"
    assert np.isnan(everybody.roc_auc(ONCE)[0])


def test_odds_against_the_rest() -> None:
    logits = np.random.default_rng(0).normal(scale=5, size=(50, 4)).astype(np.float32)
    probabilities = torch.from_numpy(logits).double().softmax(1).numpy()
    assert against_the_rest(logits) == pytest.approx(np.log(probabilities / (1 - probabilities)), abs=1e-6)
    sure = against_the_rest(np.array([[50.0, 0, 0], [60, 0, 0]]))  # both have probability 1 in float64
    assert sure[:, 0] == pytest.approx([50 - np.log(2), 60 - np.log(2)])


def test_intervals() -> None:
    """Those of a bootstrap of the images; where all is right those of a share of the images that show the class."""
    random = np.random.default_rng(1)
    truth = random.random(80) < 0.3
    scores = truth + random.normal(size=80)
    both = np.stack([scores, truth], 1)
    expected = bootstrap(both, lambda rows: float(Ranked(rows[:, 0], rows[:, 1] > 0).average_precision(np.ones((1, 80)))[0]))
    columns = np.stack([scores, np.where(truth, 1.0, 0.0)], 1), np.stack([truth, truth], 1)
    curves = curves_of(*columns, columns[0], 0.9, Resamples.of(80))
    first, perfect = curves.classes
    assert astuple(first.average_precision) == pytest.approx(astuple(expected))
    assert perfect.average_precision == perfect.sensitivity == mean_of_shares([truth.sum()], [truth.sum()])
    assert curves.mean_average_precision.value == pytest.approx((first.average_precision.value + 1) / 2)
    assert curves.mean_sensitivity.low < curves.mean_sensitivity.value < curves.mean_sensitivity.high
    assert scores[truth].size * first.sensitivity.value == pytest.approx((scores[truth] >= first.threshold).sum())
    assert (scores[~truth] < first.threshold).mean() >= 0.9
    without = curves_of(*columns, columns[0]).classes[0]
    assert np.isnan([without.average_precision.low, without.sensitivity.value, without.threshold]).all()


@pytest.mark.slow
def test_as_torchmetrics_has_them() -> None:
    theirs = pytest.importorskip("torchmetrics.functional.classification")
    random = np.random.default_rng(2)
    labels = random.integers(0, 5, 300)
    logits = (np.eye(5)[labels] + random.normal(size=(300, 5))).astype(np.float32)
    shown = np.eye(5, dtype=bool)[labels]
    probabilities = torch.from_numpy(logits).softmax(1)
    curves = curves_of(against_the_rest(logits), shown, probabilities.numpy(), 0.9).classes
    areas = theirs.multiclass_average_precision(probabilities, torch.from_numpy(labels), 5, average="none")
    assert [curve.average_precision.value for curve in curves] == pytest.approx(areas.tolist(), abs=1e-6)
    shares, thresholds = theirs.multiclass_sensitivity_at_specificity(
        probabilities, torch.from_numpy(labels), 5, min_specificity=0.9
    )
    assert [curve.sensitivity.value for curve in curves] == pytest.approx(shares.tolist(), abs=1e-6)
    assert [curve.threshold for curve in curves] == pytest.approx(thresholds.tolist(), abs=0.05)
