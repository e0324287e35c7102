"""A model whose head somebody fitted elsewhere: on features, by any linear method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from ..bag import BagOfFeatures
from ..data.names import ClassNames
from .load import with_head

Model = TypeVar("Model", bound=BagOfFeatures)


def from_linear(model: Model, coef: ArrayLike, intercept: ArrayLike, classes: Sequence[Any] | ClassNames) -> Model:
    """A copy of a model with another head: that of a linear classifier of its mean features, such as scikit-learn's.

    Its evidence is exact as ever: the map of a class is what that classifier says of each window, and its mean what it says of
    the mean. `bagnet.embed` gives the features to fit it on.

    Args:
        model: with a card; not changed.
        coef: (K, C) weights for the model's C features; (1, C) or (C,) of a classifier of two classes that has one decision
            value, which speaks for the second: the first then has its negative, and each gets half of it.
        intercept: (K,), or one number.
        classes: K names.

    Raises:
        ValueError: shapes do not fit each other, the classes or the model; a number is not finite; the model has no linear head.
    """
    names = classes if isinstance(classes, ClassNames) else ClassNames.from_words([str(name) for name in classes])
    weight, bias = np.atleast_2d(np.asarray(coef, np.float64)), np.atleast_1d(np.asarray(intercept, np.float64))
    if len(names) == 2 and len(weight) == 1:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    if weight.shape != (len(names), model.num_features) or bias.shape != (len(names),):
        raise ValueError(
            f"coefficients of {' x '.join(map(str, weight.shape))} and {bias.size} intercepts do not fit {len(names)} classes "
            f"and the {model.num_features} features of {model.name}"
        )
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise ValueError("a coefficient or intercept is not finite")
    network = with_head(model, names, model.architecture.in_channels)
    network.fc = nn.Linear(model.num_features, len(names))
    with torch.no_grad():
        network.fc.weight.copy_(torch.from_numpy(weight))
        network.fc.bias.copy_(torch.from_numpy(bias))
    if network.card is not None:
        network.card = replace(network.card, temperature=1.0)  # which was fitted to another head's logits
    return network.eval()
