"""A network that reads colours is as right on textures and shuffled tiles as on images, one that reads places is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from bagnet.data.transforms import Preprocessing
from bagnet.studies.paper.scrambled import shuffled
from bagnet.studies.paper.subjects import Material, gather
from bagnet.studies.paper.texturise import OnCanvas, Texturise, canvas_for

from .material import colour_reader, findings_of, images_of, noise, plain, prepared_by, saying

SIZE = 8


def left_or_right(x: Tensor) -> Tensor:
    """Which half is brighter."""
    return torch.stack([x[..., : SIZE // 2].mean((1, 2, 3)), x[..., SIZE // 2 :].mean((1, 2, 3))], 1)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """The first class is reddish and bright at the left, the second greenish and bright at the right."""
    pixels = noise(8, SIZE).astype(float) / 4 + 40
    pixels[::2, :, :, 0] += 30
    pixels[1::2, :, :, 1] += 30
    pixels[::2, :, : SIZE // 2] += 80
    pixels[1::2, :, SIZE // 2 :] += 80
    return images_of(tmp_path / "images.npz", pixels.astype(np.uint8), [0, 1] * 4)


def models() -> list[tuple[str, Any]]:
    return [("colours", colour_reader(SIZE)), ("places", saying(left_or_right, 2, SIZE))]


def findings(material: Material, out: Path, **options: Any) -> Any:
    return findings_of(Texturise(**{"steps": 2, "tile": 2, **options}), material, out)


def test_colours_stay_and_places_do_not(images: Path, tmp_path: Path) -> None:
    outcome = findings(gather(models(), images), tmp_path, steps=40)
    measures = outcome.measures
    colours, places = measures.models
    assert measures.texture_network == "colours"
    assert measures.layers == ["conv1_1", "pool1"]
    assert measures.gram_error.high < 0.05
    assert [of_kind.top1.value for of_kind in colours.by_kind.values()] == [1, 1, 1]
    assert places.clean.top1.value == 1
    pixels = np.load(images)["val_images"]
    right = []
    for row, image in enumerate(pixels):
        moved = shuffled(image, 2, np.random.default_rng((0, row)).permutation(16)).astype(float)
        right.append((moved[:, : SIZE // 2].mean() > moved[:, SIZE // 2 :].mean()) == (row % 2 == 0))
    assert places.shuffled.top1.value == np.mean(right) < 1
    assert places.shuffled.top1_lost.value == 1 - np.mean(right)
    assert places.shuffled.top5_lost is None, "of two classes"
    assert "colours on 100.0 [67.6, 100.0] % of the clean images" in outcome.sentences[0]


@pytest.mark.parametrize(
    ("sizes", "side"),
    [
        (((32, 28), (32, 28)), 28),
        (((32, 28), (32, 32)), 32),
        (((32, 28), (32, 31), (32, 20)), 31),
        (((32, 28), (None, 20)), 32),
    ],
)
def test_models_see_of_a_canvas_what_they_see_of_the_image(sizes: Any, side: int) -> None:
    """To the pixel, where they resize an image alike; the canvas holds what any of them sees and no more."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (41, 57, 3), np.uint8))
    transforms = [Preprocessing(resize, crop) for resize, crop in sizes]
    canvas = canvas_for(transforms)
    assert canvas.crop == side
    shown = canvas.picture(canvas(image))
    for transform in transforms:
        model = prepared_by(colour_reader(SIZE), transform)
        seen = OnCanvas("it", model, (0, 1), canvas).transform(shown)
        assert seen.shape == (3, transform.crop, transform.crop)
        if transform.resize is not None:
            assert torch.equal(seen, transform(image))


def test_a_canvas_for_inputs_of_other_sizes() -> None:
    """The larger share of an image, 31/32, as finely as the other model sees it: 62 of 64 pixels."""
    fine, coarse = Preprocessing(64, 56), Preprocessing(32, 31)
    canvas = canvas_for([fine, coarse])
    assert (canvas.resize, canvas.crop) == (64, 62)
    seen = [OnCanvas("it", prepared_by(colour_reader(SIZE), transform), (0, 1), canvas).transform for transform in (fine, coarse)]
    assert [(transform.resize, transform.crop) for transform in seen] == [(62, 56), (31, 31)]
    assert canvas_for([plain(None)]).crop is None
    assert canvas_for([plain(None), fine]).crop == 56


def test_the_size_of_the_pictures_is_said(images: Path, tmp_path: Path) -> None:
    smaller = prepared_by(saying(lambda x: x.mean((2, 3))[:, :2], 2, 6), replace(plain(6), resize=SIZE))
    outcome = findings(gather([*models(), ("smaller", smaller)], images, count=2), tmp_path / "out")
    assert outcome.measures.side == SIZE
    assert [model.input for model in outcome.measures.models] == [8, 8, 6]
    assert outcome.sentences[-1] == (
        "The pictures are 8 x 8 px; the models see of all kinds, by their own resize and crop: colours 8 x 8 px, "
        "places 8 x 8 px, smaller 6 x 6 px."
    )
    whole = findings(gather(models(), images, count=2), tmp_path / "whole")
    assert whole.sentences[-1] == "The pictures are 8 x 8 px, and every model sees them whole."


def test_what_does_not_suit_is_said(images: Path, tmp_path: Path) -> None:
    places = ("places", saying(left_or_right, 2, SIZE))
    material = gather(models(), images)
    for options, among, reason in (
        ({}, gather([places], images), "none of the models is one: add one, or set network=torchvision:vgg19"),
        ({"network": "places"}, material, "network=places: is no plain chain"),
        ({"network": "vgg"}, material, "there is no such model; there are colours, places"),
        ({"tile": 5}, material, "tile=5: pictures of 8 px"),
        ({"steps": 0}, material, "steps=0"),
    ):
        with pytest.raises(ValueError, match=reason):
            findings(among, tmp_path / "out", **options)
    grey = prepared_by(saying(lambda x: x.mean((2, 3)), 2, SIZE), replace(plain(SIZE), mean=(0.0,), std=(1.0,)))
    with pytest.raises(ValueError, match="take 1 and 3 channels"):
        Texturise().check(gather([*models(), ("grey", grey)], images))
