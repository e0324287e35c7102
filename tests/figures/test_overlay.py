"""The overlay: known colours at known pixels, and the photograph where nothing speaks."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from bagnet.data.names import ClassName, ClassNames
from bagnet.evidence import Evidence
from bagnet.figures.colours import ANCHORS, coloured, table
from bagnet.figures.overlay import overlay
from bagnet.geometry import Geometry, Placement


def evidence(values: list[list[float]]) -> Evidence:
    one = np.array(values, dtype=np.float32)
    stack = np.stack([one, -one])
    classes = ClassNames([ClassName(("for",)), ClassName(("against",))])
    rows, columns = one.shape
    height, width = 8 * (rows - 1) + 9, 8 * (columns - 1) + 9
    image = Image.new("RGB", (width, height), (10, 200, 30))
    return Evidence(stack, stack.mean((1, 2)), Geometry(9, 8), Placement.identity(height, width), classes, image)


def rgb(code: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(code[1:]))


def test_the_table_goes_from_blue_over_white_to_red() -> None:
    assert table().shape == (257, 3)
    assert tuple(table()[0]) == rgb(ANCHORS[0])
    assert tuple(table()[128]) == (255, 255, 255)
    assert tuple(table()[256]) == rgb(ANCHORS[-1])
    assert coloured(np.array([[-9.0, 0.0], [2.0, 9.0]]), 2.0).tolist() == [
        [[*rgb(ANCHORS[0])], [255, 255, 255]],
        [[*rgb(ANCHORS[-1])], [*rgb(ANCHORS[-1])]],
    ]


def test_each_cell_lies_on_its_window() -> None:
    """Cell (0, 0) of a 9-pixel window every 8 lies on pixels 0 to 7, the next on 8 to 15."""
    pixels = np.asarray(overlay(evidence([[4.0, 0.0, -4.0]]), "for", opacity=1.0))
    row = pixels[4]
    assert tuple(row[4]) == rgb(ANCHORS[-1])
    assert tuple(row[12]) == (10, 200, 30)
    assert tuple(row[20]) == rgb(ANCHORS[0])
    assert tuple(pixels[8, 24]) == (10, 200, 30)  # the last row and column belong to no cell's square


def test_weak_cells_show_the_photograph_through() -> None:
    view = overlay(evidence([[4.0, 2.0]]), "for", opacity=0.5)
    strong, weak = np.array(view.getpixel((4, 4))), np.array(view.getpixel((12, 4)))
    photograph = np.array([10, 200, 30])
    assert np.abs(strong - (photograph + np.array(rgb(ANCHORS[-1]))) / 2).max() <= 1.5
    assert np.abs(weak - (0.75 * photograph + 0.25 * coloured(np.array(2.0), 4.0))).max() <= 1.5


def test_versus_and_scale() -> None:
    one = evidence([[4.0, 1.0]])
    assert overlay(one, "for", "against", scale=8.0, opacity=1.0).getpixel((4, 4)) == rgb(ANCHORS[-1])  # 4 - -4
    assert overlay(one, "for", scale=1.0, opacity=1.0).getpixel((12, 4)) == rgb(ANCHORS[-1])
    assert overlay(one) == overlay(one, "for")


def test_silence_is_the_photograph_itself() -> None:
    one = evidence([[0.0, 0.0]])
    assert overlay(one) == one.image


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"scale": 0.0}, "scale must be a positive"),
        ({"scale": float("nan")}, "scale"),
        ({"opacity": 1.5}, "opacity must be between"),
    ],
)
def test_nonsense_is_refused(words: dict[str, float], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        overlay(evidence([[1.0]]), **words)  # type: ignore[arg-type]
