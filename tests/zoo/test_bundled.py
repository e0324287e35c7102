"""What lies in the package is whole, small, offline, and as good as its card says.

The accuracy needs Tiny-ImageNet, which is not ours to hand on: its folder of Parquet tables is looked for as `tiny-imagenet`
beside the tests, or where TINY_IMAGENET says.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import skimage

import bagnet
from bagnet.data.labelled import open_labelled
from bagnet.zoo.catalogue import DEFAULT, bundled, card_of
from bagnet.zoo.verify import verify

TINY_IMAGENET = Path(os.environ.get("TINY_IMAGENET", Path(__file__).parents[2] / "tiny-imagenet"))
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


@pytest.mark.skipif(not TINY_IMAGENET.is_dir(), reason="needs Tiny-ImageNet")
@pytest.mark.parametrize("name", bundled())
def test_they_reach_what_their_cards_say(name: str) -> None:
    """Every tenth image of `val`: within three standard errors of the card."""
    images = open_labelled(TINY_IMAGENET, "val")
    found = bagnet.evaluate(bagnet.load(name), images.take(range(0, len(images), 10)))
    (card,) = card_of(name).scores
    for measured, said in ((found.top(1), card.top1 / 100), (found.top(5), card.top5 / 100)):
        assert abs(measured - said) <= 3 * np.sqrt(said * (1 - said) / found.images)


def test_the_default_knows_a_cup_of_coffee() -> None:
    assert DEFAULT in bundled()
    model = bagnet.load()
    assert min(model.geometry.grid(64, 64)) >= 10
    assert bagnet.explain(model, COFFEE).top(1)[0].name == "espresso"
