"""Colours: evidence on a scale with white in the middle, models in an order that eyes see."""

from __future__ import annotations

import re

import numpy as np
import pytest

from bagnet.figures.colours import (
    ANCHORS,
    BLUE,
    DARK_PAGE,
    PAGE,
    PALE,
    coloured,
    evidence_colours,
    model_colours,
    share_colours,
    table,
)


def rgb(code: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(code[1:]))


def brightness(code: str) -> float:
    return float(np.dot(rgb(code), (0.2126, 0.7152, 0.0722)))


def test_the_table_goes_from_blue_over_white_to_red() -> None:
    assert table().shape == (257, 3)
    assert tuple(table()[0]) == rgb(ANCHORS[0])
    assert tuple(table()[128]) == (255, 255, 255)
    assert tuple(table()[256]) == rgb(ANCHORS[-1])


def test_logits_beyond_the_limit_have_the_colours_of_the_ends() -> None:
    assert coloured(np.array([[-9.0, 0.0], [2.0, 9.0]]), 2.0).tolist() == [
        [[*rgb(ANCHORS[0])], [255, 255, 255]],
        [[*rgb(ANCHORS[-1])], [*rgb(ANCHORS[-1])]],
    ]


def test_both_signs_are_about_as_dark() -> None:
    for negative, positive in zip(ANCHORS[:4], ANCHORS[:4:-1], strict=True):
        assert brightness(negative) == pytest.approx(brightness(positive), abs=25)


def test_matplotlib_draws_the_same_colours() -> None:
    positions = np.linspace(0, 1, 257)
    drawn = np.rint(255 * evidence_colours()(positions)[:, :3])
    assert np.abs(drawn - table()).max() <= 4  # matplotlib has 256 steps, none of them white


def test_shares_go_from_white_to_dark_blue() -> None:
    ends = [tuple(np.rint(255 * np.array(share_colours()(share))[:3]).astype(int)) for share in (0.0, 1.0)]
    assert ends == [(255, 255, 255), rgb(ANCHORS[0])]
    assert ANCHORS[4:0:-1] == ("#ffffff", PALE, "#7db1d8", BLUE)


def test_models_are_darker_with_their_windows() -> None:
    colours = model_colours([33, None, 9, 17, None])
    assert brightness(colours[2]) > brightness(colours[3]) > brightness(colours[0])
    assert len(set(colours)) == 5
    assert model_colours([17, 17]) == [model_colours([17])[0]] * 2  # one window, one colour
    assert len(model_colours([None] * 9)) == 9


def test_pages_have_the_same_colours_by_day_and_by_night() -> None:
    assert PAGE.keys() == DARK_PAGE.keys()
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in (*PAGE.values(), *DARK_PAGE.values()))
    for palette in (PAGE, DARK_PAGE):
        assert abs(brightness(palette["ink"]) - brightness(palette["paper"])) > 150
        assert abs(brightness(palette["soft"]) - brightness(palette["paper"])) > 100
