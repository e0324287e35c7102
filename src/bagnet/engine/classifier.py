"""The one protocol that everything able to classify satisfies: a BagNet, a prepared model, an exported file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from ..card import Card
from ..data.names import ClassNames
from ..data.transforms import Preprocessing
from ..geometry import Geometry


class Classifier(Protocol):
    """A BagNet, or anything that answers as one does."""

    @property
    def geometry(self) -> Geometry:
        """Where its windows lie on the input."""

    @property
    def card(self) -> Card | None:
        """What its weights are."""

    @property
    def classes(self) -> ClassNames:
        """What its logits stand for."""

    @property
    def transform(self) -> Preprocessing:
        """PIL image -> (C, H, W) input tensor."""

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K) logits."""

    def evidence(self, x: Tensor, classes: Sequence[int] | None = None) -> Tensor:
        """(B, C, H, W) -> (B, K, h, w) logits of every window."""

    def logits_and_evidence(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both from one pass: the logits by pooling before the head, the evidence by the head on every window."""
