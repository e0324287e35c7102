"""The windows that speak most, as a search through all of them in memory has them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bagnet.geometry import Geometry
from bagnet.slides import strongest as module
from bagnet.slides.run import Slide, slide
from bagnet.slides.strongest import strongest_windows

from ..engine.classifiers import small_bagnet


@pytest.fixture
def result(tmp_path: Path) -> Slide:
    """Of random logits, some of which are missing, and some the same."""
    np.save(tmp_path / "image.npy", np.full((60, 80, 3), 128, np.uint8))
    values = np.random.default_rng(0).integers(-20, 20, (1, 40, 50)).astype(np.float32)
    values[0, :5] = np.nan
    made = slide(small_bagnet(), tmp_path / "image.npy", [0], tmp_path / "out")
    return replace(made, evidence=values, geometry=Geometry(9, 4))


def naive(values: NDArray[np.float32], count: int, steps: int) -> list[tuple[float, int, int]]:
    """Take the largest, rule out its neighbours, and again."""
    left, chosen = values.copy(), []
    while len(chosen) < count and np.isfinite(left).any():
        row, column = np.unravel_index(np.nanargmax(left), left.shape)
        chosen.append((float(left[row, column]), int(row), int(column)))
        left[max(0, row - steps + 1) : row + steps, max(0, column - steps + 1) : column + steps] = np.nan
    return chosen


@pytest.mark.parametrize(("apart", "steps"), [(1, 1), (4, 1), (5, 2), (9, 3)])
@pytest.mark.parametrize("count", [1, 7, 2000])
def test_the_strongest_apart_from_each_other(
    result: Slide, apart: int, steps: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = naive(result.evidence[0], count, steps)
    assert strongest_windows(result, 0, count, apart) == expected
    monkeypatch.setattr(module, "_BLOCK", 300)
    assert strongest_windows(result, 0, count, apart) == expected, "however large the map"


def test_where_nothing_was_computed_there_are_none(result: Slide) -> None:
    assert strongest_windows(replace(result, evidence=np.full((1, 4, 5), np.nan, np.float32)), 0, 3) == []
