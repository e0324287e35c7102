"""Pictures of evidence: known colours at known places."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from bagnet.data.names import ClassName, ClassNames
from bagnet.data.transforms import Preprocessing
from bagnet.evidence import Evidence, explain
from bagnet.evidence.dense_map import DenseMap
from bagnet.figures.colours import ANCHORS, HATCH, INSIDE, LINE, OUTLINE, OUTSIDE, RED, coloured
from bagnet.figures.evidence_picture import Style, is_coarse
from bagnet.figures.picture import DPI, Picture
from bagnet.geometry import Geometry, Placement

from ..evidence.detector import magenta_detector

PHOTO, MAP, BAR, ANSWERS = range(4)  # the panels of a picture
GREEN = (0, 128, 0)


def evidence_of(stripes: np.ndarray[Any, Any], width: int = 33, height: int = 25) -> Evidence:
    """Of a plain green image, windows of 9 px every 8 px: every window says -2 to "plain", and `stripes` to "stripes"."""
    values = np.stack([np.full(stripes.shape, -2.0), stripes]).astype(np.float32)
    classes = ClassNames([ClassName(("plain",)), ClassName(("stripes",))])
    image = Image.new("RGB", (width, height), GREEN)
    return Evidence(values, values.mean((1, 2)), Geometry(9, 8), Placement.identity(height, width), classes, image)


@pytest.fixture
def evidence() -> Evidence:
    """Cells of 0 to 11 logits, from the top left on."""
    return evidence_of(np.arange(12.0).reshape(3, 4))


class Drawn:
    """A picture as pixels, which are asked for by places of the photograph.

    Args:
        picture: of `Evidence.picture`.
    """

    def __init__(self, picture: Picture) -> None:
        self.axes = picture.figure.axes
        self.pixels = np.asarray(picture.image).astype(int)
        self._dpi = picture.figure.dpi

    def at(self, panel: int, x: float, y: float) -> np.ndarray[Any, Any]:
        """The colour of a panel at a place, in pixels of the photograph (or in the coordinates of the panel)."""
        across, up = self.axes[panel].transData.transform((x, y)) * DPI / self._dpi
        colour: np.ndarray[Any, Any] = self.pixels[len(self.pixels) - 1 - int(up), int(across)]
        return colour

    def cell(self, row: int, column: int) -> np.ndarray[Any, Any]:
        """The colour of a cell of the map, away from lines and numbers."""
        return self.at(MAP, 8 * column + 1, 8 * row + 1)

    def words(self, panel: int) -> list[str]:
        return [text.get_text() for text in self.axes[panel].texts]


def near(colour: np.ndarray[Any, Any], expected: object, by: int = 3) -> bool:
    wanted = np.array(to_rgb(expected)) * 255 if isinstance(expected, str) else np.asarray(expected)
    return bool(np.abs(colour - wanted).max() <= by)


def test_each_cell_has_the_colour_of_its_logit(evidence: Evidence) -> None:
    drawn = Drawn(evidence.picture("stripes"))
    for row in range(3):
        for column in range(4):
            assert near(drawn.cell(row, column), coloured(evidence.map("stripes")[row, column], 11.0), 4)
    assert near(drawn.cell(0, 0), (255, 255, 255))
    assert near(drawn.cell(2, 3), ANCHORS[-1])


def test_evidence_against_is_blue(evidence: Evidence) -> None:
    drawn = Drawn(evidence.picture("plain"))
    assert near(drawn.cell(1, 1), ANCHORS[0])  # -2 is the largest


def test_colours_mean_the_same_on_one_scale(evidence: Evidence) -> None:
    """The same colour for the same logit, whatever else is in the map; beyond the ends, the colour of the end."""
    first, second = Drawn(evidence.picture("stripes", scale=4.0)), Drawn(evidence.picture("plain", scale=4.0))
    assert near(first.cell(0, 2), coloured(np.array(2.0), 4.0), 4)
    assert near(second.cell(0, 2), coloured(np.array(-2.0), 4.0), 4)
    assert near(first.cell(2, 0), ANCHORS[-1])


def test_a_difference_is_drawn_instead_of_the_map(evidence: Evidence) -> None:
    drawn = Drawn(evidence.picture("stripes", versus="plain"))
    assert near(drawn.cell(0, 0), coloured(np.array(2.0), 13.0), 4)
    assert near(drawn.cell(2, 3), ANCHORS[-1])


def test_a_map_of_zeros_is_white() -> None:
    drawn = Drawn(evidence_of(np.zeros((3, 4))).picture("stripes"))
    assert all(near(drawn.cell(row, column), (255, 255, 255)) for row in range(3) for column in range(4))


def test_the_photograph_is_itself_beside_the_map(evidence: Evidence) -> None:
    drawn = Drawn(evidence.picture("stripes"))
    assert near(drawn.at(PHOTO, 4, 4), GREEN)
    assert drawn.axes[PHOTO].get_xlim() == drawn.axes[MAP].get_xlim() == (-0.5, 32.5)
    assert drawn.axes[PHOTO].get_ylim() == drawn.axes[MAP].get_ylim() == (24.5, -0.5)


def test_outside_the_input_the_photograph_is_pale_and_the_map_empty() -> None:
    """Of 40 x 20 pixels the network gets the 20 x 20 in the middle."""
    image = Image.new("RGB", (40, 20), GREEN)
    drawn = Drawn(explain(magenta_detector(9), image, transform=Preprocessing(None, 20)).picture())
    pale = 0.35 * np.array(GREEN) + 0.65 * 255
    assert near(drawn.at(PHOTO, 4, 10), pale)
    assert near(drawn.at(PHOTO, 35, 10), pale)
    assert near(drawn.at(PHOTO, 20, 16), GREEN)
    assert near(drawn.at(MAP, 4, 10), OUTSIDE)
    assert not near(drawn.at(MAP, 20, 10), OUTSIDE)


def test_what_no_window_sees_is_hatched() -> None:
    """On 33 + 7 pixels: the last seven columns and rows. Between them and the cells is the ground of the input."""
    drawn = Drawn(evidence_of(np.ones((3, 4)), 40, 32).picture("stripes"))
    hatched = [patch for patch in drawn.axes[MAP].patches if patch.get_hatch()]
    boxes = [(patch.get_x() + 0.5, patch.get_y() + 0.5, patch.get_width(), patch.get_height()) for patch in hatched]
    assert sorted(boxes) == [(0, 25, 33, 7), (33, 0, 7, 32)]
    for places in ([(x, 15) for x in np.arange(33.5, 39, 0.1)], [(15, y) for y in np.arange(25.5, 31, 0.1)]):
        colours = [drawn.at(MAP, x, y) for x, y in places]
        assert any(near(colour, OUTSIDE) for colour in colours)
        assert any(near(colour, HATCH, 12) for colour in colours)
    assert near(drawn.at(MAP, 32.2, 12), INSIDE)


def test_the_strongest_windows_are_outlined_and_numbered(evidence: Evidence) -> None:
    """Windows at least half a window apart: the last three cells of the last row."""
    drawn = Drawn(evidence.picture("stripes"))
    assert drawn.words(PHOTO) == ["3", "2", "1"]  # the strongest on top
    assert drawn.words(MAP) == ["1", "2", "3"]
    for number, column in ((1, 3), (2, 2), (3, 1)):
        window = drawn.axes[PHOTO].patches[-(2 * number)]
        assert (window.get_x() + 0.5, window.get_y() + 0.5, window.get_width(), window.get_height()) == (8 * column, 16, 9, 9)
        cell = drawn.axes[MAP].patches[-4 + number]
        assert (cell.get_x() + 0.5, cell.get_y() + 0.5, cell.get_width(), cell.get_height()) == (8 * column, 16, 8, 8)
        assert near(np.array(cell.get_edgecolor()[:3]) * 255, OUTLINE)
    assert near(drawn.at(PHOTO, 8 * 3 - 0.5, 20), OUTLINE, 60)
    assert near(drawn.at(MAP, 8 * 3 - 0.5, 20), OUTLINE, 60)


def test_large_windows_are_drawn_over_the_photograph_where_all_of_them_lie() -> None:
    """Windows of 16 pixels every 8 in a grid of 2 x 3: the corner is in one window alone, the middle in two or four."""
    values = np.zeros((2, 2, 3), np.float32)
    values[0, 0, 0] = 4.0
    names = ClassNames([ClassName(("plain",)), ClassName(("stripes",))])
    large = Evidence(
        values, values.mean((1, 2)), Geometry(16, 8), Placement.identity(24, 32), names, Image.new("RGB", (32, 24), (90, 90, 90))
    )
    assert is_coarse(large.geometry, 2, 3)
    assert not is_coarse(Geometry(33, 8), 24, 24)
    assert not is_coarse(Geometry(16, 8), 30, 40)
    figure = large.picture(0).figure
    drawn = figure.axes[1].images[1]
    means = np.asarray(drawn.get_array())
    assert means.shape == (24, 32)
    assert (means[0, 0], means[0, 10], means[10, 10], means[20, 30]) == (4.0, 2.0, 1.0, 0.0)
    assert drawn.get_clim() == (-4.0, 4.0)
    assert float(large.picture(0, scale=9.0).figure.axes[1].images[1].get_clim()[1]) == 9.0


def test_a_finer_map_is_drawn_whatever_its_windows_overlap() -> None:
    """Windows of 16 px every 16, and a map of them every 8, which is drawn as it is, not the decision's."""
    values = np.zeros((2, 2, 2), np.float32)
    names = ClassNames([ClassName(("plain",)), ClassName(("stripes",))])
    apart = Evidence(
        values, values.mean((1, 2)), Geometry(16, 16), Placement.identity(32, 32), names, Image.new("RGB", (32, 32), GREEN)
    )
    finer = DenseMap(torch.full((1, 1, 3, 3), 5.0), origin=0, stride=8)
    assert is_coarse(Geometry(16, 8), 3, 3)
    drawn = Drawn(apart.picture("stripes", finer=finer))
    assert near(drawn.at(MAP, 14, 14), ANCHORS[-1])
    assert not any("the mean of the windows" in text.get_text() for text in drawn.axes[ANSWERS].texts)


