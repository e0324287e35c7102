"""Two-mask voting on the map of evidence: PatchCleanser's double masking (Xiang et al. 2022), from one pass of the network as in
PatchCURE (2024), as windows can be left out of a mean without running the network again.

The classifier. M is a set of rectangles of cells, such that whatever a patch touches lies in one of them. Let a(m) be the
class with the largest mean logit over the windows outside m, and a(m, m') outside both. Where all a(m) are one class, that is
the answer. Else the class of most a(m) is the majority; for each m whose a(m) is another class: where a(m, m') = a(m) for all
m', that is the answer. Else the majority is.

The theorem. Let a(m, m') = y for all m, m' in M, on the image as it is. Then the answer is y whatever a patch shows. Proof:
what the patch touches lies in some m* of M. Outside m*, nothing has changed: a'(m*, m') = a(m*, m') = y for all m'; with m' =
m*, a'(m*) = y. Were all a'(m) one class, it would be y. Else take any m with a'(m) != y: a'(m, m*) = a(m, m*) = y, so that m
does not carry its class. So either some m with a'(m) = y is in the minority and carries y (m* does: a'(m*, m') = y for all
m'), or y is the majority: the answer is y. It was y without the patch, too: all a(m) = a(m, m) = y. The classifier that is
certified is this one, and its answers are those that are counted as right. "Nothing has changed" outside m* holds of the sums
as they are computed, too: they are totals less what is masked, whose terms are within CEILING (`finite`), and what that rounds
is kept back (`rounding`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..geometry import Box, Span
from .bounded import CEILING, finite
from .rectangles import Array, overlaps, running, sums

MASKS = 6  # along an axis, at most: more are smaller, and cost more


@dataclass(frozen=True, slots=True)
class Vote:
    """What voting answers.

    Args:
        label: the answer.
        certified: no patch changes it.
        unanimous: all single masks agree: there is no alarm.
        margin: the least lead of the answer over any rival under two masks, as a mean of logits; negative where another leads.
        worst: the first mask of those two.
        rival: the class that comes closest there.
    """

    label: int
    certified: bool
    unanimous: bool
    margin: float
    worst: Box
    rival: int


def masks(runs: Sequence[Span], cells: int, most: int = MASKS) -> list[Span]:
    """Runs of cells, at most so many and all of one length, such that each of `runs` lies in one of them."""
    longest = max(run.length for run in runs)
    starts = cells - longest + 1  # places of a run of that length
    step = max(1, -(-starts // most))
    length = min(cells, longest + step - 1)
    return [Span(start, start + length) for start in sorted({min(start, cells - length) for start in range(0, starts, step)})]


def vote(values: Array, rows: Sequence[Span], columns: Sequence[Span], *, most: int = MASKS, slack: float = 0.0) -> Vote:
    """The answer of the voting classifier, and whether a patch can change it.

    Args:
        values: (K, h, w) logits of windows, of two classes at least.
        rows: runs of cells that a patch touches, from `Patch.runs`.
        columns: likewise.
        most: masks along an axis.
        slack: that a mean of logits may be off by rounding.

    Raises:
        ValueError: two masks leave no window.
    """
    down, across = masks(rows, values.shape[1], most), masks(columns, values.shape[2], most)
    singles, pairs = _means(values, down, across)
    answers = singles.argmax(0)
    label = _answer(answers, pairs)
    rivals = pairs.copy()
    rivals[label] = -np.inf
    leads = pairs[label] - rivals.max(0)
    worst = int(leads.argmin())
    mask = worst // len(answers)
    row, column = down[mask // len(across)], across[mask % len(across)]
    least = float(leads[worst]) - 2 * (slack + rounding(values[0].size))
    box = Box(column.start, row.start, column.stop, row.stop)
    return Vote(label, least > 0, bool((answers == answers[0]).all()), least, box, int(rivals[:, worst].argmax()))


def rounding(cells: int) -> float:
    """How far a mean of the windows outside masks may be off, whatever those inside say: n sums of n terms, one by one."""
    return cells**2 * CEILING * 2.0**-52


def _means(values: Array, down: Sequence[Span], across: Sequence[Span]) -> tuple[Array, Array]:
    """(K, M) mean logits outside each mask, and (K, M x M) outside each two."""
    values = finite(values)
    table, count = running(values), values[0].size
    masked = sums(table, down, across).reshape(len(values), -1)
    both = sums(table, overlaps(down), overlaps(across))  # (K, D x D, A x A)
    d, a = len(down), len(across)
    both = both.reshape(len(values), d, d, a, a).transpose(0, 1, 3, 2, 4).reshape(len(values), d * a, d * a)
    sizes = sums(running(np.ones((1, *values.shape[1:]))), down, across).ravel()
    shared = sums(running(np.ones((1, *values.shape[1:]))), overlaps(down), overlaps(across))
    shared = shared.reshape(d, d, a, a).transpose(0, 2, 1, 3).reshape(d * a, d * a)
    left = count - (sizes[:, None] + sizes - shared)
    if left.min() <= 0:
        of = f"{values.shape[1]} x {values.shape[2]}"
        raise ValueError(f"two masks of {down[0].length} x {across[0].length} windows leave none of {of}: choose smaller patches")
    total = values.sum((1, 2))[:, None]
    singles: Array = (total - masked) / (count - sizes)
    pairs = total[:, :, None] - (masked[:, :, None] + masked[:, None, :] - both)
    pairs = (pairs / left).reshape(len(values), -1)
    return singles, pairs


def _answer(answers: NDArray[np.intp], pairs: Array) -> int:
    """Of the voting classifier."""
    counts = np.bincount(answers)
    majority = int(counts.argmax())
    if counts[majority] == len(answers):
        return majority
    second = pairs.argmax(0).reshape(len(answers), len(answers))
    for mask in np.flatnonzero(answers != majority):
        if (second[mask] == answers[mask]).all():
            return int(answers[mask])
    return majority
