"""Tiles of a slide's image and maps."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bagnet.geometry import Box, Pyramid
from bagnet.runs.shards import Shard
from bagnet.slides.run import slide
from bagnet.slides.scaled import UNREADABLE
from bagnet.slides.view import AROUND, SKIPPED, View, open_view

from .made import BROKEN, RED, SIZE, STRIDE, TILE, colour_model, expected_map, made_slide, pixels


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_slide(tmp_path_factory.mktemp("slide"))


@pytest.fixture
def view(folder: Path) -> Iterator[View]:
    opened = open_view(folder)
    yield opened
    opened.close()


def test_tiles_of_the_image_are_its_pixels(view: View) -> None:
    assert (view.name, view.microns_per_pixel, view.scale) == ("made.tif", 0.5, (1.0, 1.0))
    assert np.array_equal(view.pixels(0, 0, 1), pixels()[:256, 256:512])
    assert np.array_equal(view.pixels(1, 0, 1), pixels()[:512:2, 512:900:2])
    assert np.array_equal(view.pixels(2, 0, 0), pixels()[::4, ::4])
    for where in [(3, 0, 0), (0, 3, 0), (0, 0, 4), (1, 2, 0)]:
        assert view.pixels(*where) is None


def test_tiles_of_a_map_are_its_logits(view: View) -> None:
    tiles = [[view.values(0, 0, row, column) for column in range(2)] for row in range(2)]
    whole = np.block(tiles)
    assert whole.shape == view.slide.map("red").shape == (313, 443)
    computed = np.isfinite(whole)
    assert np.array_equal(whole[computed], view.slide.map("red")[computed])
    assert np.abs(whole - expected_map(0))[computed].max() < 1e-5
    for where in [(0, 2, 0, 0), (2, 0, 0, 0), (0, 0, 2, 0), (0, 1, 1, 0)]:
        assert view.values(*where) is None


def test_what_was_skipped_is_not_what_is_missing(view: View) -> None:
    whole = np.block([[view.values(1, 0, row, column) for column in range(2)] for row in range(2)])
    skipped, missing = whole == SKIPPED, np.isnan(whole)
    assert (skipped.sum(), missing.sum()) == (view.skipped_cells, view.missing_cells)
    assert view.skipped_cells > 10_000 < view.missing_cells
    assert STRIDE * np.nonzero(skipped)[1].min() >= 620, "white all over"
    rows, columns = np.nonzero(missing)
    margin = 2 * TILE  # a tile that cannot be read whole is tried again in pieces
    assert (STRIDE * rows).min() >= BROKEN[0].start - margin
    assert (STRIDE * columns).max() <= BROKEN[1].stop + margin
    sees_it = np.zeros_like(missing)
    touched = view.slide.geometry.cells_touching(Box(BROKEN[1].start, BROKEN[0].start, BROKEN[1].stop, 640), 640, 900)
    sees_it[touched.slices] = True
    assert missing[sees_it].all()


def test_a_halved_map_has_means_of_what_was_computed(view: View) -> None:
    whole = np.block([[view.values(0, 0, row, column) for column in range(2)] for row in range(2)])
    halved = view.values(0, 1, 0, 0)
    assert halved is not None
    assert halved.shape == (157, 222)
    for row in range(157):
        for column in range(0, 222, 7):
            block = whole[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            computed = block[np.isfinite(block)]
            if computed.size:
                assert halved[row, column] == pytest.approx(computed.mean(dtype=np.float64), abs=1e-6)
            elif (block == SKIPPED).all():
                assert halved[row, column] == SKIPPED
            else:
                assert np.isnan(halved[row, column])
    assert (halved == SKIPPED).any()
    assert np.isnan(halved).any()


@pytest.mark.parametrize("side", [16, 5])
def test_blocks_of_any_size_are_skipped_where_all_their_cells_are(view: View, side: int) -> None:
    whole = np.block([[view.values(0, 0, row, column) for column in range(2)] for row in range(2)])
    view.map = Pyramid(313, 443, side)
    for halvings in range(view.map.levels):
        step = 1 << halvings
        for row, column in [(0, 0), (1, 3), (3, 25), (19, 27), (0, 1)]:
            box = view.map.tile(halvings, row, column)
            if box is None:
                continue
            values = view.values(0, halvings, row, column)
            assert values is not None
            for y, x in np.ndindex(values.shape):
                part = whole[box.slices][y * step : (y + 1) * step, x * step : (x + 1) * step]
                assert (values[y, x] == SKIPPED) == bool((part == SKIPPED).all())


def test_what_a_window_sees(view: View) -> None:
    row, column = (each // STRIDE for each in RED)
    seen = view.window(row, column)
    assert seen is not None
    assert seen.shape == (SIZE, SIZE, 3)
    assert (seen == (255, 0, 0)).all()
    corner = view.window(0, 0, 10)
    assert corner is not None
    assert (corner[:10] == 255).all(), "there is nothing outside"
    assert np.array_equal(corner[10:, 10:], pixels()[:26, :26])
    for where in [(313, 0), (0, 443), (-1, 0), (0, 0, AROUND + 1)]:
        assert view.window(*where) is None
    row, column = BROKEN[0].start // STRIDE - 16, BROKEN[1].start // STRIDE
    edge = view.window(row, column, 32)
    assert edge is not None
    assert np.array_equal(edge[:64], pixels()[2 * row - 32 : 2 * row + 32, 2 * column - 32 : 2 * column + 48])
    assert (edge[64:, 32:] == UNREADABLE).all()


def test_a_smaller_level_is_seen_at_the_scale_of_the_largest(tmp_path: Path) -> None:
    view = open_view(made_slide(tmp_path, level=1))
    assert view.scale == (2.0, 2.0)
    assert view.microns_per_pixel == 0.5
    assert (view.image.height, view.image.width) == (640, 900)
    assert np.array_equal(view.window(3, 5), pixels()[::2, ::2][6 : 6 + SIZE, 10 : 10 + SIZE])
    view.close()


def test_colours_end_where_few_windows_go_on(view: View) -> None:
    largest = max(np.nanquantile(np.abs(view.slide.evidence[number]), 0.99) for number in range(2))
    assert 0.8 * largest < view.typical() <= 8.0


def test_an_image_that_is_gone_or_another_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", pixels()[:100, :100])
    slide(colour_model(), tmp_path / "image.npy", ["red"], tmp_path / "out")
    view = open_view(tmp_path / "out")
    view.close()
    status = (tmp_path / "image.npy").stat()
    os.utime(tmp_path / "image.npy", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    with pytest.raises(ValueError, match=r"out: its image, .*image\.npy, has changed since: compute it again"):
        open_view(tmp_path / "out")
    (tmp_path / "image.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"out: its image, .*image\.npy, is gone"):
        open_view(tmp_path / "out")


def test_what_is_no_whole_slide_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds nothing of a slide"):
        open_view(tmp_path)
    np.save(tmp_path / "image.npy", pixels()[:300, :100])
    shard: Shard = (1, 2)
    slide(colour_model(), tmp_path / "image.npy", ["red"], tmp_path / "out", shard=shard, tile_pixels=100 * 100)
    with pytest.raises(ValueError, match="a part of a slide: join all parts first"):
        open_view(tmp_path / "out")
