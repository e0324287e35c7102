"""Windows, cells and unseen pixels, against brute force that looks at one pixel at a time."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bagnet.geometry import Box, Geometry

Pixels = set[tuple[int, int]]


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    """Odd and even windows, closer and further apart than they are long; without padding, half padded or anything else."""
    size = draw(st.integers(1, 12))
    origin = draw(st.sampled_from([0, -((size - 1) // 2), -(size - 1) // 2]) | st.integers(1 - size, 0))
    return Geometry(size, draw(st.integers(1, 15)), origin)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Geometry, int, int]:
    """A geometry, and the height and width of an image that is large enough for it."""
    geometry = draw(geometries())
    sides = st.integers(geometry.smallest_input, geometry.smallest_input + 30)
    return geometry, draw(sides), draw(sides)


boxes = st.builds(Box, *[st.integers(-20, 50)] * 4)


def starts(geometry: Geometry, length: int) -> list[int]:
    """Where windows begin along an axis: as many as fit into the image with its padding, tried one by one."""
    positions, start = [], geometry.origin
    while start + geometry.size <= length - geometry.origin:
        positions.append(start)
        start += geometry.stride
    return positions


def pixels_of(box: Box) -> Pixels:
    return {(y, x) for y in range(box.top, box.bottom) for x in range(box.left, box.right)}


def windows(geometry: Geometry, height: int, width: int) -> dict[tuple[int, int], Box]:
    """The box that every cell sees, clipped to the image."""
    return {
        (row, column): Box(max(x, 0), max(y, 0), min(x + geometry.size, width), min(y + geometry.size, height))
        for row, y in enumerate(starts(geometry, height))
        for column, x in enumerate(starts(geometry, width))
    }


@given(scenes())
def test_grid_counts_the_windows_that_fit(scene: tuple[Geometry, int, int]) -> None:
    geometry, height, width = scene
    assert geometry.grid(height, width) == (len(starts(geometry, height)), len(starts(geometry, width)))


@given(scenes())
def test_window_lies_at_its_start_and_sticks_out_where_padded(scene: tuple[Geometry, int, int]) -> None:
    geometry, height, width = scene
    for row, y in enumerate(starts(geometry, height)):
        for column, x in enumerate(starts(geometry, width)):
            assert geometry.window(row, column) == (x, y, x + geometry.size, y + geometry.size)


@given(scenes(), boxes)
def test_cells_touching_are_exactly_those_whose_window_holds_a_pixel(scene: tuple[Geometry, int, int], box: Box) -> None:
    geometry, height, width = scene
    touched = {cell for cell, window in windows(geometry, height, width).items() if pixels_of(window) & pixels_of(box)}
    cells = geometry.cells_touching(box, height, width)
    assert pixels_of(cells) == touched
    assert cells.area == len(touched)


@given(scenes(), st.data())
def test_cells_touching_one_pixel(scene: tuple[Geometry, int, int], data: st.DataObject) -> None:
    geometry, height, width = scene
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    seen_by = {cell for cell, window in windows(geometry, height, width).items() if (y, x) in pixels_of(window)}
    assert pixels_of(geometry.cells_touching(Box(x, y, x + 1, y + 1), height, width)) == seen_by


@pytest.mark.parametrize(
    "box",
    [Box(-9, 0, 0, 40), Box(40, 0, 50, 40), Box(0, 40, 40, 41), Box(5, 5, 5, 30), Box(5, 30, 20, 30), Box(20, 5, 10, 30)],
    ids=["left of the image", "right of it", "below it", "no columns", "no rows", "turned inside out"],
)
def test_a_box_without_pixels_of_the_image_touches_no_cell(box: Box) -> None:
    assert Geometry(9, 8).cells_touching(box, 40, 40).area == 0


def test_cells_touching_literals() -> None:
    # Windows 0..8, 8..16, 16..24: pixel 8 is in two of them.
    assert Geometry(9, 8).cells_touching(Box(8, 9, 9, 16), 25, 25) == Box(0, 1, 2, 2)
    assert Geometry(33, 8).cells_touching(Box(100, 100, 132, 132), 224, 224) == Box(9, 9, 17, 17)
    # Windows further apart than they are long: 0..1, 5..6; pixels 2..4 are nobody's.
    assert Geometry(2, 5).cells_touching(Box(2, 0, 5, 7), 7, 7).area == 0


@given(scenes())
def test_unseen_is_exactly_what_no_window_sees_in_disjoint_boxes(scene: tuple[Geometry, int, int]) -> None:
    geometry, height, width = scene
    seen = set().union(*map(pixels_of, windows(geometry, height, width).values()))
    unseen = geometry.unseen(height, width)
    assert set().union(*map(pixels_of, unseen)) == pixels_of(Box(0, 0, width, height)) - seen
    assert sum(box.area for box in unseen) == width * height - len(seen)  # so no two overlap
    assert all(box.area for box in unseen)


def test_unseen_between_windows_that_lie_apart() -> None:
    # Seen are columns and rows 0, 1, 4 and 5 of 7.
    assert sorted(Geometry(2, 4).unseen(7, 6)) == [(0, 2, 2, 4), (0, 6, 2, 7), (2, 0, 4, 7), (4, 2, 6, 4), (4, 6, 6, 7)]


@given(scenes())
def test_covered_size_is_the_largest_side_that_ends_in_a_window(scene: tuple[Geometry, int, int]) -> None:
    geometry, pixels, _ = scene
    assert geometry.covered_size(pixels) == max(
        side
        for side in range(geometry.smallest_input, pixels + 1)
        if any(start <= side - 1 < start + geometry.size for start in starts(geometry, side))
    )


@given(scenes())
def test_a_covered_image_has_no_unseen_pixel(scene: tuple[Geometry, int, int]) -> None:
    geometry, pixels, _ = scene
    if geometry.stride <= geometry.size:
        side = geometry.covered_size(pixels)
        assert geometry.unseen(side, side) == []


@given(geometries(), st.integers(0, 5), st.integers(0, 5), st.integers(1, 4), st.integers(1, 4))
def test_field_is_what_a_box_of_cells_sees_together(geometry: Geometry, row: int, column: int, rows: int, columns: int) -> None:
    seen = [geometry.window(r, c) for r in range(row, row + rows) for c in range(column, column + columns)]
    assert geometry.field(Box(column, row, column + columns, row + rows)) == (
        min(box.left for box in seen),
        min(box.top for box in seen),
        max(box.right for box in seen),
        max(box.bottom for box in seen),
    )


@given(geometries(), st.integers(0, 9), st.integers(0, 9))
def test_centre_squares_tile_the_plane_in_the_middle_of_their_windows(geometry: Geometry, row: int, column: int) -> None:
    square, window = geometry.centre_square(row, column), geometry.window(row, column)
    assert (square.width, square.height) == (geometry.stride, geometry.stride)
    assert geometry.centre_square(row, column + 1) == square.shift(geometry.stride, 0)
    assert geometry.centre_square(row + 1, column) == square.shift(0, geometry.stride)
    if geometry.stride <= geometry.size:
        assert window.contains(square)
    else:
        assert square.contains(window)
    # In the middle, to the half pixel that an odd difference leaves.
    assert abs((square.left - window.left) - (window.right - square.right)) <= 1
    assert abs((square.top - window.top) - (window.bottom - square.bottom)) <= 1


@pytest.mark.parametrize(("size", "grid"), [(9, 27), (17, 26), (33, 24)])
def test_published_networks_at_224_pixels(size: int, grid: int) -> None:
    geometry = Geometry(size, 8)
    assert geometry.grid(224, 224) == (grid, grid)
    assert geometry.window(grid - 1, grid - 1)[2:] == (217, 217)  # so 216 is the last row and column that is seen
    assert geometry.unseen(224, 224) == [(217, 0, 224, 224), (0, 217, 217, 224)]
    assert sum(box.area for box in geometry.unseen(224, 224)) == 3087
    assert geometry.covered_size(224) == 217


@pytest.mark.parametrize("size", [9, 17, 33])
def test_padded_networks_at_224_pixels(size: int) -> None:
    geometry = Geometry(size, 8, -(size - 1) // 2)
    assert geometry.grid(224, 224) == (28, 28)
    assert geometry.window(0, 0) == (-(size // 2), -(size // 2), size // 2 + 1, size // 2 + 1)
    assert sum(box.area for box in geometry.unseen(224, 224)) == (224**2 - 221**2 if size == 9 else 0)


@pytest.mark.parametrize(("geometry", "smallest"), [(Geometry(33, 8), 33), (Geometry(9, 8, -2), 5), (Geometry(9, 8, -4), 1)])
def test_a_too_small_image_is_refused_with_the_smallest_size(geometry: Geometry, smallest: int) -> None:
    assert geometry.smallest_input == smallest
    assert geometry.grid(smallest, smallest) == (1, 1)
    message = f"too small for windows of {geometry.size} pixels: the smallest size is {smallest} x {smallest}"
    for height, width in ((smallest - 1, 99), (99, smallest - 1)):
        with pytest.raises(ValueError, match=re.escape(f"{height} x {width} pixels (height x width) is {message}")):
            geometry.grid(height, width)
        with pytest.raises(ValueError, match=message):
            geometry.cells_touching(Box(0, 0, 1, 1), height, width)
        with pytest.raises(ValueError, match=message):
            geometry.unseen(height, width)
    with pytest.raises(ValueError, match=message):
        geometry.covered_size(smallest - 1)


@pytest.mark.parametrize("fields", [(0, 1, 0), (-1, 1, 0), (1, 0, 0), (1, -8, 0), (9, 8, 1), (9, 8, -9)])
def test_impossible_geometries_are_refused(fields: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="size >= 1, stride >= 1 and -size < origin <= 0"):
        Geometry(*fields)


@given(st.integers(1, 30), st.integers(1, 30))
def test_overlap_is_what_neighbours_share(size: int, stride: int) -> None:
    geometry = Geometry(size, stride)
    assert geometry.overlap == geometry.window(0, 0).intersect(geometry.window(0, 1)).width
