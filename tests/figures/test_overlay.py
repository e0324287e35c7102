"""The overlay: known colours at known pixels, and the photograph where nothing speaks."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from bagnet.data.names import ClassName, ClassNames
from bagnet.evidence import Evidence
from bagnet.figures.colours import ANCHORS, coloured
from bagnet.figures.overlay import cells_box, overlay
from bagnet.geometry import Box, Geometry, Placement


def evidence(values: list[list[float]]) -> Evidence:
    map_ = np.array(values, dtype=np.float32)
    stack = np.stack([map_, -map_])
    classes = ClassNames([ClassName(("for",)), ClassName(("against",))])
    rows, columns = map_.shape
    height, width = 8 * (rows - 1) + 9, 8 * (columns - 1) + 9
    image = Image.new("RGB", (width, height), (10, 200, 30))
    return Evidence(stack, stack.mean((1, 2)), Geometry(9, 8), Placement.identity(height, width), classes, image)


def rgb(code: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(code[1:]))


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
    subject = evidence([[4.0, 1.0]])
    assert overlay(subject, "for", "against", scale=8.0, opacity=1.0).getpixel((4, 4)) == rgb(ANCHORS[-1])  # 4 - -4
    assert overlay(subject, "for", scale=1.0, opacity=1.0).getpixel((12, 4)) == rgb(ANCHORS[-1])
    assert overlay(subject) == overlay(subject, "for")


def test_silence_is_the_photograph_itself() -> None:
    silent = evidence([[0.0, 0.0]])
    assert overlay(silent) == silent.image


def test_where_the_cells_of_a_map_lie() -> None:
    """Nine pixels every eight: squares of eight pixels about the centres. Of a finer map: smaller squares."""
    subject = evidence([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert cells_box(subject, subject.geometry, 2, 3) == Box(0, 0, 24, 16)
    assert cells_box(subject, Geometry(9, 1), 9, 17) == Box(4, 4, 21, 13)


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
