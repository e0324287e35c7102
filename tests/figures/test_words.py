"""Words in figures: numbers as people read them, and names that fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bagnet.figures.words import LETTER, abridged, counted, of_images, percent, short, signed, wrapped

MINUS, DOTS = "\N{MINUS SIGN}", "\N{HORIZONTAL ELLIPSIS}"


def test_shares() -> None:
    assert percent(0.125) == "12.5 %"
    assert percent(0.125, 0) == "12 %"
    assert percent(1, 2) == "100.00 %"


@pytest.mark.parametrize(
    ("logit", "digits", "words"),
    [(1.25, 2, "+1.25"), (-1.25, 2, f"{MINUS}1.25"), (0.004, 2, "0"), (-0.004, 2, "0"), (2.26, 1, "+2.3"), (0.04, 1, "0")],
)
def test_logits_have_a_sign(logit: float, digits: int, words: str) -> None:
    assert signed(logit, digits) == words


def test_one_is_not_several() -> None:
    assert (counted(1, "image"), counted(0, "image"), counted(1200, "window")) == ("1 image", "0 images", "1,200 windows")


def test_short_texts_stay_and_long_ones_end_in_dots() -> None:
    assert short("tabby", 5) == "tabby"
    assert short("tiger cat", 7) == f"tiger{DOTS}"  # no space before the dots


def test_abridged_names_keep_both_ends() -> None:
    assert abridged("photo.jpg", 9) == "photo.jpg"
    assert abridged("holiday_0001.jpg", 9) == f"holi{DOTS}.jpg"


@given(st.text(max_size=40), st.integers(2, 30))
def test_neither_is_longer_than_asked_for(text: str, most: int) -> None:
    assert len(short(text, most)) <= most
    assert len(abridged(text, most)) <= most
    if len(text) <= most:
        assert short(text, most) == abridged(text, most) == text


def test_lines_fit_their_width() -> None:
    words = "as many words as a line of some inches has room for, and some more"
    lines = wrapped(words, 2.0, 10).split("\n")
    assert all(len(line) * LETTER * 10 <= 2.0 for line in lines)
    assert " ".join(lines) == words


def test_lines_that_are_too_many_are_shortened() -> None:
    assert wrapped("one two three four", 1e-6, 9, 2).split("\n") == ["one", f"two{DOTS}"]


def test_what_a_figure_is_of() -> None:
    assert of_images("photos val", 1) == "photos val, 1 image"
    assert of_images("photos val", [1200, 30, 30]) == "photos val, 30 to 1,200 images"
    assert of_images("photos val", [30, 30], "drawn at random") == "photos val, 30 images; drawn at random"
