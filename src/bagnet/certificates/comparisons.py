"""Certificates of the literature beside ours, for tables of comparison alone: what they prove, and what they cost in accuracy.

All take the logits of windows and the runs of cells that a patch can touch. Each bounds a classifier of its own; ties and what
rounding may do count against it by `slack`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from ..geometry import Span
from .bounded import finite
from .margin import margin
from .rectangles import Array, sums

Runs = Sequence[Span]


class Compared(NamedTuple):
    """The classifier's answer, and whether no patch changes it."""

    label: int
    certified: bool


def majority(values: Array, rows: Runs, columns: Runs, slack: float = 0.0) -> Compared:
    """Each window votes for its best class, as in derandomised smoothing (Levine & Feizi 2020); of as many votes, for no class.

    A touched window can take its vote from the answer and give it to a rival.
    """
    values = finite(values)
    second, best = np.partition(values, -2, axis=0)[-2:]
    return _summed(((values == best) & (best - second > 2 * slack)).astype(float), rows, columns)


def heaviside(values: Array, rows: Runs, columns: Runs, slack: float = 0.0) -> Compared:
    """Each window says yes or no to each class by the sign of its logit (BagCert, Metzen & Yatsura 2021)."""
    return _summed((finite(values) > slack).astype(float), rows, columns)


def robust_masking(values: Array, rows: Runs, columns: Runs, slack: float = 0.0) -> Compared:
    """PatchGuard (Xiang et al. 2021) at its own threshold, 0, of all rivals: of each class the loudest rectangle is left out.

    The classifier takes, for each class, the sum of positive logits less the largest sum over a rectangle that a patch can touch.
    With a patch on a rectangle R, a rival keeps at most its sum outside R, as its loudest rectangle is no quieter than R; the
    answer keeps at least its sum outside R less the loudest rectangle of what is left there, as a patch can only add to it.
    """
    scores = np.clip(finite(values), 0.0, None)
    total, inside = scores.sum((1, 2)), sums(scores, rows, columns)
    label = int((total - inside.max((1, 2))).argmax())
    least = min(
        float(_kept(scores[label], row, column, rows, columns)) - float(np.delete(outside, label).max())
        for row, outsides in zip(rows, (total[:, None, None] - inside).transpose(1, 2, 0), strict=True)
        for column, outside in zip(columns, outsides, strict=True)
    )
    return Compared(label, least > 2 * values[0].size * slack)


def _kept(scores: Array, row: Span, column: Span, rows: Runs, columns: Runs) -> float:
    """What a class keeps of its sum where a patch silences one rectangle, and the loudest of the rest is left out, too."""
    left = scores.copy()
    left[row.start : row.stop, column.start : column.stop] = 0
    return float(left.sum() - sums(left[None], rows, columns).max())


def _summed(votes: Array, rows: Runs, columns: Runs) -> Compared:
    """Of scores of 0 and 1."""
    label = int(votes.sum((1, 2)).argmax())
    return Compared(label, margin(votes, label, rows, columns, -1.0).value > 0)


COMPARISONS: Mapping[str, Callable[[Array, Runs, Runs, float], Compared]] = MappingProxyType(
    {"majority": majority, "heaviside": heaviside, "robust masking": robust_masking}
)
