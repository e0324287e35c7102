"""A shuffle keeps the pixels; a network that reads colours is as right on textures as on images, one that reads places not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from bagnet.architecture import ExternalArchitecture
from bagnet.card import Card
from bagnet.data.labels import BadLabels
from bagnet.data.names import ClassNames
from bagnet.data.transforms import Preprocessing
from bagnet.studies.paper import scrambled, texturise
from bagnet.studies.paper.experiment import Findings
from bagnet.studies.paper.scrambled import Canvases, Shuffled, shuffled, textures
from bagnet.studies.paper.subjects import Material, gather
from bagnet.studies.paper.texture_synthesis import TextureNetwork
from bagnet.studies.paper.texturise import OnCanvas, Texturise, canvas_for
from bagnet.zoo.external import ExternalNetwork
from bagnet.zoo.load import create

from .material import images_of, noise, plain, saying
from .test_texture_synthesis import colour_network

SIZE = 8


def colour_reader() -> ExternalNetwork:
    """The logits of two classes are how red and how green an image is; a plain chain."""
    head = nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.eye(2, 4))
    network = nn.Sequential(*colour_network(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    return ExternalNetwork(
        network, Card("colours", ExternalArchitecture("tests:colours", 2), ClassNames.numbered(2), plain(SIZE))
    ).eval()


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
    return [("colours", colour_reader()), ("places", saying(left_or_right, 2, SIZE))]


def find(material: Material, out: Path, **options: Any) -> Findings:
    (out / "texturise").mkdir(parents=True, exist_ok=True)
    return Texturise(**{"steps": 5, "tile": 2, **options}).find(material, out / "texturise")


def kept(folder: Path) -> list[Any]:
    return [np.asarray(Image.open(path)).astype(int) for path in sorted(folder.glob("*.png"))]


def test_a_shuffle_keeps_the_pixels_and_is_undone() -> None:
    pixels = noise(1, 11)[0]
    order = np.random.default_rng(0).permutation(9)
    moved = shuffled(pixels, 3, order)
    assert sorted(map(tuple, moved.reshape(-1, 3).tolist())) == sorted(map(tuple, pixels.reshape(-1, 3).tolist()))
    assert not np.array_equal(moved, pixels)
    assert np.array_equal(moved[:3, :3], pixels[3 * (order[0] // 3) :, 3 * (order[0] % 3) :][:3, :3])
    assert np.array_equal(moved[9:], pixels[9:])
    assert np.array_equal(moved[:, 9:], pixels[:, 9:])
    assert np.array_equal(shuffled(moved, 3, np.argsort(order)), pixels)


class Twice:
    """One image again and again."""

    names: Sequence[str] = ("a", "b")
    starts = (0,)
    fingerprint = "one"

    def pixels(self, row: int, channels: int) -> Any:
        return np.arange(64 * channels, dtype=np.uint8).reshape(8, 8, channels)


def test_a_shuffle_is_drawn_for_each_image_once() -> None:
    clean = Canvases(Twice(), plain(SIZE))  # type: ignore[arg-type]
    images = Shuffled(clean, 2, seed=0)
    assert not np.array_equal(images.pixels(0, 3), images.pixels(1, 3))
    assert np.array_equal(images.pixels(0, 3), Shuffled(clean, 2, 0).pixels(0, 3))
    assert not np.array_equal(images.pixels(0, 3), Shuffled(clean, 2, 1).pixels(0, 3))
    assert np.array_equal(Shuffled(clean, 0, 0).pixels(0, 3), images.pixels(0, 3)), "a quarter of 8 pixels"


def test_grey_images_are_shown_as_pictures() -> None:
    grey = Canvases(Twice(), replace(plain(SIZE), mean=(0.0,), std=(1.0,)))  # type: ignore[arg-type]
    for images in (grey, Shuffled(grey, 2, 0)):
        assert images.pixels(0, 1).shape == (SIZE, SIZE, 1)
        assert (images.photo(0).image.mode, images.photo(0).image.size) == ("RGB", (SIZE, SIZE))


def test_a_bagnet_whose_windows_are_the_tiles_does_not_notice() -> None:
    model = create(kernel3=(0, 0, 0, 0), strides=(3, 1, 1, 1), layers=(1, 1, 1, 1), width=4, num_classes=5).eval().double()
    assert (model.geometry.size, model.geometry.stride) == (3, 3)
    pixels = noise(1, 12)[0]
    moved = shuffled(pixels, 3, np.random.default_rng(0).permutation(16))
    one, other = (model(plain(12).of_pixels(picture)[None].double()) for picture in (pixels, moved))
    assert (one - other).abs().max() <= 1e-9 * one.abs().max()
    turned = shuffled(pixels, 2, np.random.default_rng(0).permutation(36))
    assert (one - model(plain(12).of_pixels(turned)[None].double())).abs().max() > 1e-3 * one.abs().max()


def test_colours_stay_and_places_do_not(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texturise, "_SHOWN", 2)
    result = Texturise(steps=40, tile=2).run(gather(models(), images), tmp_path / "out")
    measures = result.record["measures"]
    colours, places = measures["models"]
    assert measures["texture_network"] == "colours"
    assert measures["layers"] == ["conv1_1", "pool1"]
    assert measures["gram_error"]["high"] < 0.05
    assert [colours[kind]["top1"]["value"] for kind in ("clean", "texturised", "shuffled")] == [1, 1, 1]
    assert places["clean"]["top1"]["value"] == 1
    pixels = np.load(images)["val_images"]
    right = []
    for row, image in enumerate(pixels):
        moved = shuffled(image, 2, np.random.default_rng((0, row)).permutation(16)).astype(float)
        right.append((moved[:, : SIZE // 2].mean() > moved[:, SIZE // 2 :].mean()) == (row % 2 == 0))
    assert places["shuffled"]["top1"]["value"] == np.mean(right) < 1
    assert places["shuffled"]["top1_lost"]["value"] == 1 - np.mean(right)
    assert all(path.stat().st_size for path in result.figures)
    assert "colours on 100.0 [67.6, 100.0] % of the clean images" in result.sentences[0]


def test_an_interrupted_run_goes_on(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texturise, "_SHOWN", 1)
    monkeypatch.setitem(scrambled._PIXELS, "cpu", 1)  # one image at a time
    own, asked = scrambled.synthesise, [0]

    def counted(*arguments: Any) -> Tensor:
        asked[0] += 1
        if asked[0] == 4:
            raise KeyboardInterrupt
        return own(*arguments)

    monkeypatch.setattr(scrambled, "synthesise", counted)
    material = gather(models(), images)
    with pytest.raises(KeyboardInterrupt):
        find(material, tmp_path / "cut")
    assert len(kept(tmp_path / "cut/texturise/texturised")) == 3
    find(material, tmp_path / "cut")
    assert asked[0] == 4 + 5, "what was synthesised is not synthesised again"
    clean, network = Canvases(material.images, plain(SIZE)), TextureNetwork.of("colours", colour_reader())
    assert network is not None
    folder = tmp_path / "cut/texturise/texturised"
    textures(material, network, clean, 5, folder)
    assert asked[0] == 9
    with monkeypatch.context() as all_at_once:
        all_at_once.setitem(scrambled._PIXELS, "cpu", 1 << 16)
        textures(material, network, clean, 5, tmp_path / "whole")
    assert asked[0] == 10
    colours = np.abs(np.array(kept(folder)) - np.array(kept(tmp_path / "whole")))
    assert colours.max() <= 1, "up to rounding, a texture does not depend on the other images"
    textures(material, network, clean, 1, folder)
    assert asked[0] == 10 + 8, "textures of other settings are not taken for these"


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
    for own in transforms:
        model = colour_reader()
        model.transform = own
        seen = OnCanvas("it", model, (0, 1), canvas).transform(shown)
        assert seen.shape == (3, own.crop, own.crop)
        if own.resize is not None:
            assert torch.equal(seen, own(image))


def test_a_canvas_for_inputs_of_other_sizes() -> None:
    """The larger share of an image, 31/32, as finely as the other model sees it: 62 of 64 pixels."""
    fine, coarse = Preprocessing(64, 56), Preprocessing(32, 31)
    canvas = canvas_for([fine, coarse])
    assert (canvas.resize, canvas.crop) == (64, 62)
    found = []
    for own in (fine, coarse):
        model = colour_reader()
        model.transform = own
        seen = OnCanvas("it", model, (0, 1), canvas).transform
        found.append((seen.resize, seen.crop))
    assert found == [(62, 56), (31, 31)]
    free = replace(plain(8), resize=None, crop=None)
    assert canvas_for([free]).crop is None
    assert canvas_for([free, fine]).crop == 56


def test_the_size_of_the_pictures_is_said(images: Path, tmp_path: Path) -> None:
    smaller = saying(lambda x: x.mean((2, 3))[:, :2], 2, 6)
    smaller.transform = replace(plain(6), resize=SIZE)
    findings = find(gather([*models(), ("smaller", smaller)], images), tmp_path / "out")
    assert findings.measures["side"] == SIZE
    assert [one["input"] for one in findings.measures["models"]] == [8, 8, 6]
    assert findings.sentences[-1] == (
        "The pictures are 8 x 8 px; the models see of all kinds, by their own resize and crop: colours 8 x 8 px, "
        "places 8 x 8 px, smaller 6 x 6 px."
    )
    whole = find(gather(models(), images), tmp_path / "whole")
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
            find(among, tmp_path / "out", **options)
    grey = saying(lambda x: x.mean((2, 3)), 2, SIZE)
    grey.transform = replace(grey.transform, mean=(0.0,), std=(1.0,))
    with pytest.raises(ValueError, match="take 1 and 3 channels"):
        find(gather([*models(), ("grey", grey)], images), tmp_path / "out")


def test_labels_are_needed(photograph: Path, tmp_path: Path) -> None:
    folder = tmp_path / "loose"
    folder.mkdir()
    photograph.rename(folder / "one.jpg")
    with pytest.raises(BadLabels, match="loose: has no labels"):
        Texturise().run(gather(models(), folder), tmp_path / "out")
