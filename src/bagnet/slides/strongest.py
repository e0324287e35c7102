"""The windows of a slide that speak most for a class."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..geometry import ceil_div
from .run import Slide

_BLOCK = 1 << 22  # cells that are looked at at a time, as a map may be larger than memory


class Strongest(NamedTuple):
    """A window: its logit, and its cell."""

    logit: float
    row: int
    column: int


def strongest_windows(slide: Slide, target: int | str, count: int = 1, apart: int = 1) -> list[Strongest]:
    """The windows that speak most for a class, strongest first; fewer where the map has fewer.

    Args:
        slide: the evidence.
        target: the class, as for `Slide.map`.
        count: how many, at least 1.
        apart: least distance between two of them, in pixels of the level along either axis; neighbours overlap, and one clue
            shows up in several.

    Raises:
        UnknownClass, AmbiguousClass: as `Slide.map`.
    """
    values = slide.map(target)
    steps = max(1, ceil_div(apart, slide.geometry.stride))
    # Each window that is chosen rules out at most so many others: what is looked for is among the strongest of so many.
    best = _largest(values, count * (2 * steps - 1) ** 2)
    chosen: list[Strongest] = []
    for cell in best:
        row, column = divmod(int(cell), values.shape[1])
        if all(max(abs(row - window.row), abs(column - window.column)) >= steps for window in chosen):
            chosen.append(Strongest(float(values[row, column]), row, column))
            if len(chosen) == count:
                break
    return chosen


def _largest(values: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """The cells with the largest values of a map, numbered row by row, of those that are numbers: the largest first, and of equal
    ones that with the lower number.
    """
    cells, logits = np.empty(0, np.int64), np.empty(0, np.float32)
    rows = max(1, _BLOCK // values.shape[1])
    for top in range(0, values.shape[0], rows):
        block = np.asarray(values[top : top + rows]).ravel()
        known = np.flatnonzero(np.isfinite(block))
        cells = np.concatenate([cells, known + top * values.shape[1]])
        logits = np.concatenate([logits, block[known]])
        if len(cells) > count:
            least = np.partition(logits, len(logits) - count)[len(logits) - count]
            above = np.flatnonzero(logits > least)
            kept = np.sort(np.concatenate([above, np.flatnonzero(logits == least)[: count - len(above)]]))
            cells, logits = cells[kept], logits[kept]
    return cells[np.argsort(-logits, kind="stable")]
