"""What is chosen on other images says how right it is on these."""

from __future__ import annotations

import numpy as np
import pytest

from bagnet.training.cross_validation import OutOfFold, best_head, choose, out_of_fold
from bagnet.training.logistic import Task, fit

RANDOM = np.random.default_rng(0)
LABELS = np.arange(60) % 2
TASK = Task.of(LABELS[:, None] == np.arange(2), "softmax")
FOLDS = np.arange(60) // 2 % 3
TELLING = (RANDOM.normal(size=(60, 5)) + 1.5 * LABELS[:, None]).astype(np.float32)
NOISE = RANDOM.normal(size=(60, 5)).astype(np.float32)


def test_each_fold_is_judged_by_a_head_of_the_others() -> None:
    found = out_of_fold(TELLING, TASK, FOLDS, [1.0, 0.1])
    rest = FOLDS != 2
    heads = fit(TELLING[rest], TASK.rows(rest), [1.0, 0.1])
    for place, head in enumerate(heads):
        assert found.logits[place, ~rest] == pytest.approx(head(TELLING[~rest]))
        assert found.losses[place, ~rest] == pytest.approx(TASK.rows(~rest).losses(head(TELLING[~rest])))


def test_features_that_tell_are_kept() -> None:
    kinds = [out_of_fold(features, TASK, FOLDS) for features in (NOISE, TELLING)]
    choice = choose(kinds, FOLDS)
    assert choice.features == 1
    assert choice.losses.shape == (2, 11)
    assert choice.losses[1].min() == choice.losses.min()
    assert (choice.logits.argmax(1) == LABELS).mean() > 0.9
    assert best_head(TELLING, TASK, choice.penalty).weight == pytest.approx(fit(TELLING, TASK, [choice.penalty])[0].weight)


def test_no_image_has_a_say_in_what_it_is_judged_by() -> None:
    """Of two penalties each fold's images would choose the one; the other folds choose the other."""
    losses = np.array([[0, 0, 4, 4, 4, 4], [4, 4, 0, 0, 0, 0.0]])
    logits = np.stack([np.full((6, 2), place) for place in (0, 1)])
    fold_of = np.array([0, 0, 1, 1, 1, 1])
    choice = choose([OutOfFold(logits.astype(float), losses)], fold_of, [1.0, 0.1])
    assert choice.logits[:, 0].tolist() == [1, 1, 0, 0, 0, 0]
    assert choice.penalty == 0.1
