"""The models known by name: their cards, shapes and sizes, and what random weights are called."""

from __future__ import annotations

import re
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from bagnet.architecture import PUBLISHED_SHAPES, Architecture
from bagnet.card import Card, Source
from bagnet.data.names import imagenet1k
from bagnet.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from bagnet.model import BagNet
from bagnet.zoo import catalogue
from bagnet.zoo.catalogue import UnknownModel, card_at, card_of, published, published_by_content, untrained
from bagnet.zoo.names import bundled

PUBLISHED = {
    "bagnet9.orig_in1k": (9, False, 15_688_744),
    "bagnet17.orig_in1k": (17, False, 16_213_032),
    "bagnet33.orig_in1k": (33, False, 18_310_184),
    "bagnet9_padded.v2_in1k": (9, True, None),
    "bagnet17_padded.v2_in1k": (17, True, None),
    "bagnet33_padded.v2_in1k": (33, True, None),
}


@pytest.mark.parametrize("name", published())
def test_every_published_card_says_what_it_is(name: str) -> None:
    """A new entry is tested by being there."""
    card = card_of(name)
    assert card.name == name
    assert card.name.split(".")[0] == card.architecture.name
    assert card.licence != "no weights"
    assert card.trained_on
    assert card.source is not None
    assert card.source.url.startswith("https://")
    assert card.source.recognisable, "without sha256 or git_blob any file would pass"
    assert set(card.more) == set(), "a word that no card has"
    assert Card.from_json(card.to_json()) == card
    for score in card.scores:
        assert 0 < score.top1 < score.top5 < 100
        assert score.measured.startswith("by ")


@pytest.mark.parametrize("name", PUBLISHED)
def test_card_of_published_weights_fits_its_network(name: str) -> None:
    window, padded, parameters = PUBLISHED[name]
    card = card_of(name)
    assert (card.architecture.geometry.size, card.architecture.geometry.stride) == (window, 8)
    assert card.architecture.padded == padded
    assert card.classes == imagenet1k()
    assert card.preprocessing == Preprocessing(256, 224, "bilinear", IMAGENET_MEAN, IMAGENET_STD)
    with torch.device("meta"):
        model = BagNet(card.architecture)
    count = sum(parameter.numel() for parameter in model.parameters())
    if parameters is not None:
        assert count == parameters
    else:  # without the 1x1 stem (192) and its 3x3 successor (36,864), with a 3x3 stem (1,728) in their place
        assert count == PUBLISHED[name.replace("_padded.v2", ".orig")][2] - 192 - 36_864 + 1_728  # type: ignore[operator]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_source_can_be_checked(name: str) -> None:
    source = card_of(name).source
    assert source is not None
    prefix = re.search(r"-([0-9a-f]{8})\.pth\.tar$", source.url)
    if prefix:
        assert source.sha256 == prefix[1]
        assert source.strength == "sha256, only the first 32 bits"
    else:
        assert re.fullmatch(r"[0-9a-f]{40}", source.git_blob or "")
        assert source.strength == "git blob id, 160 bits of sha1"


@pytest.mark.parametrize("name", PUBLISHED)
def test_their_accuracies_and_licences_are_known(name: str) -> None:
    card = card_of(name)
    assert card.scores
    assert "MIT" in card.licence or "none stated" in card.licence


def test_a_source_without_a_checksum_is_no_file_in_particular(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"weights")
    card = card_of("bagnet9.orig_in1k")
    for facts, match in (({}, False), ({"size": 7}, False), ({"sha256": sha256(b"weights").hexdigest()}, True)):
        source = Source("https://example.org/bagnet", **facts)  # type: ignore[arg-type]
        monkeypatch.setattr(catalogue, "published", lambda source=source: {card.name: replace(card, source=source)})
        assert (published_by_content(path) is not None) == match


def test_published_shapes_are_named_by_themselves() -> None:
    assert {name: shape.name for name, shape in PUBLISHED_SHAPES.items()} == {name: name for name in PUBLISHED_SHAPES}
    assert {name.split(".")[0] for name in PUBLISHED} == set(PUBLISHED_SHAPES)


def test_bundled_files_go_by_the_name_on_their_card() -> None:
    for name, path in bundled().items():
        assert path.is_file()
        assert card_of(name).name == name


def test_unknown_names_and_files_without_a_card(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match=r"did you mean bagnet9\.orig_in1k"):
        card_of("bagnet9.orig")
    with pytest.raises(UnknownModel):
        card_at(str(tmp_path / "none"))
    torch.save({"a": torch.zeros(1)}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match=r"x\.pt: has no card; `bagnet models convert` gives it one"):
        card_at(str(tmp_path / "x.pt"))


def test_untrained_card_keeps_what_still_holds() -> None:
    trained = published()["bagnet9.orig_in1k"]
    same = untrained(Architecture((1, 1, 0, 0)), trained)
    assert (same.name, same.licence) == ("bagnet9.untrained", "no weights")
    assert same.classes == trained.classes
    changed = untrained(Architecture((1, 1, 0, 0), in_channels=2, num_classes=3), trained)
    assert [str(entry) for entry in changed.classes] == ["class 0", "class 1", "class 2"]
    assert changed.preprocessing.mean == pytest.approx([sum(IMAGENET_MEAN) / 3] * 2)
    assert changed.preprocessing.std == pytest.approx([sum(IMAGENET_STD) / 3] * 2)