def test_a_finer_map_lies_on_its_own_cells(evidence: Evidence) -> None:
    """A map at every pixel, from the centre of the first window on, without outlines."""
    values = torch.zeros(1, 1, 17, 25)
    values[..., :12] = 5.0
    values[..., 12:] = -5.0
    finer = DenseMap(values, origin=evidence.geometry.origin, stride=1)
    drawn = Drawn(evidence.picture("stripes", finer=finer))
    assert near(drawn.at(MAP, 10, 12), ANCHORS[-1])
    assert near(drawn.at(MAP, 22, 12), ANCHORS[0])
    assert near(drawn.at(MAP, 1, 12), INSIDE)
    assert drawn.words(MAP) == []
    with pytest.raises(ValueError, match=r"it is to be \(1, 2, h, w\)"):
        evidence.picture("stripes", versus="plain", finer=finer)


def test_the_papers_style_ends_its_colours_at_the_99th_percentile() -> None:
    """One outlier of 100 among ones: they are of the darkest red; and the edges of the photograph lie over the map."""
    values = np.ones((12, 12))
    values[0, 0] = 100
    evidence = evidence_of(values, 97, 97)
    photo = np.zeros((97, 97, 3), np.uint8)
    photo[:, 48:] = 255
    evidence = replace(evidence, image=Image.fromarray(photo))
    limit = np.percentile(values, 99)
    plain, paper = Drawn(evidence.picture("stripes")), Drawn(evidence.picture("stripes", style="paper"))
    assert near(paper.at(MAP, 20, 60), coloured(np.array(1.0), limit), 4)
    assert near(plain.at(MAP, 20, 61), coloured(np.array(1.0), 100.0), 4)
    across = np.arange(30, 65, 0.25)
    dark = across[[paper.at(MAP, x, 60).sum() < 0.7 * paper.at(MAP, 20, 60).sum() for x in across]]
    assert 46 < dark.min() < dark.max() < 49  # the edge down the middle


