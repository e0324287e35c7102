"""A plan has each cell once, in tiles whose crops hold all that these cells see."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bagnet.geometry import Geometry
from bagnet.slides.plan import Plan

GEOMETRIES = [Geometry(9, 4), Geometry(33, 8), Geometry(16, 16), Geometry(12, 20), Geometry(33, 8, -16)]


@given(st.sampled_from(GEOMETRIES), st.integers(33, 400), st.integers(33, 400), st.integers(1, 20_000))
def test_each_cell_is_computed_once_from_all_that_it_sees(geometry: Geometry, height: int, width: int, pixels: int) -> None:
    plan = Plan(geometry, height, width, pixels)
    counts = np.zeros(plan.grid, int)
    for number, part in enumerate(plan.parts()):
        assert part.number == number
        counts[part.fresh.slices] += 1
        field = geometry.field(part.fresh)
        assert part.tile.crop.left <= max(0, field.left)
        assert part.tile.crop.top <= max(0, field.top)
        assert part.tile.crop.right >= min(width, field.right)
        assert part.tile.crop.bottom >= min(height, field.bottom)
        assert (part.inside.width, part.inside.height) == (part.fresh.width, part.fresh.height)
    assert (counts == 1).all()


def test_the_halo_is_a_few_per_cent_of_a_large_image() -> None:
    assert Plan(Geometry(33, 8), 40_000, 40_000).halo == pytest.approx(0.0517, abs=1e-3)
    assert Plan(Geometry(9, 4), 40_000, 40_000).halo < 0.02


def test_an_image_smaller_than_a_window_has_no_plan() -> None:
    with pytest.raises(ValueError, match="too small for windows of 33"):
        list(Plan(Geometry(33, 8), 32, 500).parts())
