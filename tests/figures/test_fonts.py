"""Letters that the first font lacks come from another one, or are said to be boxes: once, and not by matplotlib."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import matplotlib.font_manager
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import get_data_path
from matplotlib.figure import Figure

from bagnet.figures import fonts
from bagnet.figures.picture import Picture

CAT, NOBODY = "\N{CJK UNIFIED IDEOGRAPH-732B}", "\N{EGYPTIAN HIEROGLYPH E013}"


@pytest.fixture(autouse=True)
def _forgetful() -> None:
    fonts._fonts_with.cache_clear()


def square_font(path: Path, letter: str) -> Path:
    """A font in which a letter is a black square, and all others are missing."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 1000), (1000, 1000), (1000, 0)):
        pen.lineTo(corner)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "letter"])
    builder.setupCharacterMap({ord(letter): "letter"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "letter": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "letter": (1000, 0)})
    builder.setupHorizontalHeader(ascent=1000, descent=0)
    builder.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return path


def drawn(text: str) -> Any:
    figure = Figure(figsize=(1, 1))
    figure.text(0.2, 0.2, text, fontsize=40)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return Picture(figure).image


def ink(image: Any) -> float:
    return sum(pixel < 128 for pixel in image.convert("L").tobytes()) / (image.width * image.height)


def test_a_font_that_has_the_letter_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    manager = matplotlib.font_manager.fontManager
    monkeypatch.setattr(manager, "ttflist", [font for font in manager.ttflist if font.fname.startswith(get_data_path())])
    box = ink(drawn(CAT))
    assert len(caplog.messages) == 1
    fonts._fonts_with.cache_clear()
    caplog.clear()
    manager.addfont(square_font(tmp_path / "squares.ttf", CAT))
    square = ink(drawn(CAT))
    assert square > 0.25 > box, "40 points of an inch are 0.31 of its area"
    assert caplog.messages == []


def test_letters_that_no_font_has_are_said_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    manager = matplotlib.font_manager.fontManager
    monkeypatch.setattr(manager, "ttflist", [font for font in manager.ttflist if font.fname.startswith(get_data_path())])
    for _ in range(2):
        drawn(f"owl {NOBODY} and {NOBODY}")
    assert caplog.messages == [
        f"no font of this machine has the letters {NOBODY}: they are drawn as boxes until one is installed (Noto)"
    ]


@pytest.mark.parametrize("text", ["", "tabby, costs $5", "Größe", "кошка", "γάτα", "a b\nc\td"])
def test_letters_that_the_first_font_has_need_no_other(text: str, caplog: pytest.LogCaptureFixture) -> None:
    figure = Figure()
    words = figure.text(0, 0, text)
    before = words.get_fontfamily()
    fonts.complete([words])
    assert words.get_fontfamily() == before
    assert caplog.messages == []
