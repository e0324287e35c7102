"""The frame of charts: bars where the intervals end, room for every word, one entry a label."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bagnet.figures.charts import finished, heading, intervals, labels, legend, panel_title, quiet_frame, side_by_side
from bagnet.statistics import Estimate


@pytest.fixture
def axes() -> Any:
    figure, panels = side_by_side([4.0], 3.0)
    return figure.add_subplot(panels[0])


def bars(axes: Any, axis: int) -> list[list[float]]:
    """The ends of the bars that `errorbar` drew."""
    ((_, _, (lines,)),) = axes.containers
    return [sorted(part[:, axis].tolist()) for part in lines.get_segments()]


def test_panels_are_as_wide_as_asked_for() -> None:
    figure, panels = side_by_side([2.0, 5.0], 3.0)
    assert tuple(figure.get_size_inches()) == (7.0, 3.0)
    assert panels.get_width_ratios() == [2.0, 5.0]


def test_intervals_end_where_the_estimates_say(axes: Any) -> None:
    intervals(axes, [9, 17], [Estimate(0.5, 0.4, 0.7), Estimate(0.25, 0.2, 0.3)], factor=100, marker="o", label="right")
    (line,) = axes.lines
    assert line.get_xydata().tolist() == [[9, 50], [17, 25]]
    assert np.array(bars(axes, 1)) == pytest.approx(np.array([[40, 70], [20, 30]]))
    assert line.get_marker() == "o"
    assert axes.get_legend_handles_labels()[1] == ["right"]


def test_intervals_across(axes: Any) -> None:
    intervals(axes, [0, 1], [Estimate(2, 1, 4), Estimate(3, 3, 3)], across=True)
    assert axes.lines[0].get_xydata().tolist() == [[2, 0], [3, 1]]
    assert bars(axes, 0) == [[1, 4], [3, 3]]


def test_estimates_that_are_not_defined_are_left_out(axes: Any) -> None:
    nothing = Estimate(float("nan"), float("nan"), float("nan"))
    intervals(axes, [1, 2], [nothing, Estimate(2, 1, 3)])
    assert axes.lines[0].get_xydata().tolist() == [[2, 2]]


def test_where_none_is_defined_nothing_is_drawn(axes: Any) -> None:
    intervals(axes, [1], [Estimate(float("nan"), float("nan"), float("nan"))])
    assert not len(axes.lines[0].get_xydata())


def test_as_many_positions_as_estimates(axes: Any) -> None:
    with pytest.raises(ValueError, match="zip"):
        intervals(axes, [1, 2], [Estimate(2, 1, 3)])


def test_a_heading_is_shortened_to_a_line() -> None:
    figure, _ = side_by_side([4.0], 3.0)
    heading(figure, "x" * 100, "of 30 images")
    title, words = (text.get_text() for text in figure.texts)
    assert len(title) == 70
    assert words == "of 30 images"


def test_a_finished_figure_has_a_legend_with_each_label_once() -> None:
    figure, panels = side_by_side([3.0, 3.0], 3.0)
    for panel, names in zip(panels, (("a", "b"), ("b", "c")), strict=True):
        axes = figure.add_subplot(panel)
        for name in names:
            axes.plot([0, 1], label=name)
    picture = finished(figure, "title", "words", figure.axes)
    (drawn,) = picture.figure.legends
    assert [text.get_text() for text in drawn.get_texts()] == ["a", "b", "c"]
    assert picture.figure.get_figheight() > 3.0


def test_a_finished_figure_grows_with_its_words() -> None:
    heights = []
    for words in ("few words", "as many words as need several lines under the title " * 4):
        figure, panels = side_by_side([4.0], 3.0)
        figure.add_subplot(panels[0])
        picture = finished(figure, "title", words)
        heights.append(picture.figure.get_figheight())
        lines = [text.get_text() for text in picture.figure.texts[2:]]
        assert " ".join(lines) == words.strip()
    assert heights[0] == 3.0 < heights[1]


def test_nothing_of_a_finished_figure_overlaps() -> None:
    """Words under the title, charts, legend: each begins below the end of the one before."""
    figure, panels = side_by_side([4.0], 3.0)
    axes = figure.add_subplot(panels[0])
    for number in range(9):
        axes.plot([0, 1], label=f"a model with a long name, number {number}")
    panel_title(axes, "panel")
    labels(axes, "x", "y")
    picture = finished(figure, "title", "as many words as need several lines under the title " * 3, [axes])
    picture.figure.draw_without_rendering()
    words = min(text.get_window_extent().y0 for text in picture.figure.texts)
    chart = axes.get_tightbbox()
    entries = picture.figure.legends[0].get_window_extent()
    assert words > chart.y1
    assert chart.y0 > entries.y1 - 1
    assert entries.y0 >= 0


def test_a_quiet_frame_has_lines_where_values_are_read_off(axes: Any) -> None:
    quiet_frame(axes, "y")
    assert [side for side, spine in axes.spines.items() if spine.get_visible()] == ["left", "bottom"]
    assert all(line.get_visible() for line in axes.get_ygridlines())
    assert not any(line.get_visible() for line in axes.get_xgridlines())


def test_a_legend_without_a_frame(axes: Any) -> None:
    axes.plot([0, 1], label="a")
    legend(axes, loc="upper left")
    assert not axes.get_legend().get_frame_on()
