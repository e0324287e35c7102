"""From a network in memory to tensors and a card that belong together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ..card import Card, digest
from .checkpoint import State


def converted(state: Mapping[str, Tensor], card: Card, half_convolutions: bool = False) -> tuple[State, Card]:
    """The tensors of a network as they are to be stored, and its card with their digest.

    Args:
        state: of the network.
        card: of the network.
        half_convolutions: store convolutions and the linear head's matrix in float16, half the bytes; everything else stays
            float32. The network read back is not quite the same: measure it, not this one.

    Raises:
        ValueError: a number does not fit into float16.
    """
    found = {key: value.detach().cpu() for key, value in state.items()}
    if half_convolutions:
        for key, value in found.items():
            if value.ndim > 1:
                found[key] = value.half()
                if not torch.isfinite(found[key]).all():
                    raise ValueError(f"{key} has a weight of {value.abs().max():g}, too large for float16")
    return found, replace(card, digest=digest(found))
