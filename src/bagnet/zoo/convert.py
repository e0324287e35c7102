"""From a network in memory to tensors and a card that belong together."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import torch

from ..card import Card, digest
from .checkpoint import State


class WithCard(Protocol):
    """A network that says what it is."""

    @property
    def card(self) -> Card | None:
        """What its weights are."""

    def state_dict(self) -> dict[str, Any]:
        """Its tensors by name."""


def converted(model: WithCard, half_convolutions: bool = False) -> tuple[State, Card]:
    """The tensors of a network as they are to be stored, and its card with their digest.

    Args:
        model: with a card.
        half_convolutions: store convolutions and the linear head's matrix in float16, half the bytes; everything else stays
            float32. The network read back is not quite the same: measure it, not this one.

    Raises:
        ValueError: the model has no card, or a number does not fit into float16.
    """
    if model.card is None:
        raise ValueError("this network has no card to write")
    state: State = {key: value.detach().cpu() for key, value in model.state_dict().items()}
    if half_convolutions:
        for key, value in state.items():
            if value.ndim > 1:
                state[key] = value.half()
                if not torch.isfinite(state[key]).all():
                    raise ValueError(f"{key} has a weight of {value.abs().max():g}, too large for float16")
    return state, replace(model.card, digest=digest(state))
