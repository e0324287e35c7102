"""Pixels are those of the pictures, kept or read again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.transforms.v2.functional import resize

from bagnet.data import pixels as pixels_of
from bagnet.data.decode import BadImage
from bagnet.data.pixels import Pixels

from .arrays import files, flat


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_those_of_the_pictures(tmp_path: Path, channels: int) -> None:
    images = files(tmp_path, [(5, 4)] * 3)
    kept, read = Pixels(images, channels), Pixels(images, channels, keep=0)
    assert kept.kept is not None
    assert kept.kept.shape == (3, channels, 4, 5)
    assert read.kept is None
    assert len(kept) == len(read) == 3
    for row in range(3):
        expected = torch.from_numpy(images.pixels(row, channels)).permute(2, 0, 1)
        assert torch.equal(kept[row], expected)
        assert torch.equal(read[row], expected)
    (tmp_path / "1.png").unlink()
    assert kept[1].shape == (channels, 4, 5)
    with pytest.raises(BadImage, match=r"1\.png: there is no such file"):
        read[1]


def test_pixels_are_kept_where_they_fit() -> None:
    images = flat(3, (2, 5), channels=5)  # 150 bytes
    kept = Pixels(images, 5, keep=150)
    assert kept.kept is not None
    assert kept[2].tolist() == [[[20] * 5] * 2] * 5
    assert Pixels(images, 5, keep=149).kept is None


def test_pixels_of_several_sizes_are_read_each_time(tmp_path: Path) -> None:
    sizes = [(5, 4), (6, 4), (3, 8)]
    pixels = Pixels(files(tmp_path, sizes), 3)
    assert pixels.kept is None
    assert [tuple(pixels[row].shape) for row in range(3)] == [(3, height, width) for width, height in sizes]


def test_the_shorter_side_is_resized(tmp_path: Path) -> None:
    images = files(tmp_path, [(12, 8), (8, 12), (6, 6), (3, 5)])
    plain, pixels = Pixels(images, 3), Pixels(images, 3, shorter=6)
    assert [tuple(pixels[row].shape) for row in range(4)] == [(3, 6, 9), (3, 9, 6), (3, 6, 6), (3, 10, 6)]
    assert torch.equal(pixels[2], plain[2])
    assert torch.equal(pixels[0], resize(plain[0], [6], antialias=True))
    alike = Pixels(flat(3, (8, 12), channels=5), 5, shorter=4)
    assert alike.kept is not None
    assert torch.equal(alike.kept, torch.tensor([0, 10, 20], dtype=torch.uint8)[:, None, None, None].expand(3, 5, 4, 6))


def test_an_image_too_long_to_be_resized_is_refused_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels_of, "LARGEST", 128)
    assert Pixels(flat(1, (2, 4)), 1, shorter=8)[0].shape == (1, 8, 16)
    pixels = Pixels(flat(1, (2, 5)), 1, shorter=8)
    with pytest.raises(BadImage, match="flat:0: 5 x 2 pixels would be more than 128 with a shorter side of 8"):
        pixels[0]
    assert Pixels(flat(1, (2, 500)), 1)[0].shape == (1, 2, 500)


@pytest.mark.parametrize("keep", [0, 1 << 20])
def test_unreadable_images_are_listed(tmp_path: Path, keep: int) -> None:
    images = files(tmp_path, [(5, 4)] * 4)
    (tmp_path / "0.png").write_bytes(b"no image")
    (tmp_path / "2.png").unlink()
    pixels = Pixels(images, 3, keep=keep)
    for row, reason in ((0, r"0\.png: not an image of a known kind"), (2, r"2\.png: there is no such file")):
        with pytest.raises(BadImage, match=reason):
            pixels[row]
    assert torch.equal(pixels[3], torch.from_numpy(images.pixels(3, 3)).permute(2, 0, 1))
    if keep:  # else reading ended with the first that shows how large they are
        assert list(pixels.unreadable) == [0, 2]
        assert str(tmp_path / "2.png") in pixels.unreadable[2]


def test_a_picture_has_not_five_channels(tmp_path: Path) -> None:
    pixels = Pixels(files(tmp_path, [(5, 4)] * 2), 5)
    assert len(pixels.unreadable) == 2
    assert "a picture has no 5 channels" in pixels.unreadable[0]
