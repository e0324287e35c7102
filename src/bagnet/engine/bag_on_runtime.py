"""BagOnRuntime: what a bag of features does when a runtime makes the features and the linear head runs here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from ..card import Card
from ..data.names import ClassNames, check_classes
from ..data.transforms import Preprocessing
from ..geometry import BATCH_PIXELS, Geometry
from .classifier import model_name
from .runtimes.runner import Runner

_HEAD_ROWS = 512  # windows whose features the head takes at a time
Head = tuple[Tensor, Tensor]


class Description(Protocol):
    """What is known of a classifier without running it, as `Classifier` has it."""

    @property
    def name(self) -> str: ...
    @property
    def card(self) -> Card | None: ...
    @property
    def classes(self) -> ClassNames: ...
    @property
    def transform(self) -> Preprocessing: ...
    @property
    def geometry(self) -> Geometry: ...
    @property
    def num_classes(self) -> int: ...
    @property
    def num_features(self) -> int: ...
    @property
    def weights_digest(self) -> str: ...
    @property
    def windows_apart(self) -> bool: ...
    def check(self, x: Tensor) -> None: ...


class BagOnRuntime:
    """Every call of a `Classifier` but `at_stride`, by a runner of the features. The head runs here, in float32, always.

    Args:
        description: what it is.
        runner: makes the features.
        linear: the head's matrix (K, C) and bias (K,), float32; None where the features are the logits.
        runtime: who runs it.
    """

    def __init__(self, description: Description, runner: Runner, linear: Head | None, runtime: str) -> None:
        self._description, self._runner, self._linear, self.runtime = description, runner, linear, runtime
        self._digest: str | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({model_name(self)} by {self.runtime} in {self.precision})"

    @property
    def geometry(self) -> Geometry:
        """Where its windows lie on the input."""
        return self._description.geometry

    @property
    def card(self) -> Card | None:
        """What its weights are."""
        return self._description.card

    @property
    def classes(self) -> ClassNames:
        """What its logits stand for."""
        return self._description.classes

    @property
    def transform(self) -> Preprocessing:
        """PIL image -> (C, H, W) input tensor."""
        return self._description.transform

    @property
    def precision(self) -> str:
        """What the runtime really executes; of OpenVINO known for sure once it has run."""
        return self._runner.executed

    @property
    def name(self) -> str:
        """Of the architecture."""
        return self._description.name

    @property
    def num_classes(self) -> int:
        """Length of the logits."""
        return self._description.num_classes

    @property
    def num_features(self) -> int:
        """Channels of the bag of features."""
        return self._description.num_features

    @property
    def weights_digest(self) -> str:
        """`digest` of the weights that it was made from, in float32."""
        if self._digest is None:
            self._digest = self._description.weights_digest
        return self._digest

    @property
    def windows_apart(self) -> bool:
        """Whether each window is computed by itself."""
        return self._description.windows_apart

    def check(self, x: Tensor) -> None:
        """As `BagNet.check`."""
        self._description.check(x)

    def features(self, x: Tensor) -> Tensor:
        """The bag of features in float32, as `BagNet.features`."""
        self.check(x)
        return self._runner.apply(x, lambda lent: lent.to(torch.float32, memory_format=torch.contiguous_format, copy=True))

    def head(self, features: Tensor, classes: Sequence[int] | None = None) -> Tensor:
        """The linear classifier in float32, as `BagNet.head`."""
        wanted = slice(None) if classes is None else check_classes(classes, self.num_classes)
        if self._linear is None:
            return features[:, wanted].float()
        weight, bias = (part[wanted].to(features.device) for part in self._linear)
        if features.ndim == 2:
            return F.linear(features.float(), weight, bias)
        if features.dtype == torch.float32 and features.is_contiguous():
            return F.conv2d(features, weight[:, :, None, None], bias)
        # Channels last, half precision: a row a window, made float32 a few at a time, as a whole copy of the features is
        # larger than any cache.
        places = features.permute(0, 2, 3, 1)
        rows = places.flatten(0, 2)
        logits = rows.new_empty((len(rows), len(weight)), dtype=torch.float32)
        for start in range(0, len(rows), _HEAD_ROWS):
            torch.addmm(bias, rows[start : start + _HEAD_ROWS].float(), weight.T, out=logits[start : start + _HEAD_ROWS])
        return logits.reshape(*places.shape[:3], len(weight)).permute(0, 3, 1, 2)

    def evidence(self, x: Tensor, classes: Sequence[int] | None = None) -> Tensor:
        """(B, K, h, w) logits of every window, as `BagNet.evidence`."""
        self.check(x)
        return self._runner.apply(x, lambda features: self.head(features, classes))

    def logits_and_evidence(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As `BagNet.logits_and_evidence`."""
        self.check(x)
        return self._runner.apply(x, lambda lent: (self.head(lent.mean((2, 3), dtype=torch.float32)), self.head(lent)))

    def __call__(self, x: Tensor) -> Tensor:
        """(B, K) logits, pooled by the runtime before the head; of (B, N, C, H, W) tiles of images, over all tiles of each."""
        if x.ndim == 5:
            every = x.flatten(0, 1)
            self.check(every)
            at_once = max(1, BATCH_PIXELS // (x.shape[3] * x.shape[4]))
            pooled = torch.cat([self._runner.pooled(chunk) for chunk in torch.split(every, at_once)])
            return self.head(torch.unflatten(pooled, 0, x.shape[:2]).mean(1))
        self.check(x)
        return self.head(self._runner.pooled(x))
