"""A plan has each cell once, in tiles whose crops hold all that these cells see."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bagnet.bag import BagOfFeatures
from bagnet.geometry import Geometry
from bagnet.slides.plan import Plan

from ..engine.classifiers import small_bagnet, small_windowed

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


MODELS = {"valid": small_bagnet, "padded": lambda: small_bagnet(padded=True), "windowed": small_windowed}


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(MODELS)), st.sampled_from([0, 4]), st.integers(17, 90), st.integers(17, 90), st.integers(300, 4000))
def test_tiled_is_whole_in_double_precision(kind: str, stride: int, height: int, width: int, pixels: int) -> None:
    model: BagOfFeatures = deepcopy(MODELS[kind]()).double()  # type: ignore[no-untyped-call]
    model = model.at_stride(stride) if stride else model
    x = torch.randn(1, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(height * width))
    with torch.inference_mode():
        whole = model.evidence(x)
        tiled = torch.full_like(whole, torch.nan)
        for part in Plan(model.geometry, height, width, pixels).parts():
            values = model.evidence(x[(..., *part.tile.crop.slices)].contiguous())
            tiled[(..., *part.fresh.slices)] = values[(..., *part.inside.slices)]
    assert float((tiled - whole).abs().max()) <= 1e-9 * float(whole.abs().max())
