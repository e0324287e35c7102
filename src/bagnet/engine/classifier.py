"""What everything that classifies satisfies, whatever runs it: a BagNet, a prepared model, another network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self, TypeGuard

from torch import Tensor

from ..card import Card
from ..data.names import ClassNames
from ..data.transforms import Preprocessing
from ..geometry import Geometry


class Predictor(Protocol):
    """Gives the logits of prepared images, and says what it is."""

    @property
    def name(self) -> str:
        """Of its architecture: it states the true window and stride."""

    @property
    def card(self) -> Card | None:
        """What its weights are."""

    @property
    def classes(self) -> ClassNames:
        """What its logits stand for."""

    @property
    def transform(self) -> Preprocessing:
        """PIL image -> (C, H, W) input tensor."""

    @property
    def geometry(self) -> Geometry | None:
        """Where its windows lie on the input; None where it sees the whole image at once."""

    @property
    def num_classes(self) -> int:
        """Length of the logits."""

    @property
    def runtime(self) -> str:
        """Who runs it: one of `RUNTIMES`."""

    @property
    def precision(self) -> str:
        """What that really executes: "float32", "bf16", ..."""

    @property
    def weights_digest(self) -> str:
        """sha256 of its weights, by which the same model is known again."""

    def check(self, x: Tensor) -> None:
        """See that x is a (B, C, H, W) batch that it takes. ValueError: it is not; the message says why."""

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K) logits."""


class Classifier(Predictor, Protocol):
    """Has evidence: its logits are the means of the logits of windows."""

    @property
    def geometry(self) -> Geometry:
        """Where its windows lie on the input."""

    @property
    def num_features(self) -> int:
        """Channels of the features."""

    @property
    def windows_apart(self) -> bool:
        """Whether each window is computed by itself, so that a part of an image costs as much as it has windows."""

    def features(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C, h, w): what each window is turned into before the head."""

    def head(self, features: Tensor, classes: Sequence[int] | None = None) -> Tensor:
        """(B, C) -> (B, K), (B, C, h, w) -> (B, K, h, w): the linear classifier in float32 at least."""

    def evidence(self, x: Tensor, classes: Sequence[int] | None = None) -> Tensor:
        """(B, C, H, W) -> (B, K, h, w) logits of every window."""

    def logits_and_evidence(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both from one pass: the logits by pooling before the head, the evidence by the head on every window."""

    def at_stride(self, stride: int) -> Self:
        """The same classifier with its windows closer together: at the widest stride it can that divides `stride`."""


def temperature_of(model: Predictor) -> float:
    """By which its logits are divided before they become probabilities."""
    return 1.0 if model.card is None else model.card.temperature


def probabilities_of(model: Predictor, logits: Tensor) -> Tensor:
    """(..., K) logits of a model -> probabilities: softmax, or the sigmoid of each of several labels, at its temperature."""
    scaled = logits / temperature_of(model)
    return scaled.sigmoid() if model.card is not None and model.card.multilabel else scaled.softmax(-1)


def has_evidence(model: Predictor) -> TypeGuard[Classifier]:
    """Whether a model is a bag of windows, and not a network that sees the whole image at once."""
    return model.geometry is not None


def check_loaded(model: object) -> None:
    """See that a model is no name of one. TypeError: it is."""
    if isinstance(model, str):
        raise TypeError(f"{model!r} is the name of a model: load it first, bagnet.load({model!r})")


def names_apart(models: Sequence[Predictor]) -> list[str]:
    """Their names. ValueError: there is no model, or two have the same name."""
    names = [model_name(model) for model in models]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"networks are measured under names of their own, got {', '.join(names) or 'none'}")
    return names


def model_name(model: Predictor) -> str:
    """The name of a model's card; of its architecture, where it has none."""
    return model.name if model.card is None else model.card.name
