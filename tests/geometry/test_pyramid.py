"""Which part of the whole a tile shows."""

from __future__ import annotations

import numpy as np
import pytest

from bagnet.geometry import Box, Pyramid


def test_sizes_end_where_all_is_one_tile() -> None:
    assert [Pyramid(height, 10, 256).levels for height in (1, 256, 257, 512, 513, 5400)] == [1, 1, 2, 2, 3, 6]
    pyramid = Pyramid(2967, 2220, 256)
    assert (pyramid.levels, pyramid.shape(0), pyramid.shape(1), pyramid.shape(4)) == (5, (2967, 2220), (1484, 1110), (186, 139))
    assert pyramid.tile(4, 0, 0) == Box(0, 0, 2220, 2967)


@pytest.mark.parametrize(("height", "width", "side"), [(70, 33, 8), (1, 9, 4), (64, 64, 16)])
def test_the_tiles_of_each_size_hold_each_pixel_once(height: int, width: int, side: int) -> None:
    pyramid = Pyramid(height, width, side)
    for halvings in range(pyramid.levels):
        seen = np.zeros((height, width), int)
        for row in range(100):
            for column in range(100):
                box = pyramid.tile(halvings, row, column)
                if box is not None:
                    assert max(box.width, box.height) <= side << halvings
                    seen[box.slices] += 1
        assert (seen == 1).all()


def test_there_are_no_other_tiles() -> None:
    pyramid = Pyramid(100, 200, 64)
    assert pyramid.tile(0, 1, 3) == Box(192, 64, 200, 100)
    for where in [(0, 2, 0), (0, 0, 4), (1, 1, 0), (3, 0, 0), (10**9, 0, 0), (-1, 0, 0), (0, -1, 0), (0, 0, -1)]:
        assert pyramid.tile(*where) is None
    with pytest.raises(ValueError, match="positive lengths"):
        Pyramid(0, 5, 256)
