"""What can be said for sure about a file of weights."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ..card import digest
from ..progress import Listener, unheard
from .catalogue import published, published_as, unknown
from .checkpoint import read
from .external import open_classifier
from .fetch import check, fetch, file_sha256
from .names import bundled, full_name


@dataclass(frozen=True, slots=True)
class Verified:
    """A file that passed, and by what it was judged.

    Args:
        name: of the model.
        digest: of its tensors as stored.
        checks: one line a check.
    """

    name: str
    digest: str
    checks: tuple[str, ...]


def verify(name: str, progress: Listener = unheard, trust: Collection[str] = ()) -> Verified:
    """Check a model's file against all that is known of it; a published one is fetched if it is not at hand.

    Args:
        name: of a BagNet, or of a file, which may hold another network.
        progress: told while it is fetched.
        trust: import paths whose code may be run where the file's card names them, as for `open_classifier`.

    Raises:
        UnknownModel: no card and no file goes by that name.
        WrongFile, BadCheckpoint: a check failed.
        ValueError: the file's card names code that is not trusted.
    """
    checks = []
    name = full_name(name)
    if name in published():
        card = published()[name]
        assert card.source is not None
        path = fetch(card.source, progress)
        checks.append(f"file: sha256 {check(path, card.source)}, as published ({card.source.strength})")
    else:
        path = bundled().get(name, Path(name))
        if not path.is_file():
            raise unknown(name)
        card_by_name = published_as(path)
        # Where its name says that it is a published file, it is held to that.
        if card_by_name is not None and card_by_name.source is not None:
            checks.append(f"file: sha256 {check(path, card_by_name.source)}, as published ({card_by_name.source.strength})")
        else:
            checks.append(f"file: sha256 {file_sha256(path)}")
    state, inside = read(path)
    total = digest(state)
    if inside is None:
        checks.append("tensors: no card inside, so there is nothing to compare their digest with")
    elif inside.digest is None:
        checks.append("tensors: the card inside has no digest of them")
    else:
        checks.append("tensors: the digest on the card inside")
    model = open_classifier(name, trust=trust)
    checks.append(f"network: {model.name}, strict loading of {len(state)} tensors")
    return Verified(model.card.name if model.card else name, total, tuple(checks))
