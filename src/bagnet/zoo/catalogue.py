"""Which weights are known by name: the published ones and those inside the package."""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from ..architecture import Architecture, Windowed
from ..card import Card, Score
from ..data.names import ClassNames, imagenet1k
from ..data.transforms import Preprocessing
from ..weights import State
from .checkpoint import read
from .fetch import check, difference, file_sha256
from .names import bundled, full_name, published_records, variants


class UnknownModel(ValueError):
    """Nothing is known by that name, and no file lies there."""


@cache
def published() -> dict[str, Card]:
    """Cards of the published weights, by name."""
    return {name: Card.from_dict(record) for name, record in published_records().items()}


def card_of(name: str) -> Card:
    """The card that goes by a name, without fetching its weights.

    Raises:
        UnknownModel: there is none; the message has the nearest names.
    """
    if name in bundled():
        return bundled_weights(name)[1]
    if name in published():
        return published()[name]
    raise unknown(name)


def bundled_weights(name: str) -> tuple[State, Card]:
    """The tensors and the card of a model inside the package."""
    state, card = read(bundled()[name])
    assert card is not None  # files in the package are written with a card
    if name not in variants():
        return state, card
    variant = variants()[name]
    assert isinstance(card.architecture, Windowed)
    shape = replace(card.architecture, window=variant["window"], stride=variant["stride"])
    scores = tuple(Score(**score) for score in variant.get("scores", ()))
    return state, replace(
        card,
        name=name,
        architecture=shape,
        preprocessing=replace(card.preprocessing, resize=variant["scale"]),
        scores=scores,
        notes=f"{variant.get('notes', '')} The weights are those of {card.name}.".strip(),
    )


def card_at(name: str) -> Card:
    """The card that goes by a name or lies in a safetensors file. Raises as `card_of`, and BadCheckpoint or WrongFile."""
    name = full_name(name)
    path = Path(name)
    if name in bundled() or name in published() or not path.is_file():
        return card_of(name)
    if (card_by_name := published_as(path)) is not None and card_by_name.source is not None:
        return replace(card_by_name, source_sha256=check(path, card_by_name.source))
    card = read(path)[1]
    if card is None:
        raise ValueError(f"{name}: has no card; `bagnet models convert` gives it one")
    return card


def published_as(path: Path) -> Card | None:
    """The card of the published weights whose file is called so: a file by that name is held to it before it is opened."""
    for card in published().values():
        if card.source is not None and card.source.url.rsplit("/", 1)[-1] == path.name:
            return card
    return None


def published_by_content(path: Path) -> Card | None:
    """The card of the published weights that a file holds, whatever it is called."""
    for card in published().values():
        if card.source is not None and card.source.recognisable and not difference(path, card.source):
            return replace(card, source_sha256=file_sha256(path))
    return None


def unknown(name: str) -> UnknownModel:
    """The error that says what there is instead."""
    names = [*bundled(), *published()]
    near = get_close_matches(name, names, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
    return UnknownModel(f"no model is called {name!r}, and there is no such file; {hint}")


def untrained(architecture: Architecture, card: Card | None = None) -> Card:
    """The card of random weights, with the preprocessing and classes of `card` where the number of classes allows."""
    same = card is not None and len(card.classes) == architecture.num_classes
    classes = card.classes if card is not None and same else ClassNames.numbered(architecture.num_classes)
    if card is None and architecture.num_classes == 1000:
        classes = imagenet1k()
    preprocessing = card.preprocessing if card is not None else Preprocessing()
    return Card(f"{architecture.name}.untrained", architecture, classes, preprocessing.with_channels(architecture.in_channels))
