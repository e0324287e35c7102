"""What lies in the package, and the networks beside it to compare with, is whole, small, offline, and as good as its card says.

The accuracy needs Tiny-ImageNet, which is not ours to hand on: its folder of Parquet tables is looked for as `tiny-imagenet`
beside the tests, or where TINY_IMAGENET says.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
import skimage

import bagnet
from bagnet.data.labelled import open_labelled
from bagnet.zoo.catalogue import card_at
from bagnet.zoo.external import open_classifier
from bagnet.zoo.names import DEFAULT, bundled
from bagnet.zoo.verify import verify

TINY_IMAGENET = Path(os.environ.get("TINY_IMAGENET", Path(__file__).parents[2] / "tiny-imagenet"))
NETWORKS = sorted((Path(__file__).parents[2] / "benchmarks" / "networks").glob("*.safetensors"))
SIZES = [path for name, path in bundled().items() if name.startswith("bagnet")]
FILES = [*SIZES, *NETWORKS]
COFFEE = Path(skimage.__file__).parent / "data" / "coffee.png"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_are_what_their_cards_say(path: Path) -> None:
    card = card_at(str(path))
    assert card.name == path.stem
    assert path.stat().st_size <= 12_000_000
    assert card.scores
    assert card.command.startswith("bagnet train ")
    assert card.licence
    assert "tensors: the digest on the card inside" in verify(str(path)).checks


@pytest.mark.parametrize("name", [name for name in bundled() if name.startswith("windowed")])
def test_windowed_networks_are_what_their_cards_say(name: str) -> None:
    model = bagnet.load(name)
    assert model.card is not None
    assert model.card.name == name
    assert name.startswith(f"{model.name}.")
    assert (model.geometry.size, model.geometry.stride) == (model.architecture.window, model.architecture.stride)
    assert len(model.classes) == 1000
    assert "Apache-2.0" in model.card.licence
    assert model.card.scores[0].images == 250
    assert float(model.fc.weight.detach().mean(0).abs().max()) < 1e-3, "the head is centred"
    assert bundled()[name].stat().st_size <= 12_000_000
    assert bagnet.explain(model, COFFEE).top(1)[0].name == "espresso"


@pytest.mark.skipif(not TINY_IMAGENET.is_dir(), reason="needs Tiny-ImageNet")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_they_reach_what_their_cards_say(path: Path) -> None:
    """Every tenth image of `val`: within three standard errors of the card."""
    images = open_labelled(TINY_IMAGENET, "val")
    model = open_classifier(path)
    evaluation = bagnet.evaluate(model, images.take(range(0, len(images), 10)))
    (card,) = model.card.scores
    for measured, said in ((evaluation.top(1), card.top1 / 100), (evaluation.top(5), card.top5 / 100)):
        assert abs(measured - said) <= 3 * np.sqrt(said * (1 - said) / evaluation.images)


@pytest.mark.skipif(not NETWORKS, reason="they are not in the source distribution")
@pytest.mark.parametrize(
    "networks",
    [{"bagnet9s4", "bagnet17s4", "bagnet33s4"}, {"small_resnet", "small_vgg"}],
)
def test_what_is_compared_is_of_one_recipe(networks: set[str]) -> None:
    """The sizes, and the networks beside them, differ in nothing but the network; that of 25 px and the large one are apart."""
    cards = [card_at(str(path)) for path in FILES if path.stem in {f"{network}.tiny_in200" for network in networks}]
    assert len(cards) == len(networks)
    fields = [re.sub(r" --(out|network|kernel3|strides|layers|width) \S+", "", card.command) for card in cards]
    assert len(set(fields)) == 1


def test_the_default_is_first() -> None:
    assert next(iter(bundled())) == DEFAULT == bagnet.load().card.name
