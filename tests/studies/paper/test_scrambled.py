"""A shuffle keeps the pixels; textures are kept as they are made, each the same whatever the others are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bagnet.studies.paper.scrambled import Canvases, Shuffled, shuffled, textures
from bagnet.studies.paper.subjects import Material, gather
from bagnet.studies.paper.texture_synthesis import TextureNetwork
from bagnet.zoo.load import create

from .material import colour_reader, images_of, noise, plain

SIZE = 8


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

    def pixels(self, row: int, channels: int, grey: Any = None) -> Any:
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
    still, shifted = (model(plain(12).of_pixels(picture)[None].double()) for picture in (pixels, moved))
    assert (still - shifted).abs().max() <= 1e-9 * still.abs().max()
    turned = shuffled(pixels, 2, np.random.default_rng(0).permutation(36))
    assert (still - model(plain(12).of_pixels(turned)[None].double())).abs().max() > 1e-3 * still.abs().max()


class Counting:
    """Evaluations of a network that makes textures, of which the last of so many is interrupted."""

    def __init__(self, most: int) -> None:
        self.most, self.count = most, 0

    def __call__(self, *_: object) -> None:
        self.count += 1
        if self.count == self.most:
            raise KeyboardInterrupt


def test_an_interrupted_synthesis_goes_on(tmp_path: Path) -> None:
    steps = 2
    each = steps + 4  # evaluations of the network for an image: of the image, of the noise, of each step, twice of the result
    data = images_of(tmp_path / "data.npz", noise(5, SIZE), [0, 1, 0, 1, 0])
    material = gather([("colours", colour_reader(SIZE))], data, batch_size=1)
    clean = Canvases(material.images, plain(SIZE))

    def made(material: Material, out: Path, counting: Counting, steps: int = steps) -> None:
        model = colour_reader(SIZE)
        model.network[1].register_forward_pre_hook(counting)
        network = TextureNetwork.of("colours", model)
        assert network is not None
        textures(material, network, clean, steps, out)

    with pytest.raises(KeyboardInterrupt):
        made(material, tmp_path / "cut", Counting(3 * each + 1))
    assert len(kept(tmp_path / "cut")) == 3
    made(material, tmp_path / "cut", rest := Counting(0))
    assert rest.count == 2 * each, "what was synthesised is not synthesised again"
    made(material, tmp_path / "cut", again := Counting(0))
    assert again.count == 0
    made(replace(material, batch_size=8), tmp_path / "whole", Counting(0))
    colours = np.abs(np.array(kept(tmp_path / "cut")) - np.array(kept(tmp_path / "whole")))
    assert colours.max() <= 1, "up to rounding, a texture does not depend on the other images"
    made(material, tmp_path / "cut", longer := Counting(0), steps=1)
    assert longer.count == 5 * (each - 1), "textures of other settings are not taken for these"


def kept(folder: Path) -> list[Any]:
    return [np.asarray(Image.open(path)).astype(int) for path in sorted(folder.glob("*.png"))]
