"""Boxes of an image come in order, read ahead, no further than is wanted."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from bagnet.data.decode import BadImage
from bagnet.geometry import Box, Geometry
from bagnet.progress import Progress
from bagnet.slides.plan import Plan
from bagnet.slides.readers import ArrayReader, Pixels
from bagnet.slides.reading import Answer, Reading, read_boxes

BOXES = [Box(4 * number, 0, 4 * number + 4, 4) for number in range(10)]


class Counting(ArrayReader):
    """Whose third box cannot be read; the first and sixth are white."""

    def __init__(self, path: Path) -> None:
        pixels = np.repeat(np.arange(10, dtype=np.uint8), 4)[None].repeat(4, 0)
        pixels[:, :4] = pixels[:, 20:24] = 240
        np.save(path, pixels)
        super().__init__(path)
        self.asked: list[int] = []
        self.lock = threading.Lock()

    def read(self, level: int, box: Box) -> Pixels:
        with self.lock:
            self.asked.append(box.left // 4)
        if box.left == 8:
            raise BadImage("the third is corrupt")
        return super().read(level, box)


@pytest.fixture
def reader(tmp_path: Path) -> Counting:
    return Counting(tmp_path / "image.npy")


def words(answer: Answer) -> str | int:
    return "white" if answer is None else "bad" if isinstance(answer, BadImage) else int(answer[0, 0, 0])


@pytest.mark.parametrize("readers", [1, 3])
def test_all_boxes_in_order(reader: Counting, readers: int) -> None:
    answers = list(read_boxes(reader, 0, BOXES, skip_white=True, readers=readers))
    assert [box for box, _ in answers] == BOXES
    assert [words(answer) for _, answer in answers] == ["white", 1, "bad", 3, 4, "white", 6, 7, 8, 9]
    assert sorted(reader.asked) == list(range(10))


def test_white_is_read_where_it_is_not_to_be_skipped(reader: Counting) -> None:
    assert [words(answer) for _, answer in read_boxes(reader, 0, BOXES)][:2] == [240, 1]


@pytest.mark.parametrize("readers", [1, 3])
def test_so_many_that_have_pixels_and_no_more_are_read(reader: Counting, readers: int) -> None:
    answers = [words(answer) for _, answer in read_boxes(reader, 0, BOXES, skip_white=True, usable=3, readers=readers)]
    assert answers == ["white", 1, "bad", 3, 4]
    assert sorted(reader.asked) == list(range(5))


def test_who_stops_asking_stops_the_reading(reader: Counting) -> None:
    boxes = read_boxes(reader, 0, BOXES, readers=1)
    next(boxes)
    boxes.close()  # type: ignore[attr-defined]
    assert len(reader.asked) <= 3


@pytest.mark.parametrize(("usable", "told"), [(None, [6, 7, 8, 9, 10]), (2, [6, 7])])
def test_how_far_it_is(reader: Counting, usable: int | None, told: list[int]) -> None:
    """Of 10 tiles the second half, of which the first is white; where only some are wanted, those with pixels count."""
    plan, heard = Plan(Geometry(4, 4), 4, 40, 16), list[Progress]()
    parts = list(plan.parts())[5:]
    tiles = Reading(reader, 0, plan, parts, skip_white=True, usable=usable, stage="looking", done=5, progress=heard.append)
    assert [part.number for part, _ in tiles] == [5, 6, 7, 8, 9][: None if usable is None else 3]
    assert heard == [Progress("looking", done, told[-1], "tiles") for done in told]
