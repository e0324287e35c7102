"""What lies in the package is whole, small, offline, and as good as its card says (the accuracy itself needs the data)."""

from __future__ import annotations

from pathlib import Path

import pytest
import skimage

import bagnet
from bagnet.zoo.catalogue import DEFAULT, bundled, card_of
from bagnet.zoo.verify import verify

COFFEE = Path(skimage.__file__).parent / "data" / "coffee.png"


@pytest.mark.parametrize("name", bundled())
def test_files_are_what_their_cards_say(name: str) -> None:
    card = card_of(name)
    assert card.name == name
    assert bundled()[name].stat().st_size <= 12_000_000
    assert card.scores
    assert card.command.startswith("bagnet train ")
    assert card.licence
    assert "tensors: the digest on the card inside" in verify(name).checks


def test_the_default_knows_a_cup_of_coffee() -> None:
    assert DEFAULT in bundled()
    model = bagnet.load()
    assert min(model.geometry.grid(64, 64)) >= 10
    assert bagnet.explain(model, COFFEE).top(1)[0].name == "espresso"