def test_the_colour_bar_goes_to_the_limit(evidence: Evidence) -> None:
    drawn = Drawn(evidence.picture("stripes", scale=4.0))
    labels = [label.get_text() for label in drawn.axes[BAR].get_yticklabels()]
    assert labels == ["\N{MINUS SIGN}4.00", "\N{MINUS SIGN}2.00", "0", "+2.00", "+4.00"]
    assert near(drawn.at(BAR, 0.5, 3.9), coloured(np.array(3.9), 4.0), 8)
    assert near(drawn.at(BAR, 0.5, -3.9), coloured(np.array(-3.9), 4.0), 8)
    assert near(drawn.at(BAR, 0.5, 0), (255, 255, 255), 8)


def test_the_answers_have_bars_as_long_as_their_probabilities() -> None:
    evidence = evidence_of(np.full((3, 4), -2.0))  # as likely as "plain"
    drawn = Drawn(evidence.picture("stripes"))
    assert drawn.words(ANSWERS)[:4] == ["plain", "50.0 %", "stripes", "50.0 %"]
    y = drawn.axes[ANSWERS].lines[0].get_ydata()[0]  # type: ignore[index]
    assert near(drawn.at(ANSWERS, 0.25, float(y)), RED)
    assert near(drawn.at(ANSWERS, 0.75, float(y)), LINE)


