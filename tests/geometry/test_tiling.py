"""Tiles hold the windows of their cells, cover what they are to cover, and come in few shapes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bagnet.geometry import (
    Box,
    Geometry,
    Tile,
    all_over,
    batches_of,
    cells_within,
    covering_tiles,
    squares,
    tile_of,
    tile_touching,
    tiles_of,
    touched_cells,
)

GEOMETRIES = [Geometry(9, 8), Geometry(17, 4), Geometry(9, 8, -4), Geometry(17, 4, -8), Geometry(25, 8, -12), Geometry(4, 7)]
HEIGHT, WIDTH = 58, 71


def assert_exact(geometry: Geometry, tile: Tile) -> None:
    """Its crop lies in the image, holds the windows of its cells, and has them where it says."""
    assert Box(0, 0, WIDTH, HEIGHT).contains(tile.crop)
    assert tile.crop.contains(geometry.field(tile.cells).intersect(Box(0, 0, WIDTH, HEIGHT)))
    assert (tile.inside.left * geometry.stride + tile.crop.left, tile.inside.top * geometry.stride + tile.crop.top) == (
        tile.cells.left * geometry.stride,
        tile.cells.top * geometry.stride,
    )
    rows, columns = geometry.grid(tile.crop.height, tile.crop.width)
    assert Box(0, 0, columns, rows).contains(tile.inside)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_tiles_that_a_box_touches_have_one_shape(geometry: Geometry) -> None:
    shapes = set()
    for left, top in np.ndindex(WIDTH - 4, HEIGHT - 4):
        box = Box(left, top, left + 5, top + 5)
        tile = tile_touching(geometry, box, HEIGHT, WIDTH)
        if tile is None:
            assert not geometry.cells_touching(box, HEIGHT, WIDTH).area
            continue
        assert tile.cells == geometry.cells_touching(box, HEIGHT, WIDTH)
        assert_exact(geometry, tile)
        shapes.add((tile.crop.height, tile.crop.width))
    assert len(shapes) == 1


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("most", [1, 7, 10_000])
def test_all_tiles_complete_the_grid(geometry: Geometry, most: int) -> None:
    counts = np.zeros(geometry.grid(HEIGHT, WIDTH), int)
    shapes = set()
    for tile in tiles_of(geometry, HEIGHT, WIDTH, most):
        assert_exact(geometry, tile)
        assert tile.cells.area <= most
        counts[tile.cells.slices] += 1
        shapes.add((tile.cells.height, tile.cells.width))
    assert counts.min() >= 1
    assert len(shapes) == 1


def test_a_tile_without_room_is_no_larger_than_its_windows() -> None:
    assert tile_of(Geometry(9, 8), Box(2, 1, 4, 2), 100, 100).crop == Box(16, 8, 33, 17)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@given(boxes=st.lists(st.tuples(st.integers(0, 70), st.integers(0, 57), st.integers(1, 9), st.integers(1, 9)), max_size=4))
def test_touched_cells_are_those_whose_windows_hold_a_changed_pixel(
    geometry: Geometry, boxes: list[tuple[int, int, int, int]]
) -> None:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    for left, top, width, height in boxes:
        mask[top : top + height, left : left + width] = True
    touched = touched_cells(geometry, mask)
    image = Box(0, 0, WIDTH, HEIGHT)
    for row, column in np.ndindex(touched.shape):
        assert touched[row, column] == mask[geometry.window(row, column).intersect(image).slices].any()


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 1.0])
def test_covering_tiles_hold_all_touched_cells_and_cost_no_more_than_the_image(geometry: Geometry, share: float) -> None:
    touched = np.random.default_rng(0).random(geometry.grid(HEIGHT, WIDTH)) < share
    tiles = covering_tiles(geometry, touched, HEIGHT, WIDTH)
    held = np.zeros_like(touched)
    for tile in tiles:
        assert_exact(geometry, tile)
        held[tile.cells.slices] = True
    assert (held | ~touched).all()
    assert sum(tile.crop.area for tile in tiles) <= HEIGHT * WIDTH
    assert bool(tiles) == bool(touched.any())


def test_batches_are_of_one_shape_and_of_few_sizes() -> None:
    def sizes(count: int, side: int) -> list[int]:
        tile = Tile(Box(0, 0, 1, 1), Box(0, 0, side, side), Box(0, 0, 1, 1))
        return [len(batch) for batch in batches_of([tile] * count)]

    assert sizes(86, 50) == [64, 16, 4, 1, 1]
    assert sizes(9, 200) == [4, 4, 1]
    assert sizes(2, 4000) == [1, 1]
    narrow, wide = (Tile(Box(0, 0, 1, 1), Box(0, 0, side, 9), Box(0, 0, 1, 1)) for side in (9, 10))
    assert list(batches_of([narrow, wide, narrow, wide, wide])) == [[0], [2], [1], [3], [4]]


def test_squares_are_cut_off_at_the_right_and_at_the_bottom() -> None:
    assert squares(4, 6, 8) == [Box(0, 0, 4, 4), Box(4, 0, 8, 4), Box(0, 4, 4, 6), Box(4, 4, 8, 6)]


def test_cells_of_a_crop_of_some_pixels() -> None:
    """Of 100 x 100 pixels: windows of 20 px every 8 begin at 0 to 80; of 19 x 19 there is none, and yet one is needed."""
    assert cells_within(Geometry(20, 8), 100**2) == 11**2
    assert cells_within(Geometry(20, 8), 19**2) == 1
    for geometry in (Geometry(33, 8), Geometry(25, 4), Geometry(17, 1)):
        side = math.isqrt(cells_within(geometry, 10_000))
        assert (side - 1) * geometry.stride + geometry.size <= 100 < side * geometry.stride + geometry.size


def test_any_beginning_is_from_all_over() -> None:
    numbers = all_over(100)
    assert sorted(numbers) == list(range(100))
    assert {number // 20 for number in numbers[:8]} == {0, 1, 2, 3, 4}
