"""The small picture of a large image."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bagnet.files import NotWritten
from bagnet.slides.overview import block_means, overview, thumbnail, write_overview
from bagnet.slides.readers import open_reader
from bagnet.slides.run import slide

from ..engine.classifiers import small_bagnet


def test_a_thumbnail_has_every_nth_pixel(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 130, 3), np.uint8)
    np.save(tmp_path / "image.npy", pixels)
    reader = open_reader(tmp_path / "image.npy")
    assert np.array_equal(thumbnail(reader, 0, 200), pixels)
    assert np.array_equal(thumbnail(reader, 0, 50), pixels[::3, ::3])


def test_blocks_are_means_of_what_is_known() -> None:
    values = np.array([[1, 3, 5], [1, np.nan, 7], [np.nan, np.nan, 9]], np.float32)
    assert np.array_equal(block_means(values, 3), values, equal_nan=True)
    assert np.allclose(block_means(values, 2), [[5 / 3, 6], [np.nan, 9]], equal_nan=True)


def test_an_overview_is_red_where_windows_speak_for_the_class_and_untouched_where_nothing_is_known(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", np.full((200, 300, 3), 128, np.uint8))
    result = slide(small_bagnet(), tmp_path / "image.npy", [0], tmp_path / "out")
    values = np.full((1, *result.evidence.shape[1:]), np.nan, np.float32)
    values[0, :, : values.shape[2] // 2] = 2.0
    object.__setattr__(result, "evidence", values)
    reader = open_reader(tmp_path / "image.npy")
    picture = np.asarray(overview(result, reader, 0, scale=2.0)).astype(int)
    assert picture.shape == (200, 300, 3)
    assert (picture[:, :100, 0] > picture[:, :100, 2]).all()
    assert (picture[:, 200:] == 128).all()


def test_a_full_disk_leaves_no_half_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "image.npy", np.full((200, 300, 3), 128, np.uint8))
    result, reader = slide(small_bagnet(), tmp_path / "image.npy", [0], tmp_path / "out"), open_reader(tmp_path / "image.npy")
    write_overview(result, reader, 0, tmp_path / "0.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "0.png")), np.asarray(overview(result, reader, 0)))

    def full(self: Image.Image, path: Path, kind: str) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(NotWritten, match=r"1\.png: cannot be written \(No space left on device\)"):
        write_overview(result, reader, 0, tmp_path / "1.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.png", "image.npy", "out"]
