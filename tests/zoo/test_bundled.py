"""What lies in the package is whole, small, offline, and as good as its card says (the accuracy itself needs the data)."""

from __future__ import annotations

from pathlib import Path

import pytest
import skimage

import bagnet
from bagnet.zoo.catalogue import DEFAULT, bundled, card_of
from bagnet.zoo.verify import verify

CAT = Path(skimage.__file__).parent / "data" / "chelsea.png"


@pytest.mark.parametrize("name", bundled())
def test_files_are_what_their_cards_say(name: str) -> None:
    card = card_of(name)
    assert card.name == name
    assert bundled()[name].stat().st_size <= 12_000_000
    assert card.scores
    assert card.command.startswith("bagnet train ")
    assert card.licence
    assert "tensors: the digest on the card inside" in verify(name).checks


def test_the_default_explains_a_cat() -> None:
    assert DEFAULT in bundled()
    model = bagnet.load()
    assert model.geometry.grid(64, 64) >= (10, 10)
    evidence = bagnet.explain(model, CAT)
    best = {answer.name for answer in evidence.top(5)}
    assert best & {"tabby", "Egyptian cat", "Persian cat"}