def test_the_title_says_what_is_drawn(evidence: Evidence) -> None:
    title, numbers = (text.get_text() for text in evidence.picture("stripes").figure.texts)
    assert title == "stripes"
    assert numbers == "99.9 %   logit +5.50, the mean of the map"
    title, numbers = (text.get_text() for text in evidence.picture("stripes", versus="plain").figure.texts)
    assert title == "stripes, not plain"
    assert numbers.startswith("99.9 % against 0.1 %   logits +5.50 and \N{MINUS SIGN}2.00: +7.50 apart")


@pytest.mark.parametrize("size", [(2, 2), (400, 9), (9, 400), (3000, 40)])
@pytest.mark.parametrize("style", ["evidence", "paper"])
def test_images_of_any_shape_can_be_drawn(size: tuple[int, int], style: Style) -> None:
    """The photograph is there, and the picture has a size that screens can show."""
    image = Image.new("RGB", size, GREEN)
    picture = explain(magenta_detector(9), image, transform=Preprocessing(9, None)).picture(style=style)
    drawn = Drawn(picture)
    left, top = drawn.axes[PHOTO].get_xlim()[0], drawn.axes[PHOTO].get_ylim()[1]
    assert (left, top) == (-0.5, -0.5)
    shown = drawn.axes[PHOTO].images[0]
    assert shown.get_extent() == [-0.5, size[0] - 0.5, size[1] - 0.5, -0.5]
    scale = min(1, 1400 / max(size))  # no picture has room for more
    assert shown.get_array().shape == (round(scale * size[1]), round(scale * size[0]), 3)
    assert picture.image.width * picture.image.height < 6_000_000


def test_bad_requests_are_refused(evidence: Evidence) -> None:
    with pytest.raises(ValueError, match="no style 'oil'"):
        evidence.picture(style="oil")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="positive"):
        evidence.picture(scale=0.0)


def test_a_map_with_more_cells_than_pixels_shows_their_mean() -> None:
    """A checkerboard of 2 and -1 in 1,000 x 1,000 cells: no pixel is of either colour, nor is any cell drawn as a shape."""
    rows, columns = np.indices((1000, 1000))
    stripes = np.where((rows + columns) % 2, 2.0, -1.0)
    drawn = Drawn(evidence_of(stripes, 8001, 8001).picture("stripes"))
    for x, y in ((2000, 2000), (4001, 6003), (7003, 1234)):
        assert near(drawn.at(MAP, x, y), coloured(np.array(0.5), 2.0), 20)
    assert not drawn.axes[MAP].collections


def test_files_of_large_maps_are_small(tmp_path: Path) -> None:
    """Whatever the format, the map is an image in it, and the photograph no larger than is seen."""
    evidence = evidence_of(np.random.default_rng(0).normal(size=(500, 500)), 4001, 4001)
    for ending in ("png", "pdf", "svg"):
        evidence.picture("stripes").save(tmp_path / f"why.{ending}")
        assert (tmp_path / f"why.{ending}").stat().st_size < 3_000_000


def test_evidence_is_plotted_into_axes_of_ones_own(evidence: Evidence) -> None:
    figure = Figure(figsize=(3, 2))
    axes = figure.subplots()
    assert evidence.plot("stripes", ax=axes) is axes
    figure.colorbar(axes.images[-1])
    photo, cells = axes.images
    assert photo.get_extent() == [-0.5, 32.5, 24.5, -0.5]
    assert cells.get_extent() == [-0.5, 31.5, 23.5, -0.5]  # where pictures draw them: squares of the stride
    assert np.array_equal(cells.get_array(), evidence.map("stripes"))
    assert cells.get_clim() == (-11, 11)
    assert cells.get_alpha() == pytest.approx(0.7 * evidence.map("stripes") / 11)
    assert axes.get_title() == "stripes +5.50"
    assert evidence.plot("stripes", versus="plain", ax=figure.add_subplot()).get_title() == "stripes, not plain +7.50"
    figure.draw_without_rendering()


def test_evidence_is_plotted_into_pyplots_axes(evidence: Evidence) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots()
    try:
        assert replace(evidence, classes=ClassNames([ClassName(("plain",)), ClassName(("$x$",))])).plot() is axes
        assert not axes.title.get_parse_math()
    finally:
        pyplot.close(figure)
