"""A probe as a scikit-learn classifier: fit, predict and predict_proba on images, for `cross_val_score` and its like.

`check_estimator` does not apply: it tries tables of numbers, and these are images.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..bag import BagOfFeatures
from ..data.arrays import ArrayImages
from ..data.decode import BadImage
from ..data.sources import Images, open_images
from ..missing import needs
from ..runs.vectors import embed
from ..training.cross_validation import best_head, choose, out_of_fold
from ..training.logistic import PENALTIES, Task
from ..zoo.linear import from_linear
from ..zoo.load import load_network

_base: Any = needs("sklearn.base", "sklearn")
_selection: Any = needs("sklearn.model_selection", "sklearn")
_validation: Any = needs("sklearn.utils.validation", "sklearn")


class ImageClassifier(_base.ClassifierMixin, _base.BaseEstimator):  # type: ignore[misc]  # known where it is installed
    """A linear head on the mean features of a model's windows; after `fit`, `model_` explains with it.

    Images are an array of (N, H, W, 3) uint8, or a list of paths. Features are computed anew in each call: where many fits see
    the same images, `bagnet.embed` them once, fit any linear classifier on that, and `bagnet.from_linear` makes a model of it.

    Args:
        model: whose windows see; its name or file, or the model.
        penalty: of the sum of squared weights of standardised features; chosen by cross-validation where None.
        balanced: whether rare classes count as much as common ones.
        folds: of that cross-validation.
        workers: processes that read images.

    Attributes:
        classes_: (K,) the labels, sorted.
        model_: the model with its new head: `bagnet.explain(classifier.model_, image)`.
        penalty_: that was chosen.
    """

    def __init__(
        self,
        model: str | PathLike[str] | BagOfFeatures = "default",
        *,
        penalty: float | None = None,
        balanced: bool = True,
        folds: int = 5,
        workers: int | None = None,
    ) -> None:
        self.model = model
        self.penalty = penalty
        self.balanced = balanced
        self.folds = folds
        self.workers = workers

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803
        """Learn from images and their labels.

        Raises:
            ValueError: there are not as many labels as images, or fewer than two classes, or fewer images of a class than folds.
            BadImage: an image cannot be read.
        """
        labels = np.asarray(y)
        images = _images(X)
        if labels.shape != (len(images.names),):
            raise ValueError(f"labels of shape {labels.shape} for {len(images.names)} images")
        self.classes_, indices = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"a classifier needs two classes, got {self.classes_.tolist()}")
        start = self.model if isinstance(self.model, BagOfFeatures) else load_network(self.model)
        features = self._features(start, images)
        task = Task.of(np.eye(len(self.classes_))[indices], "softmax", self.balanced)
        self.penalty_ = self._penalty(features, task, indices) if self.penalty is None else self.penalty
        head = best_head(features, task, self.penalty_)
        self.model_ = from_linear(start, head.weight, head.bias, [str(name) for name in self.classes_])
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """(N, K) probabilities, in the order of `classes_`. Raises BadImage, and NotFittedError before `fit`."""
        logits = self.decision_function(X)
        powers = np.exp(logits - logits.max(1, keepdims=True))
        shares: NDArray[np.float64] = powers / powers.sum(1, keepdims=True)
        return shares

    def decision_function(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """(N, K) logits, in the order of `classes_`. Raises as `predict_proba`."""
        _validation.check_is_fitted(self, "model_")
        weight, bias = (part.detach().double().numpy() for part in (self.model_.fc.weight, self.model_.fc.bias))
        logits: NDArray[np.float64] = self._features(self.model_, _images(X)) @ weight.T + bias
        return logits

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """(N,) labels. Raises as `predict_proba`."""
        best = self.decision_function(X).argmax(1)
        labels: NDArray[Any] = self.classes_[best]
        return labels

    def _features(self, model: BagOfFeatures, images: Images) -> NDArray[np.float32]:
        """(N, C); as each image has a label, none may be left out."""
        features = embed(model, images, workers=self.workers)
        bad = np.flatnonzero(np.isnan(features).any(1))
        if len(bad):
            raise BadImage(f"{images.names[bad[0]]}: cannot be used, as {len(bad) - 1} others: leave them out")
        return features

    def _penalty(self, features: NDArray[np.float32], task: Task, indices: NDArray[Any]) -> float:
        """That with which heads are best on images that they did not learn from."""
        fold_of = np.empty(len(features), np.int64)
        split = _selection.StratifiedKFold(self.folds, shuffle=True, random_state=0).split(features, indices)
        for fold, (_, held) in enumerate(split):
            fold_of[held] = fold
        return choose([out_of_fold(features, task, fold_of)], fold_of, PENALTIES).penalty


def _images(images: Any) -> Images:
    """An array of images, or paths. ValueError: it is neither."""
    if isinstance(images, np.ndarray) and images.dtype == np.uint8:
        if images.ndim != 4:
            raise ValueError(f"images are (N, H, W, channels) uint8, got {images.shape}")
        return ArrayImages(images, "image")
    if isinstance(images, str | PathLike) or not isinstance(images, Sequence | np.ndarray):
        raise ValueError("images are an array of (N, H, W, channels) uint8, or a list of paths")
    return open_images([str(path) for path in images])
