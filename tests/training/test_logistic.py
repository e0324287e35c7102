"""Linear heads against closed forms, derivatives and another implementation."""

from __future__ import annotations

import numpy as np
import pytest

from bagnet.training.logistic import Head, Kind, Task, fit

RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(size=(60, 4)) * [0.01, 1, 30, 1] + [5, 0, -3, 1]
LABELS = RANDOM.choice(3, 60, p=[0.6, 0.3, 0.1])
SHOWN = LABELS[:, None] == np.arange(3)


def gradient(features: np.ndarray, task: Task, head: Head, penalty: float) -> np.ndarray:
    """Of the objective by the weights of standardised features, by central differences."""
    spread = features.std(0)
    rows = (features - features.mean(0)) / spread

    def objective(at: np.ndarray) -> float:
        weight = at[: head.weight.size].reshape(head.weight.shape)
        logits = rows @ weight.T + at[weight.size :]
        return float(task.losses(logits).mean() + penalty / 2 * (weight**2).sum())

    at = np.concatenate([(head.weight * spread).ravel(), head(features.mean(0))])
    steps = 1e-5 * np.eye(len(at))
    return np.array([(objective(at + step) - objective(at - step)) / 2e-5 for step in steps])


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
@pytest.mark.parametrize("balanced", [True, False])
def test_nothing_changes_the_objective_at_the_head(kind: Kind, balanced: bool) -> None:
    task = Task.of(SHOWN, kind, balanced)
    for penalty, head in zip([0.3, 0.01], fit(FEATURES, task, [0.3, 0.01]), strict=True):
        assert np.abs(gradient(FEATURES, task, head, penalty)).max() < 1e-5


def test_a_head_by_another_implementation() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    scaled = (FEATURES - FEATURES.mean(0)) / FEATURES.std(0)
    theirs = linear_model.LogisticRegression(C=1 / (0.03 * 60), class_weight="balanced", tol=1e-10, max_iter=10_000)
    logits = theirs.fit(scaled, LABELS).decision_function(scaled)
    head = fit(FEATURES, Task.of(SHOWN, "softmax"), [0.03])[0]
    assert np.abs(head(FEATURES) - logits).max() < 1e-5


def test_without_features_the_bias_is_the_log_of_the_odds() -> None:
    nothing, shown = np.zeros((8, 3)), np.arange(8)[:, None] < [2]
    assert fit(nothing, Task.of(shown, "sigmoid", balanced=False), [1.0])[0].bias == pytest.approx([np.log(2 / 6)], abs=1e-5)
    assert fit(nothing, Task.of(shown, "sigmoid"), [1.0])[0].bias == pytest.approx([0], abs=1e-5)
    both = np.concatenate([shown, ~shown], 1)
    bias = fit(nothing, Task.of(both, "softmax", balanced=False), [1.0])[0].bias
    assert bias[0] - bias[1] == pytest.approx(np.log(2 / 6), abs=1e-5)


def test_grades_share_one_direction() -> None:
    grades = np.arange(90) % 3
    features = np.stack([grades + RANDOM.normal(size=90) / 2, RANDOM.normal(size=90)], 1)
    head = fit(features, Task.of(grades[:, None] == np.arange(3), "ordinal"), [0.01])[0]
    assert head.weight[1] == pytest.approx([0, 0])
    assert head.weight[2] == pytest.approx(-head.weight[0])
    assert head.weight[2, 0] > 10 * abs(head.weight[2, 1]), "the direction in which grades rise"
    assert (head(features).argmax(1) == grades).mean() > 0.7


def test_more_features_than_images_are_the_same_problem() -> None:
    """Turned by an orthogonal matrix, squared weights and so the logits stay as they are."""
    wide = np.concatenate([FEATURES[:, :2], FEATURES[:, 2:]], 1)[:6]
    wide = RANDOM.normal(size=(6, 40)) + wide.mean()
    task = Task.of(SHOWN[:6] | (np.arange(6)[:, None] % 3 == np.arange(3)), "sigmoid")
    head = fit(wide, task, [0.1])[0]
    assert np.abs(gradient(wide, task, head, 0.1)).max() < 1e-5


def test_a_feature_that_never_varies_has_no_weight() -> None:
    features = FEATURES.copy()
    features[:, 1] = 0.1
    assert (fit(features, Task.of(SHOWN, "softmax"), [0.1])[0].weight[:, 1] == 0).all()


def test_balanced_weights_count_classes_alike() -> None:
    task = Task.of(SHOWN, "softmax")
    assert [task.weights[label == LABELS, 0].sum() for label in range(3)] == pytest.approx([20, 20, 20])
    questions = Task.of(SHOWN, "sigmoid")
    assert (questions.weights * SHOWN).sum(0) == pytest.approx([30, 30, 30])
    assert (questions.weights * ~SHOWN).sum(0) == pytest.approx([30, 30, 30])


def test_features_that_are_no_numbers() -> None:
    with pytest.raises(ValueError, match="not finite"):
        fit(np.full((60, 2), np.nan), Task.of(SHOWN, "softmax"), [1.0])
