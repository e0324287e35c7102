"""Grey levels of more than 8 bits become the picture that one asks for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import bagnet
from bagnet.data.decode import BadImage, decode
from bagnet.data.levels import Levels, spread
from bagnet.data.pixels import Pixels
from bagnet.data.sources import open_images
from bagnet.data.transforms import Preprocessing

VALUES = np.array([[0, 1000, 1200], [1400, 4095, 65535]], np.uint16)


def shades(picture: Image.Image) -> list[int]:
    pixels = np.asarray(picture)
    assert (pixels == pixels[..., :1]).all()
    return [int(value) for value in pixels[..., 0].ravel()]


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    Image.fromarray(VALUES).save(tmp_path / "scan.png")
    return tmp_path / "scan.png"


def test_levels_between_black_and_white_are_spread_evenly_and_those_beyond_are_cut_off() -> None:
    assert spread(VALUES, 1000, 1400).ravel().tolist() == [0, 0, 128, 255, 255, 255]
    assert spread(np.array([[-200.0, -160, 40, 240]]), -160, 240).ravel().tolist() == [0, 0, 128, 255]
    with pytest.raises(ValueError, match="no numbers"):
        spread(np.array([[0.0, np.nan]]), 0, 1)


def test_without_a_word_of_the_person_the_upper_bits_are_kept(scan: Path) -> None:
    photo = decode(scan)
    assert photo.size == (3, 2)
    assert shades(photo.image) == [0, 3, 4, 5, 15, 255]
    assert shades(photo.shown((1000, 1400))) == [0, 0, 128, 255, 255, 255]


def test_pictures_of_eight_bits_are_as_they_are(tmp_path: Path) -> None:
    Image.fromarray(np.uint8([[7, 200]])).save(tmp_path / "grey.png")
    assert shades(decode(tmp_path / "grey.png").shown((0, 100))) == [7, 200]


def test_a_negative_is_turned_and_what_is_transparent_stays_white() -> None:
    assert shades(Levels(VALUES, negative=True).picture((1000, 1400))) == [255, 255, 127, 0, 0, 0]
    assert shades(Levels(VALUES, clear=1000).picture((1000, 1400))) == [0, 255, 128, 255, 255, 255]


@pytest.mark.parametrize("mode", ["F", "I"])
def test_levels_that_have_no_picture_of_their_own_have_one_where_somebody_says_which(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "ct.tif"
    Image.fromarray(np.array([[-160, 40, 240, 100_000]], np.float32 if mode == "F" else np.int32)).save(path)
    photo = decode(path)
    with pytest.raises(BadImage, match=r"ct.tif: .*grey levels run from -160 to 100000: say which are black and white"):
        photo.image  # noqa: B018
    assert shades(photo.shown((-160, 240))) == [0, 128, 255, 255]


def test_what_a_model_says_holds_wherever_its_images_are_read(scan: Path) -> None:
    as_said = Preprocessing(resize=None, crop=None, mean=(0.0,) * 3, std=(1.0,) * 3, grey=(1000, 1400))
    expected = torch.tensor([[0, 0, 128], [255, 255, 255]]).expand(3, 2, 3)
    images = open_images(scan)
    assert torch.equal((as_said(scan) * 255).round().long(), expected)
    assert torch.equal((as_said(images.photo(0)) * 255).round().long(), expected)
    assert torch.equal(Pixels(images, 3, (1000, 1400))[0].long(), expected)  # type: ignore[union-attr]
    assert torch.equal(Pixels(images, 3)[0][0].ravel().long(), torch.tensor([0, 3, 4, 5, 15, 255]))  # type: ignore[index]


def test_evidence_has_the_picture_that_the_model_saw(tmp_path: Path) -> None:
    Image.fromarray((np.arange(64 * 64, dtype=np.uint16) % 4096).reshape(64, 64)).save(tmp_path / "scan.png")
    model = bagnet.create("bagnet9", num_classes=2)
    assert model.card is not None
    transform = replace(model.transform, resize=None, crop=None)
    plain = bagnet.explain(model, tmp_path / "scan.png", transform=transform)
    said = bagnet.explain(model, tmp_path / "scan.png", transform=replace(transform, grey=(0, 4095)))
    assert np.asarray(plain.image).max() == 15
    assert np.asarray(said.image).max() == 255
    assert not np.allclose(plain.logits, said.logits)


def test_the_card_keeps_it(tmp_path: Path) -> None:
    model = bagnet.create("bagnet9", num_classes=2)
    assert model.card is not None
    assert "grey" not in model.transform.to_dict()
    model.card = replace(model.card, preprocessing=replace(model.transform, grey=(0, 4095)))
    model.save(tmp_path / "deep.safetensors")
    assert bagnet.load(tmp_path / "deep.safetensors").transform.grey == (0.0, 4095.0)


@pytest.mark.parametrize("grey", [(1, 1), (5, 2), (0, float("inf")), (-1e308, 1e308), (1,), "dark", 3, (0, "white")])
def test_levels_that_do_not_rise_are_refused(grey: object) -> None:
    with pytest.raises(ValueError, match="grey must be two levels"):
        Preprocessing(grey=grey)  # type: ignore[arg-type]
