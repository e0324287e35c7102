"""A sheet: pictures and words where inches say."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from bagnet.figures.picture import DPI, Picture
from bagnet.figures.sheet import Sheet, cropped
from bagnet.geometry import Box

CHECKS = Image.fromarray(np.array([[[255, 0, 0], [0, 255, 0]]], np.uint8))  # 2 x 1 pixels: red, green


def pixel(sheet: Sheet, x: float, y: float) -> tuple[int, int, int]:
    """The colour at a place in inches from the top left corner."""
    red, green, blue = Picture(sheet.figure).image.getpixel((round(x * DPI), round(y * DPI)))  # type: ignore[misc]
    return red, green, blue


def test_a_picture_fills_its_square_in_one_direction() -> None:
    sheet = Sheet(4.0, 2.0, "title", "words")
    sheet.picture(1.0, sheet.top, 1.0, CHECKS)  # 1 inch wide, half an inch high, in the middle of the square
    assert pixel(sheet, 1.25, sheet.top + 0.5) == (255, 0, 0)
    assert pixel(sheet, 1.75, sheet.top + 0.5) == (0, 255, 0)
    assert pixel(sheet, 1.49, sheet.top + 0.5) == (255, 0, 0)  # as squares, not as a gradient
    assert pixel(sheet, 1.25, sheet.top + 0.2) == (255, 255, 255)
    assert pixel(sheet, 0.9, sheet.top + 0.5) == (255, 255, 255)


def test_a_panel_lies_where_it_is_asked_for() -> None:
    sheet = Sheet(4.0, 2.0, "title", "words")
    panel = sheet.panel(2.0, sheet.top + 1.0, 1.0, 0.5)
    panel.set_facecolor("#0000ff")
    panel.set(xticks=[], yticks=[])
    assert pixel(sheet, 2.5, sheet.top + 1.25) == (0, 0, 255)
    assert pixel(sheet, 2.5, sheet.top + 0.9) == (255, 255, 255)
    assert pixel(sheet, 1.9, sheet.top + 1.25) == (255, 255, 255)


def test_the_content_begins_below_the_words() -> None:
    few, many = (Sheet(3.0, 1.0, "title", words) for words in ("few", "as many words as need several lines " * 5))
    assert many.top > few.top
    for sheet in (few, many):
        assert sheet.figure.get_figheight() == pytest.approx(sheet.top + 1.0)
        ink = np.asarray(Picture(sheet.figure).image).min(2) < 128
        assert ink[: round(sheet.top * DPI)].any()
        assert not ink[round(sheet.top * DPI) :].any()


def test_text_hangs_from_its_place() -> None:
    sheet = Sheet(4.0, 2.0, "", "")
    sheet.text(1.0, sheet.top + 0.5, "HH\nHH", 20)
    rows, columns = np.nonzero(np.asarray(Picture(sheet.figure).image).min(2) < 128)
    assert rows.min() / DPI == pytest.approx(sheet.top + 0.5, abs=0.05)
    assert rows.max() / DPI == pytest.approx(sheet.top + 0.5 + (0.76 + 1.25) * 20 / 72, abs=0.02)
    assert columns.min() / DPI == pytest.approx(1.0, abs=0.05)


def test_crops() -> None:
    image = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    assert np.asarray(cropped(image, Box(1, 0, 3, 2))).tolist() == [[1, 2], [5, 6]]


@pytest.mark.parametrize(("box", "value"), [(Box(2, 1, 2, 1), 6), (Box(4, 3, 4, 3), 11)])
def test_crops_have_one_pixel_at_least(box: Box, value: int) -> None:
    image = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4))
    assert np.asarray(cropped(image, box)).tolist() == [[value]]
