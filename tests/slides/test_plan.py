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


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_pieces_of_a_tile_are_its_cells_each_once_and_exact(kind: str) -> None:
    model: BagOfFeatures = deepcopy(MODELS[kind]()).double()  # type: ignore[no-untyped-call]
    x = torch.randn(1, 3, 300, 410, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    plan = Plan(model.geometry, 300, 410, 200 * 200)
    with torch.inference_mode():
        whole = model.evidence(x)
        for part in plan.parts():
            tiled, counts = torch.zeros_like(whole), np.zeros(plan.grid, int)
            pieces = list(plan.pieces(part))
            assert len(pieces) > 1
            for piece in pieces:
                assert piece.number == part.number
                counts[piece.fresh.slices] += 1
                values = model.evidence(x[(..., *piece.tile.crop.slices)].contiguous())
                tiled[(..., *piece.fresh.slices)] = values[(..., *piece.inside.slices)]
            assert (counts[part.fresh.slices] == 1).all()
            assert counts.sum() == part.fresh.area
            where = (..., *part.fresh.slices)
            assert float((tiled[where] - whole[where]).abs().max()) <= 1e-9 * float(whole.abs().max())


def test_parts_of_the_work_are_rows_of_tiles() -> None:
    plan = Plan(Geometry(33, 8), 1000, 1000, 300 * 300)
    every = list(plan.parts())
    shards = [plan.shard((number, 3)) for number in (1, 2, 3)]
    assert [part.number for shard in shards for part in shard] == [part.number for part in every] == list(range(16))
    assert [part.number for part in plan.shard(None)] == list(range(16))
    rows = [plan.rows_of(shard) for shard in shards]
    assert rows[0].start == 0
    assert rows[-1].stop == plan.grid[0]
    for shard, of_shard in zip(shards, rows, strict=True):
        assert {row for part in shard for row in range(part.fresh.top, part.fresh.bottom)} == set(of_shard)
    assert plan.rows_of([]) == range(0)
