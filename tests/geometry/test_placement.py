"""Where prepared pixels come from: boxes through EXIF rotation, antialiased resize and crop, against Pillow itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from bagnet.data.transforms import Preprocessing
from bagnet.geometry import Axis, Box, Placement, Span

FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

sides = st.integers(1, 60)
steps = st.builds(
    Preprocessing,
    resize=st.none() | st.integers(1, 60),
    crop=st.none() | st.integers(1, 60),
    interpolation=st.sampled_from(list(FILTERS)),
)


@st.composite
def boxes_in(draw: st.DrawFn, height: int, width: int, beyond: int = 0) -> Box:
    """A non-empty box inside an image of that size, or sticking out of it by at most `beyond` pixels."""
    left, top = draw(st.integers(-beyond, width - 1)), draw(st.integers(-beyond, height - 1))
    return Box(left, top, draw(st.integers(left + 1, max(left + 1, width + beyond))), draw(st.integers(top + 1, height + beyond)))


def noise(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def prepared(values: np.ndarray, step: Preprocessing) -> np.ndarray:
    return step(Image.fromarray(values)).numpy()


@settings(max_examples=150)
@given(st.data(), sides, sides, steps, st.integers(0, 9))
def test_pixels_outside_the_influence_box_change_nothing_inside(
    data: st.DataObject, height: int, width: int, step: Preprocessing, seed: int
) -> None:
    placement = step.placement((width, height))
    box = data.draw(boxes_in(*placement.input_size))
    influence = placement.influence_box(box)
    assert Box(0, 0, width, height).contains(influence)
    before = noise(height, width, seed)
    # The strongest changes there are: inverted, black and white, all of them outside the box.
    for after in (255 - before, np.zeros_like(before), np.full_like(before, 255), noise(height, width, seed + 10)):
        after[influence.slices] = before[influence.slices]
        inside = (slice(None), *box.slices)
        np.testing.assert_array_equal(prepared(after, step)[inside], prepared(before, step)[inside])


@settings(max_examples=150)
@given(st.data(), sides, sides, steps, st.integers(0, 9))
def test_pixels_that_an_edit_changes_lie_in_the_influenced_box(
    data: st.DataObject, height: int, width: int, step: Preprocessing, seed: int
) -> None:
    placement = step.placement((width, height))
    box = data.draw(boxes_in(height, width, beyond=3))
    influenced = placement.influenced_box(box)
    before = noise(height, width, seed)
    after = before.copy()
    rows, columns = box.intersect(Box(0, 0, width, height)).slices
    after[rows, columns] = 255 * (before[rows, columns] < 128)
    changed = (prepared(after, step) != prepared(before, step)).any(0)
    changed[influenced.slices] = False
    assert not changed.any()


def weights(source: int, resized: int, filter_name: str) -> np.ndarray:
    """(resized, source): what each source pixel weighs in each resized one, asked of Pillow in floating point."""
    unit = Image.fromarray(np.eye(source, dtype=np.float32))
    return np.asarray(unit.resize((resized, source), FILTERS[filter_name])).T


def run(used: np.ndarray) -> tuple[int, int]:
    """First and one past the last true entry."""
    (places,) = np.nonzero(used)
    return int(places[0]), int(places[-1]) + 1


@settings(max_examples=60)
@given(st.integers(1, 120), st.integers(1, 60), st.sampled_from(list(FILTERS)))
def test_the_bounds_are_tight_to_the_filter_taps(source: int, resized: int, name: str) -> None:
    placement = Preprocessing(resized, None, name).placement((source, source))
    support = weights(source, resized, name) != 0
    # One pixel of margin and one of rounding. Weights vanish at the ends of the filter, and when enlarging by an odd factor at
    # every other source pixel too.
    slack = 3 if source > resized else 1 + {"bilinear": 1, "bicubic": 2, "lanczos": 3}[name]
    for pixel in range(resized):
        left, _, right, _ = placement.influence_box(Box(pixel, 0, pixel + 1, 1))
        first, stop = run(support[pixel])
        assert first - slack <= left <= first < stop <= right <= stop + slack
    if source <= resized:
        return
    for pixel in range(source):
        if support[:, pixel].any():
            left, _, right, _ = placement.influenced_box(Box(pixel, 0, pixel + 1, 1))
            first, stop = run(support[:, pixel])
            assert first - slack <= left <= first < stop <= right <= stop + slack


@given(st.integers(1, 60), st.integers(1, 60))
def test_where_nothing_is_resized_boxes_are_exact(height: int, width: int) -> None:
    placement = Placement.identity(height, width)
    assert (placement.image_size, placement.input_size) == ((width, height), (height, width))
    box = Box(width // 3, height // 2, width // 3 + 1, height)
    for answer in (placement.display_box, placement.influence_box, placement.influenced_box):
        assert answer(box) == box


def test_crop_alone_shifts_boxes() -> None:
    placement = Preprocessing(None, 10).placement((30, 20))
    assert placement.input_size == (10, 10)
    assert placement.display_box(Box(0, 0, 10, 10)) == (10, 5, 20, 15)
    assert placement.influence_box(Box(2, 3, 4, 5)) == (12, 8, 14, 10)
    assert placement.influenced_box(Box(12, 8, 14, 10)) == (2, 3, 4, 5)
    assert placement.influenced_box(Box(0, 0, 30, 20)) == (0, 0, 10, 10)
    assert placement.influenced_box(Box(20, 0, 30, 20)).area == 0


def test_padding_by_a_larger_crop_comes_from_nowhere() -> None:
    placement = Preprocessing(None, 10).placement((4, 6))  # 3 black columns and 2 black rows on either side
    assert placement.influence_box(Box(0, 0, 3, 10)).area == 0
    assert placement.influence_box(Box(0, 0, 4, 3)) == (0, 0, 1, 1)
    assert placement.display_box(Box(0, 0, 10, 10)) == (0, 0, 4, 6)
    assert placement.influenced_box(Box(-5, -5, 50, 50)) == (3, 2, 7, 8)


def test_display_box_at_half_size() -> None:
    placement = Preprocessing(50, 40).placement((200, 100))  # scale 2; the crop begins at column 30, row 5
    assert placement.display_box(Box(0, 0, 40, 40)) == (60, 10, 140, 90)
    assert placement.display_box(Box(3, 4, 13, 14)) == (66, 18, 86, 38)


@given(st.integers(30, 300), st.integers(30, 300), st.integers(10, 60), st.integers(0, 9), st.integers(0, 9))
def test_display_box_is_within_half_a_pixel_of_the_scaled_edges(
    height: int, width: int, resize: int, row: int, column: int
) -> None:
    placement = Preprocessing(resize, 10).placement((width, height))
    shown = placement.display_box(Box(column, row, column + 1, row + 1))
    across, down = placement.horizontal, placement.vertical
    assert abs(shown.left - (across.start + column) * width / across.resized) <= 0.5
    assert abs(shown.bottom - (down.start + row + 1) * height / down.resized) <= 0.5
    assert shown.width <= width / across.resized + 1


@given(st.data(), sides, sides, steps)
def test_display_box_lies_in_the_image(data: st.DataObject, height: int, width: int, step: Preprocessing) -> None:
    placement = step.placement((width, height))
    shown = placement.display_box(data.draw(boxes_in(*placement.input_size, beyond=20)))
    assert 0 <= shown.left <= shown.right <= width
    assert 0 <= shown.top <= shown.bottom <= height


def test_an_empty_box_influences_nothing() -> None:
    placement = Preprocessing(20, 16).placement((50, 40))
    for empty in (Box(5, 5, 5, 9), Box(9, 2, 5, 9)):
        assert placement.influence_box(empty).area == 0
        assert placement.influenced_box(empty).area == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_stored_box_finds_the_rectangle_that_pillow_turned(orientation: int) -> None:
    marked = Box(2, 1, 7, 4)
    stored = Image.new("L", (13, 8))
    stored.paste(255, tuple(marked))
    stored.getexif()[0x0112] = orientation
    upright = ImageOps.exif_transpose(stored)
    seen = Box(*upright.getbbox())
    placement = Preprocessing(None, None).placement(upright.size, orientation)
    assert placement.stored_box(seen) == marked
    assert placement.stored_box(Box(0, 0, *upright.size)) == (0, 0, 13, 8)


def test_stored_box_literals() -> None:
    # Upright 8 wide and 13 high, stored 13 wide and 8 high, to be turned a quarter clockwise: left column = bottom row.
    turned = Preprocessing(None, None).placement((8, 13), orientation=6)
    assert turned.stored_box(Box(0, 0, 1, 13)) == (0, 7, 13, 8)
    assert turned.stored_box(Box(4, 2, 7, 7)) == (2, 1, 7, 4)
    assert Preprocessing(None, None).placement((13, 8), orientation=3).stored_box(Box(0, 0, 2, 1)) == (11, 7, 13, 8)


def test_bounds_of_a_long_photograph_are_quick() -> None:
    """A certificate asks for them at every pixel: they are bisected, not counted."""
    asked = 0

    class Counting(Axis):
        def _taps(self, pixel: int) -> Span:
            nonlocal asked
            asked += 1
            return super()._taps(pixel)

    assert Counting(4_000, 600, 0, 600, 1.0).influenced(Span(1_000, 1_100)) == Span(149, 166)
    assert asked < 50
