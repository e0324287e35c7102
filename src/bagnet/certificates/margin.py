"""Margin certificates: by how much an answer leads over every rival, whatever the touched windows say.

The classifier is the argmax over classes of the sum over windows of bounded scores s. A patch touches the windows of one
rectangle R of cells at most. Let y be the answer, c a rival, and let s'_y - s'_c >= apart at each window, whatever it is
shown. Then

    sum over all windows of (s'_y - s'_c)  >=  sum outside R of (s_y - s_c) + |R| apart,

as outside R nothing has changed. Where the right side is positive for every rival c and every rectangle R that the patch can
touch, the answer stays. It is the sum over all windows of (s_y - s_c) less the sum over R of (s_y - s_c - apart), whose terms
are never negative: for several patches, the largest such sum counts once for each. (Of this form are the certificates of
Clipped BagNet, PatchGuard and BagCert; here all rivals are tested, not the runner-up alone.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..geometry import Box, Span
from .rectangles import Array, sums


@dataclass(frozen=True, slots=True)
class Margin:
    """What is left of the lead.

    Args:
        value: the least sum of score differences to the rival that comes closest, less what rounding may do; positive where no
            patch can change the answer. For the best k, that of the k-th closest rival.
        worst: the cells where a patch costs most.
        rival: the class that comes closest.
        margins: (R, C) what is left with a patch at each place; of several patches, the same at all.
    """

    value: float
    worst: Box
    rival: int
    margins: Array


def margin(
    scores: Array,
    label: int,
    rows: Sequence[Span],
    columns: Sequence[Span],
    apart: float,
    *,
    count: int = 1,
    best: int = 1,
    slack: float = 0.0,
) -> Margin:
    """The least lead of a class over all rivals and places.

    Args:
        scores: (K, h, w), bounded.
        label: that is to stay among the `best`.
        rows: runs of cells that a patch touches, from `Patch.runs`.
        columns: likewise.
        apart: as in `Aggregation`.
        count: of patches.
        best: how many classes may be shown to be ahead of nobody: 1 for the answer.
        slack: that rounding may cost.

    Raises:
        ValueError: there are no more classes than `best`.
    """
    if not 0 < best < len(scores):
        raise ValueError(f"of {len(scores)} classes there is no question of the best {best}")
    total, inside = scores.sum((1, 2)), sums(scores, rows, columns).reshape(len(scores), -1)  # (K,), (K, R x C)
    touched = np.multiply.outer([run.length for run in rows], [run.length for run in columns]).ravel()
    cost = (inside[label] - apart * touched) - inside
    left = (total[label] - total)[:, None] - count * (cost if count == 1 else cost.max(1, keepdims=True))
    left[label] = np.inf
    # At one place the k-th smallest over rivals; then the worst place.
    ranked = left.min(0) if best == 1 else np.partition(left, best - 1, axis=0)[best - 1]
    place = int(ranked.argmin())
    rival = int(np.argsort(left[:, place], kind="stable")[best - 1])
    spent = int(cost[rival].argmax()) if count > 1 else place
    row, column = rows[spent // len(columns)], columns[spent % len(columns)]
    margins = np.broadcast_to(ranked, len(rows) * len(columns)).reshape(len(rows), len(columns)) - slack
    return Margin(float(ranked[place]) - slack, Box(column.start, row.start, column.stop, row.stop), rival, margins)
