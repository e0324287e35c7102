"""Logistic regression on the features of images, in float64: a linear head, its regularisation and what it is worth.

The loss is convex and its gradient of a few lines, so that L-BFGS ends at the one minimum there is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Kind = Literal["softmax", "sigmoid", "ordinal"]
PENALTIES: tuple[float, ...] = (10, 3, 1, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 3e-4, 1e-4)  # from strong to weak
_STEPS = 1000  # of L-BFGS at most


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A linear layer.

    Args:
        weight: (K, C).
        bias: (K,).
    """

    weight: Floats
    bias: Floats

    def __call__(self, features: NDArray[Any]) -> Floats:
        """(N, C) -> (N, K) logits."""
        return np.asarray(features, np.float64) @ self.weight.T + self.bias


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """What is to be learnt.

    Args:
        shown: (N, K) 1 for each class that an image shows, else 0.
        kind: "softmax": one class of K; "sigmoid": a yes or no to each; "ordinal": one of K, of which the logits rise or fall
            together along one direction of the features, the k-th by k times as much (adjacent categories; Agresti, Analysis of
            Ordinal Categorical Data, 2010, chapter 4). That, too, is a linear head.
        weights: (N, K) how much each image counts in the loss of each class; of one class of K, the same along a row.
    """

    shown: Floats
    kind: Kind
    weights: Floats

    @classmethod
    def of(cls, shown: NDArray[Any], kind: Kind, balanced: bool = True) -> Task:
        """The task of images that show some classes, where rare and common ones count alike if that is asked for."""
        images, classes = shown.shape
        seen = np.maximum(1, shown.sum(0))
        weights = np.ones((images, classes))
        if balanced and kind == "sigmoid":
            weights = np.where(shown, images / (2 * seen), images / (2 * np.maximum(1, images - shown.sum(0))))
        elif balanced:
            present = max(1, int((shown.sum(0) > 0).sum()))
            weights = np.repeat((shown / seen).sum(1, keepdims=True) * images / present, classes, 1)
        return cls(shown.astype(np.float64), kind, weights)

    def rows(self, chosen: NDArray[Any]) -> Task:
        """The same of some images."""
        return Task(self.shown[chosen], self.kind, self.weights[chosen])

    def losses(self, logits: Floats) -> Floats:
        """(N,) weighted cross-entropy of each image; of questions, their mean."""
        if self.kind == "sigmoid":
            each: Floats = self.weights * (np.logaddexp(0, logits) - self.shown * logits)
            return np.asarray(each.mean(1))
        likely = (self.shown * logits).sum(1) - np.logaddexp.reduce(logits, 1)
        return np.asarray(-self.weights[:, 0] * likely)

    def gradient(self, logits: Floats) -> Floats:
        """(N, K) of the mean loss."""
        if self.kind == "sigmoid":
            return np.asarray(self.weights * (_sigmoid(logits) - self.shown) / logits.size)
        shares = np.exp(logits - np.logaddexp.reduce(logits, 1)[:, None])
        return np.asarray(self.weights * (shares - self.shown) / len(logits))


def fit(features: NDArray[Any], task: Task, penalties: Sequence[float]) -> list[Head]:
    """The heads with the smallest mean loss plus penalty / 2 times the sum of squared weights of standardised features.

    Features are standardised by their mean and deviation, which are folded back into the head: it takes them as they are.

    Args:
        features: (N, C).
        task: of the same images.
        penalties: at best from strong to weak, as each fit begins where the one before ended.

    Raises:
        ValueError: a feature is not finite.
    """
    x = np.asarray(features, np.float64)
    if not np.isfinite(x).all():
        raise ValueError("features that are not finite cannot be learnt from")
    middle, spread = x.mean(0), x.std(0)
    spread = np.where(spread > 1e-12 * (1 + np.abs(middle)), spread, np.inf)  # what never varies says nothing
    rows, basis = _rotated((x - middle) / spread)
    spans = _spans(task)
    point = np.zeros(len(spans) * rows.shape[1] + task.shown.shape[1])
    heads = []
    for penalty in penalties:

        def objective(at: Floats, penalty: float = penalty) -> tuple[float, Floats]:
            free, bias = _split(at, *spans.shape)
            logits = rows @ (spans.T @ free).T + bias
            pull = task.gradient(logits)
            by_free = spans @ (pull.T @ rows) + penalty * free
            value = float(task.losses(logits).mean() + penalty / 2 * (free**2).sum())
            return value, np.concatenate([by_free.ravel(), pull.sum(0)])

        point = minimum(objective, point)
        free, bias = _split(point, *spans.shape)
        weight = (spans.T @ free) @ basis.T / spread
        heads.append(Head(weight, bias - weight @ middle))
    return heads


def minimum(objective: Callable[[Floats], tuple[float, Floats]], start: Floats) -> Floats:
    """Where a smooth convex function is smallest, by L-BFGS.

    PyTorch's, not scipy's, whose many small LAPACK calls wait for each other's threads where other processes are at work.

    Args:
        objective: gives a value and its gradient.
        start: (D,).
    """
    at = torch.tensor(start)
    optimiser = torch.optim.LBFGS(
        [at], max_iter=_STEPS, tolerance_grad=1e-7, tolerance_change=1e-12, history_size=20, line_search_fn="strong_wolfe"
    )

    def closure() -> float:
        value, gradient = objective(at.numpy())
        at.grad = torch.from_numpy(gradient)
        return value

    with torch.inference_mode(False):
        optimiser.step(closure)  # type: ignore[no-untyped-call]
    found: Floats = at.numpy()
    return found


def _spans(task: Task) -> Floats:
    """(F, K): how free directions of the features make the weights of the classes: each class its own, or all the same."""
    classes = task.shown.shape[1]
    if task.kind != "ordinal":
        return np.eye(classes)
    levels: Floats = np.arange(classes) - (classes - 1) / 2
    return levels[None]


def _split(at: Floats, free: int, classes: int) -> tuple[Floats, Floats]:
    """(F, D) directions and (K,) biases of the numbers that are looked for."""
    return at[:-classes].reshape(free, -1), at[-classes:]


def _rotated(x: Floats) -> tuple[Floats, Floats]:
    """(N, D) rows and (C, D) basis, rows @ basis.T = x, with as few columns as there are rows.

    Of fewer images than features the best weights are combinations of images, and squared weights do not see a rotation.
    """
    if len(x) >= x.shape[1]:
        return x, np.eye(x.shape[1])
    basis, triangle = np.linalg.qr(x.T)
    return triangle.T, basis


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(logits / 2)))
