"""Parts of a large image at a smaller size, from the level that fits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bagnet.data.decode import BadImage
from bagnet.geometry import Box
from bagnet.progress import Progress
from bagnet.slides import scaled as module
from bagnet.slides.readers import Level, open_reader
from bagnet.slides.scaled import UNREADABLE, WithOverview, scaled

from .made import BROKEN, HEIGHT, WIDTH, pixels, pyramid


class Watched:
    """Levels in memory, and what was read of them; what lies in a hole cannot be."""

    microns_per_pixel = georeference = None

    def __init__(self, *levels: NDArray[np.uint8], hole: Box | None = None) -> None:
        self._arrays, self._hole = levels, hole
        self.levels = [Level(*array.shape[:2], levels[0].shape[1] / array.shape[1]) for array in levels]
        self.reads: list[tuple[int, Box]] = []

    def read(self, level: int, box: Box) -> NDArray[np.uint8]:
        self.reads.append((level, box))
        if self._hole is not None and box.intersect(self._hole).area:
            raise BadImage("a hole")
        return self._arrays[level][box.slices]

    def close(self) -> None:
        pass


def means(image: NDArray[np.uint8], step: int) -> NDArray[np.float64]:
    height, width = image.shape[0] // step, image.shape[1] // step
    return image[: height * step, : width * step].reshape(height, step, width, step, 3).mean((1, 3))


def test_pixels_are_those_of_the_level_that_has_as_many(tmp_path: Path) -> None:
    reader = open_reader(pyramid(tmp_path))
    image = pixels()
    assert np.array_equal(scaled(reader, Box(256, 128, 512, 384), 256, 256), image[128:384, 256:512])
    assert np.array_equal(scaled(reader, Box(512, 0, 900, 512), 256, 194), image[:512:2, 512:900:2])
    assert np.array_equal(scaled(reader, Box(0, 0, WIDTH, HEIGHT), 160, 225), image[::4, ::4])


def test_where_no_level_has_as_many_they_are_means() -> None:
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    reader = Watched(image, image[::2, ::2])
    assert np.abs(scaled(reader, Box(0, 0, 128, 96), 24, 32) - means(image[::2, ::2], 2)).max() <= 1
    assert {level for level, _ in reader.reads} == {1}
    assert np.abs(scaled(Watched(image), Box(64, 32, 128, 96), 16, 16) - means(image[32:, 64:], 4)).max() <= 1


def test_a_strip_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    whole = scaled(Watched(image), Box(0, 0, 128, 96), 24, 32)
    monkeypatch.setattr(module, "_STRIP", 128 * 9)
    reader = Watched(image)
    assert np.array_equal(scaled(reader, Box(0, 0, 128, 96), 24, 32), whole)
    assert len(reader.reads) == 12
    assert max(box.area for _, box in reader.reads) <= 128 * 9


def test_what_cannot_be_read_is_grey_and_the_rest_is_there(tmp_path: Path) -> None:
    reader = open_reader(pyramid(tmp_path))
    seen, expected = scaled(reader, Box(0, 384, 384, 640), 256, 384), pixels()[384:640, :384].copy()
    expected[BROKEN[0].start - 384 : BROKEN[0].stop - 384, BROKEN[1]] = UNREADABLE
    assert np.array_equal(seen, expected)


def test_an_image_without_small_levels_has_one_in_memory() -> None:
    image = np.random.default_rng(0).integers(0, 256, (400, 600, 3), np.uint8)
    reader = Watched(image)
    heard: list[Progress] = []
    more = WithOverview(reader, 100, heard.append)
    assert (heard[-1].done, heard[-1].total) == (50, 50)
    assert [(level.height, level.width) for level in more.levels] == [(400, 600), (50, 75)]
    reader.reads.clear()
    assert np.abs(scaled(more, Box(0, 0, 600, 400), 50, 75) - means(image, 8)).max() <= 1
    assert reader.reads == []
    assert np.array_equal(scaled(more, Box(0, 0, 100, 100), 100, 100), image[:100, :100])
    for levels in ([image, image[::6, ::6]], [image[:60, :100]]):
        assert len(WithOverview(Watched(*levels), side=100).levels) == len(levels), "there is a small one"
