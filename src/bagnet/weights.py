"""Files of weights: safetensors with the card inside, written wholly or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from .card import Card, digest
from .files import replacing

State = dict[str, Tensor]
ENDING = ".safetensors"
_CARD = "bagnet.card"  # the key of the card in a safetensors file's metadata


class BadCheckpoint(ValueError):
    """A file that holds no weights, not these weights, or code."""


class WithCard(Protocol):
    """A network that says what it is."""

    @property
    def card(self) -> Card | None:
        """What its weights are."""

    def state_dict(self) -> dict[str, Any]:
        """Its tensors by name."""


def storable(model: WithCard, half: bool = False) -> tuple[State, Card]:
    """The tensors of a network as they are to be stored, and its card with their digest.

    Args:
        model: with a card.
        half: store convolutions and the linear head's matrix in float16, half the bytes; everything else stays as it is. The
            network read back is not quite the same: measure it, not this one.

    Raises:
        ValueError: the model has no card, or a number does not fit into float16.
    """
    if model.card is None:
        raise ValueError("this network has no card to write: build it with bagnet.create or bagnet.load")
    stored: State = {key: value.detach().cpu() for key, value in model.state_dict().items()}
    if half:
        for key, value in stored.items():
            if value.ndim > 1:
                stored[key] = value.half()
                if not torch.isfinite(stored[key]).all():
                    raise ValueError(f"{key} has a weight of {value.abs().max():g}, too large for float16")
    return stored, replace(model.card, digest=digest(stored))


def write(path: Path, state: Mapping[str, Tensor], card: Card) -> None:
    """Write safetensors with the card inside. An existing file is replaced at once or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    content = packed(state, card)
    with replacing(path) as part:
        part.write_bytes(content)  # by hand: safetensors' own writer makes files that others may not read


def packed(state: Mapping[str, Tensor], card: Card) -> bytes:
    """The content of a safetensors file with the card inside."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    return to_bytes(tensors, {"format": "pt", _CARD: card.to_json()})


def save(model: WithCard, path: str | PathLike[str]) -> None:
    """Write a network's weights with its card, for `bagnet.load`.

    Raises:
        ValueError: the network has no card, or the name does not end in .safetensors.
        OSError: the file cannot be written; an older one stays as it was.
    """
    target = Path(fspath(path))
    if target.suffix != ENDING:
        raise ValueError(f"{target}: weights with their card go into a file that ends in {ENDING}")
    write(target, *storable(model))


def read_safetensors(path: Path) -> tuple[State, Card | None]:
    """The tensors of a safetensors file, and the card where one is inside.

    Raises:
        BadCheckpoint: it cannot be read, or does not match the digest on its own card.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise BadCheckpoint(f"{path}: not a safetensors file, or incomplete ({error}); fetch or copy it again") from None
    if _CARD not in metadata:
        return state, None
    try:
        card = Card.from_json(metadata[_CARD])
    except (ValueError, json.JSONDecodeError) as error:
        raise BadCheckpoint(f"{path}: {error}") from None
    if card.digest is not None and (total := digest(state)) != card.digest:
        raise BadCheckpoint(f"{path}: its tensors have digest {total[:16]}..., its card says {card.digest[:16]}...")
    return state, card
