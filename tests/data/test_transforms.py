"""Preprocessing against torchvision's Resize, CenterCrop, ToTensor and Normalize, bit for bit."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms as published
from torchvision.transforms.functional import InterpolationMode

from bagnet.data import transforms
from bagnet.data.decode import BadImage, decode
from bagnet.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

MODES = {
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
    "lanczos": InterpolationMode.LANCZOS,
}


def torchvisions(step: Preprocessing) -> published.Compose:
    steps: list[torch.nn.Module] = []
    if step.resize is not None:
        steps.append(published.Resize(step.resize, interpolation=MODES[step.interpolation], antialias=True))
    if step.crop is not None:
        steps.append(published.CenterCrop(step.crop))
    steps += [published.ToTensor(), published.Normalize(step.mean, step.std)]
    return published.Compose(steps)


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def assert_same(step: Preprocessing, image: Image.Image) -> None:
    x, expected = step(image), torchvisions(step)(image)
    assert x.dtype == torch.float32
    assert torch.equal(x, expected)
    assert step.placement(image.size).input_size == x.shape[1:]


@pytest.mark.parametrize("name", list(MODES))
@pytest.mark.parametrize(
    "size",
    [(224, 224), (256, 256), (257, 300), (300, 257), (640, 427), (100, 90), (223, 500), (1, 1), (1, 7), (9, 2), (333, 999)],
    ids=str,
)
def test_the_papers_steps_are_torchvisions(size: tuple[int, int], name: str) -> None:
    assert_same(Preprocessing(interpolation=name), picture(*size))


@settings(max_examples=100)
@given(
    st.integers(1, 80),
    st.integers(1, 80),
    st.builds(Preprocessing, st.none() | st.integers(1, 80), st.none() | st.integers(1, 80), st.sampled_from(list(MODES))),
)
def test_any_size_and_crop_is_torchvisions(width: int, height: int, step: Preprocessing) -> None:
    assert_same(step, picture(width, height, width))


def test_every_crop_offset_is_torchvisions() -> None:
    for pixels, crop in product(range(1, 14), repeat=2):  # odd and even margins, where rounding could differ
        assert_same(Preprocessing(None, crop), picture(pixels, 14 - pixels))


def test_grey_is_torchvisions() -> None:
    step = Preprocessing(20, 16, mean=(0.5,), std=(0.25,))
    image = picture(40, 30)
    assert torch.equal(step(image), torchvisions(step)(image.convert("L")))
    assert torch.equal(step(image.convert("L")), step(image))
    assert step(image).shape == (1, 16, 16)


def test_known_values() -> None:
    red = Preprocessing()(Image.new("RGB", (300, 260), (255, 0, 51)))
    assert red.shape == (3, 224, 224)
    expected = [(1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (0.2 - 0.406) / 0.225]
    assert torch.allclose(red, torch.tensor(expected)[:, None, None].expand_as(red), rtol=0, atol=1e-6)


def test_a_smaller_image_is_padded_with_black() -> None:
    plain = Preprocessing(None, 5, mean=(0, 0, 0), std=(1, 1, 1))
    white = plain(Image.new("RGB", (2, 4), "white"))[0]
    assert white.tolist() == [[0, 1, 1, 0, 0]] * 4 + [[0] * 5]  # the odd pixel of padding is at the end


@pytest.mark.parametrize(
    ("mode", "colour"),
    [
        ("1", 1),
        ("L", 40),
        ("LA", (40, 90)),
        ("P", 7),
        ("PA", (7, 90)),
        ("RGBA", (40, 50, 60, 70)),
        ("CMYK", (40, 50, 60, 70)),
        ("YCbCr", (40, 50, 60)),
        ("HSV", (40, 50, 60)),
        ("LAB", (40, 50, 60)),
        ("I;16", 30000),
        ("I", 30000),
        ("F", 0.25),
    ],
)
def test_other_modes_become_rgb_as_they_do_in_a_file(mode: str, colour: float | tuple[int, ...]) -> None:
    image = Image.new(mode, (6, 5), colour)
    before = image.tobytes()
    step = Preprocessing(4, 4)
    assert torch.equal(step(image), step(decode(image).image))
    assert (image.mode, image.tobytes()) == (mode, before)


def test_sixteen_bits_are_not_clipped() -> None:
    image = Image.fromarray(np.full((4, 4), 0x8000, np.uint16))
    assert torch.all(Preprocessing(4, 4, mean=(0,), std=(1,))(image) == 128 / 255)


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]))
def test_picture_inverts(width: int, height: int, channels: int) -> None:
    step = Preprocessing(None, None, mean=IMAGENET_MEAN[:channels], std=IMAGENET_STD[:channels])
    image = picture(width, height)
    expected = image if channels == 3 else image.convert("L").convert("RGB")
    assert np.array_equal(step.picture(step(image)), expected)


def test_picture_shows_what_a_picture_can() -> None:
    step = Preprocessing(mean=(0.0,) * 5, std=(1.0,) * 5)
    shown = step.picture(torch.tensor([0, 0.2, 0.4, 0.6, 0.8])[:, None, None].expand(5, 2, 3))
    assert (shown.mode, shown.size, shown.getpixel((2, 1))) == ("RGB", (3, 2), (102, 102, 102))
    bright = Preprocessing(mean=(0, 0, 0), std=(1, 1, 1)).picture(torch.tensor([7.0, -3.0, 0.5])[:, None, None])
    assert bright.getpixel((0, 0)) == (255, 0, 128)


def test_a_picture_has_not_five_channels() -> None:
    with pytest.raises(ValueError, match=r"a picture has no 5 channels: prepare an array of them with `of_pixels`"):
        Preprocessing(mean=(0,) * 5, std=(1,) * 5)(picture(300, 300))


@settings(max_examples=60)
@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.sampled_from([1, 3]),
    st.builds(Preprocessing, st.none() | st.integers(1, 60), st.none() | st.integers(1, 60), st.sampled_from(list(MODES))),
)
def test_pixels_are_prepared_as_pictures_are(width: int, height: int, channels: int, step: Preprocessing) -> None:
    step = replace(step, mean=step.mean[:channels], std=step.std[:channels])
    image = picture(width, height)
    pixels = np.array(image if channels == 3 else image.convert("L")).reshape(height, width, channels)
    before = pixels.copy()
    assert torch.equal(step.of_pixels(pixels), step(image))
    assert torch.equal(step.of_pixels(pixels[:, ::-1]), step(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))  # a view
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_each_of_many_channels_is_prepared_as_a_grey_picture(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 31, channels), np.uint8)
    mean, std = np.linspace(0.1, 0.9, channels), np.linspace(0.2, 0.6, channels)
    step = Preprocessing(12, 10, "bicubic", tuple(mean), tuple(std))
    x = step.of_pixels(pixels)
    assert (x.shape, x.dtype) == ((channels, 10, 10), torch.float32)
    for channel in range(channels):
        grey = replace(step, mean=(mean[channel],), std=(std[channel],))
        assert torch.equal(x[channel], grey(Image.fromarray(pixels[..., channel]))[0])


def test_pixels_of_other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="an image of 5 channels, where 3 are expected"):
        Preprocessing().of_pixels(np.zeros((4, 4, 5), np.uint8))
    with pytest.raises(ValueError, match="an image of 3 channels, where 5 are expected"):
        Preprocessing(mean=(0,) * 5, std=(1,) * 5).of_pixels(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(BadImage, match="an image of 1 x 60000 pixels would be resized to 256 x 15360000"):
        Preprocessing(mean=(0,) * 5, std=(1,) * 5).of_pixels(np.zeros((60000, 1, 5), np.uint8))


def test_the_default_type_of_torch_does_not_matter() -> None:
    image, step = picture(40, 30), Preprocessing(20, 16)
    expected = step(image)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(step(image), expected)
        assert step(image).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


def test_normalise_takes_batches() -> None:
    pixels = torch.arange(2 * 3 * 4 * 5, dtype=torch.uint8).reshape(2, 3, 4, 5)
    step = Preprocessing()
    assert torch.equal(step.normalise(pixels)[1], step.normalise(pixels[1]))
    assert step.normalise(pixels)[1, 2, 3, 4].item() == pytest.approx((119 / 255 - 0.406) / 0.225, abs=1e-6)


def test_with_channels() -> None:
    plain = Preprocessing(mean=(0.1, 0.2, 0.6), std=(0.2, 0.3, 0.4))
    assert plain.with_channels(3) == plain
    assert plain.with_channels(2).mean == pytest.approx((0.3, 0.3))
    assert plain.with_channels(1).std == pytest.approx((0.3,))


def test_with_crop_keeps_the_proportions() -> None:
    assert Preprocessing().with_crop(448) == Preprocessing(512, 448)
    assert Preprocessing().with_crop(224) == Preprocessing()
    assert Preprocessing().with_crop(217) == Preprocessing(248, 217)
    assert Preprocessing(64, 64).with_crop(100) == Preprocessing(100, 100)
    assert Preprocessing(None, 224).with_crop(100) == Preprocessing(None, 100)
    assert Preprocessing(256, None).with_crop(100) == Preprocessing(256, 100)
    assert Preprocessing(10, 224).with_crop(4) == Preprocessing(1, 4)  # never to nothing
    assert Preprocessing(256, 224, "bicubic", (0,), (1,)).with_crop(7) == Preprocessing(8, 7, "bicubic", (0,), (1,))


@given(st.integers(1, 500), st.integers(0, 200), st.integers(1, 500))
def test_with_crop_never_pads_where_nothing_was_padded(crop: int, margin: int, wanted: int) -> None:
    step = Preprocessing(crop + margin, crop).with_crop(wanted)
    assert step.resize is not None
    assert step.resize >= wanted == step.crop


@pytest.mark.parametrize("crop", [0, -3, 2.5, True])
def test_with_crop_refuses_what_is_no_size(crop: int) -> None:
    with pytest.raises(ValueError, match="must be a whole number of pixels >= 1"):
        Preprocessing().with_crop(crop)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"resize": 0}, "resize must be a whole number of pixels >= 1, or nothing, got 0"),
        ({"crop": -1}, "crop must be a whole number of pixels >= 1, or nothing, got -1"),
        ({"resize": 25.5}, "resize must be a whole number"),
        ({"crop": True}, "crop must be a whole number"),
        ({"crop": "224"}, "crop must be a whole number of pixels >= 1, or nothing, got '224'"),
        ({"interpolation": "nearest"}, "interpolation must be one of bilinear, bicubic, lanczos, got 'nearest'"),
        ({"mean": ()}, "mean and std"),
        ({"mean": (0.5,)}, "mean and std"),
        ({"mean": 0.5}, "mean and std"),
        ({"mean": ("a", "b", "c")}, "mean and std"),
        ({"mean": (0, 0, float("nan"))}, "mean and std"),
        ({"std": (1, 1, 0)}, "mean and std"),
        ({"std": (1, 1, -1)}, "mean and std"),
        ({"std": (1, 1, float("nan"))}, "mean and std"),
        ({"std": (1, 1, float("inf"))}, "mean and std"),
        ({"mean": None}, "mean and std"),
    ],
    ids=str,
)
def test_bad_fields_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Preprocessing(**fields)  # type: ignore[arg-type]


def test_fields_survive_json() -> None:
    step = Preprocessing(np.int64(100), None, "lanczos", [0, 1, 2], np.ones(3))  # type: ignore[arg-type]
    assert step.to_dict() == {
        "resize": 100,
        "crop": None,
        "interpolation": "lanczos",
        "mean": [0, 1, 2],
        "std": [1, 1, 1],
    }
    again = Preprocessing(**json.loads(json.dumps(step.to_dict())))
    assert again == step
    assert hash(again) == hash(step)


def test_an_image_too_long_to_be_resized_is_refused_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    message = "an image of 1 x 60000 pixels would be resized to 256 x 15360000 .*squarer shape or choose a smaller size"
    with pytest.raises(BadImage, match=message):
        Preprocessing()(Image.new("RGB", (1, 60000)))
    with pytest.raises(BadImage, match="cropped to 20000 x 20000, more than"):
        Preprocessing(None, 20000)(Image.new("RGB", (5, 5)))
    monkeypatch.setattr(transforms, "LARGEST", 100)
    assert Preprocessing(None, 10)(picture(10, 10)).shape == (3, 10, 10)
    with pytest.raises(BadImage, match="more than 100 pixels"):
        Preprocessing(None, 11)(picture(10, 10))


def test_the_given_image_stays_as_it_is() -> None:
    image = picture(30, 20)
    before = image.tobytes()
    x = Preprocessing(None, None)(image)
    x.zero_()
    assert image.tobytes() == before


def test_the_whole_image_at_a_size() -> None:
    """A landscape photograph keeps its sides."""
    whole = Preprocessing(256, 224, "bicubic").whole(300)
    assert whole == Preprocessing(300, None, "bicubic")
    assert whole.placement((4000, 3000)).input_size == (300, 400)
    with pytest.raises(ValueError, match="resize must be a whole number of pixels"):
        whole.whole(0)


def test_tiles_are_prepared_one_by_one() -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (3, 20, 30, 3), np.uint8)
    preprocessing = Preprocessing(None, None)
    assert torch.equal(preprocessing.of_pixels(tiles), torch.stack([preprocessing.of_pixels(tile) for tile in tiles]))
    assert preprocessing.of_pixels(tiles).shape == (3, 3, 20, 30)
