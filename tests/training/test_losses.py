"""Losses on numbers small enough to do by hand."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
import torch

from bagnet.certificates.bounded import probabilities
from bagnet.certificates.margin import margin
from bagnet.geometry import Span
from bagnet.training.losses import (
    balanced,
    classification,
    distillation,
    drawing_weights,
    logit_distance,
    margin_shortfall,
    sparsity,
)

LOGITS = torch.tensor([[0.0, log(3.0)], [log(4.0), 0.0]])  # probabilities 1/4, 3/4 and 4/5, 1/5


def test_cross_entropy() -> None:
    first = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert float(classification(LOGITS, first)) == pytest.approx((log(4) + log(5 / 4)) / 2)
    smoothed = (0.9 * log(4) + 0.1 * log(4 / 3) + 0.9 * log(5 / 4) + 0.1 * log(5)) / 2
    assert float(classification(LOGITS, first, smoothing=0.2)) == pytest.approx(smoothed)
    shared = torch.tensor([[0.5, 0.5], [0.5, 0.5]])
    assert float(classification(LOGITS, shared)) == pytest.approx((log(4) + log(4 / 3) + log(5 / 4) + log(5)) / 4)


def test_binary_cross_entropy() -> None:
    logits, yes = torch.tensor([[log(3.0)], [0.0]]), torch.tensor([[1.0], [0.0]])
    assert float(classification(logits, yes, multilabel=True)) == pytest.approx((log(4 / 3) + log(2)) / 2)
    weighted = classification(logits, yes, multilabel=True, class_weights=torch.tensor([5.0]))
    assert float(weighted) == pytest.approx((5 * log(4 / 3) + log(2)) / 2)
    smoothed = classification(logits, yes, multilabel=True, smoothing=0.2)
    assert float(smoothed) == pytest.approx((0.9 * log(4 / 3) + 0.1 * log(4) + log(2)) / 2)


@pytest.mark.parametrize("multilabel", [False, True])
def test_what_smoothing_spreads_does_not_weigh_as_the_rare_class_does(multilabel: bool) -> None:
    """Of 95 common images and 5 rare ones: the least loss is where each kind's answer is its own smoothed target."""
    targets = torch.tensor([[1.0, 0.0]] * 95 + [[0.0, 1.0]] * 5, dtype=torch.float64)
    targets = targets[:, 1:] if multilabel else targets
    weights = balanced(targets.sum(0), 100, multilabel)
    smoothed = targets + 0.1 * (0.5 - targets)
    best = (smoothed.logit() if multilabel else smoothed.log()).requires_grad_()
    classification(best, targets, multilabel, 0.1, weights).backward()
    assert best.grad is not None
    assert best.grad.abs().max() < 1e-12


def test_weights_without_smoothing_are_those_of_torch() -> None:
    mixed, weights = torch.tensor([[0.3, 0.7], [1.0, 0.0]]), torch.tensor([2.0, 5.0])
    expected = float(torch.nn.functional.cross_entropy(LOGITS, mixed, weights))
    assert float(classification(LOGITS, mixed, class_weights=weights)) == pytest.approx(expected)
    expected = float(torch.nn.functional.cross_entropy(LOGITS, mixed, label_smoothing=0.2))
    assert float(classification(LOGITS, mixed, smoothing=0.2)) == pytest.approx(expected)


def test_half_precision_is_summed_in_float32() -> None:
    logits = LOGITS.bfloat16()
    assert classification(logits, torch.eye(2)).dtype == torch.float32


def test_distillation_is_least_where_the_student_agrees() -> None:
    teacher = (LOGITS / 2).softmax(1)
    agreed = LOGITS.clone().requires_grad_()
    distillation(agreed, teacher, temperature=2.0).backward()
    assert agreed.grad is not None
    assert agreed.grad.abs().max() < 1e-7
    entropy = -(teacher * teacher.log()).sum(1).mean()
    assert float(distillation(LOGITS, teacher, temperature=2.0)) == pytest.approx(4 * float(entropy))


def test_the_distance_of_logits_is_blind_to_a_constant() -> None:
    teacher = LOGITS + torch.tensor([[5.0], [-3.0]])
    assert float(logit_distance(LOGITS, teacher)) == pytest.approx(0, abs=1e-10)
    assert float(logit_distance(torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 0.0]]))) == 1.0
    assert float(logit_distance(torch.tensor([[1.0]]), torch.tensor([[4.0]]))) == 9.0  # one logit has no constant to lose


def test_sparsity_sums_over_windows_and_classes() -> None:
    evidence = torch.tensor([[[[1.0, -2.0]], [[0.0, 3.0]]], [[[0.0, 0.0]], [[0.0, 4.0]]]])  # (2, 2, 1, 2)
    assert float(sparsity(evidence)) == 5.0


def test_balanced_weights() -> None:
    assert balanced(torch.tensor([30, 10]), 40).tolist() == pytest.approx([40 / 60, 2.0])
    assert balanced(torch.tensor([10]), 40, multilabel=True).tolist() == [3.0]


def test_drawing_weights_make_classes_equal() -> None:
    targets = torch.tensor([0, 0, 0, 1])
    weights = drawing_weights(targets)
    assert float(weights[targets == 0].sum()) == pytest.approx(float(weights[targets == 1].sum()))
    several = torch.tensor([[True, False], [True, False], [True, True], [False, False]])
    assert drawing_weights(several).tolist() == pytest.approx([1 / 3, 1 / 3, (1 / 3 + 1) / 2, 1 / 3])


@pytest.mark.parametrize("seed", range(3))
def test_margin_shortfall_is_that_of_the_certificate(seed: int) -> None:
    """Against the margin that a certificate of probabilities has, whose answer is the target or not."""
    random = np.random.default_rng(seed)
    evidence = random.normal(0, 3, (4, 3, 5, 6))
    targets = np.eye(3)[random.integers(3, size=4)]
    rows, columns = ([Span(start, start + size) for start in range(cells - size + 1)] for size, cells in ((2, 5), (3, 6)))
    shortfalls = []
    for values, target in zip(evidence, targets, strict=True):
        left = margin(probabilities(values), int(target.argmax()), rows, columns, -1.0).value / 30
        shortfalls.append(max(0.0, 0.2 - left))
    loss = margin_shortfall(torch.tensor(evidence), torch.tensor(targets), (2, 3), 0.2)
    assert float(loss) == pytest.approx(np.mean(shortfalls), rel=1e-9)


def test_margin_shortfall_is_none_where_all_windows_agree() -> None:
    evidence = torch.zeros(1, 2, 6, 6)
    evidence[:, 0] = 30.0
    assert float(margin_shortfall(evidence, torch.tensor([[1.0, 0.0]]), (2, 2), 0.5)) == 0.0  # (32 - 4) / 36 is left
    assert float(margin_shortfall(evidence, torch.tensor([[1.0, 0.0]]), (2, 2), 0.9)) == pytest.approx(0.9 - 28 / 36)
