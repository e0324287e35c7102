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

Windows of several sizes, or on several scales of the image, vote together: the mean is over all windows of all grids that are
left. A member of M is then a rectangle of cells on each grid, such that all that a patch at one place touches, on all grids,
lies in one member; nothing else in the theorem or its proof asks how many grids there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..geometry import Box, Span
from .bounded import CEILING, finite
from .rectangles import Array, classes_last, held, sums_over

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
        margins: (D, A) the least lead with each mask as the first of two.
    """

    label: int
    certified: bool
    unanimous: bool
    margin: float
    worst: Box
    rival: int
    margins: Array


class Masked(NamedTuple):
    """The windows of one grid, and what each mask takes away of them.

    Args:
        values: (K, h, w) logits.
        down: of each mask, the rows of cells.
        across: likewise, the columns. A mask is one of `down` and one of `across`, of all grids that vote together at once.
    """

    values: Array
    down: Sequence[Span]
    across: Sequence[Span]


def covering(runs: Sequence[Sequence[Span]], most: int = MASKS) -> list[tuple[Span, ...]]:
    """Runs of cells, at most so many, such that each of `runs` lies in one of them, on each grid: the masks along an axis.

    Args:
        runs: of `Patch.joint_runs`: for each place of a patch along an axis, the run of cells on each grid.
        most: of masks.
    """
    step = -(-len(runs) // most)
    groups = [runs[start : start + step] for start in range(0, len(runs), step)]
    return [tuple(_hull(spans) for spans in zip(*group, strict=True)) for group in groups]


def _hull(spans: Sequence[Span]) -> Span:
    """The run that holds some."""
    full = [span for span in spans if span.length]
    return Span(min(span.start for span in full), max(span.stop for span in full)) if full else Span(0, 0)


def vote(maps: Sequence[Masked], *, slack: float = 0.0) -> Vote:
    """The answer of the voting classifier, and whether a patch can change it.

    Args:
        maps: of each grid, of the same two classes at least, with as many masks.
        slack: that a mean of logits may be off by rounding.

    Raises:
        ValueError: two masks leave no window.
    """
    singles, pairs = _means(maps)
    answers = singles.argmax(0)
    down, across = maps[0].down, maps[0].across
    of_two = _of_two(len(down), len(across))
    label = _answer(answers, pairs, of_two)
    ahead = pairs[label].copy()
    pairs[label] = -np.inf
    leads = (ahead - pairs.max(0))[of_two]  # (M, M)
    worst = int(leads.argmin())
    row, column = divmod(worst // len(of_two), len(across))
    cells = sum(each.values[0].size for each in maps)
    margins = leads.min(1).reshape(len(down), len(across)) - 2 * (slack + rounding(cells))
    least = float(margins.min())
    box = Box(across[column].start, down[row].start, across[column].stop, down[row].stop)
    rival = int(pairs[:, of_two.flat[worst]].argmax())
    return Vote(label, least > 0, bool((answers == answers[0]).all()), least, box, rival, margins)


def rounding(cells: int) -> float:
    """How far a mean of the windows outside masks may be off, whatever those inside say: n sums of n terms, one by one."""
    return cells**2 * CEILING * 2.0**-52


def _means(maps: Sequence[Masked]) -> tuple[Array, Array]:
    """(K, M) mean logits outside each mask, and (K, P) outside each two, in the order of `_of_two`."""
    kept = [_kept(finite(classes_last(each.values)), each.down, each.across) for each in maps]
    counts = [_kept(np.ones((1, *each.values.shape[1:])), each.down, each.across) for each in maps]
    (singles, pairs), (left, left_by_two) = (tuple(map(_total, zip(*parts, strict=True))) for parts in (kept, counts))
    if left_by_two.min() <= 0:
        of = " and ".join(f"{rows} x {columns}" for rows, columns in (each.values.shape[1:] for each in maps))
        size = f"{maps[0].down[0].length} x {maps[0].across[0].length}"
        raise ValueError(f"two masks of {size} windows leave none of {of}: choose smaller patches")
    singles /= left
    pairs /= left_by_two
    return singles, pairs


def _total(parts: Sequence[Array]) -> Array:
    """The sum over grids, in the place of the first."""
    total, *further = parts
    for part in further:
        total += part
    return total


def _kept(maps: Array, down: Sequence[Span], across: Sequence[Span]) -> tuple[Array, Array]:
    """(K, M) sums outside each mask, and (K, P) outside each two."""
    count, height, width = maps.shape
    rows, columns = held(down, height), held(across, width)
    first, second = _two(len(down))
    masked = sums_over(maps, rows, columns)  # (K, D, A)
    columns_of_two = (columns[:, None] * columns).reshape(-1, width)
    kept = sums_over(maps, rows[first] * rows[second], columns_of_two).reshape(count, len(first), len(across), len(across))
    kept -= masked[:, first, :, None]
    kept -= masked[:, second, None, :]
    total = maps.sum((1, 2))
    kept += total[:, None, None, None]
    return total[:, None] - masked.reshape(count, -1), kept.reshape(count, -1)


def _two(count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The first and the second of each two, or of one twice: the order of two masks does not matter."""
    first, second = np.triu_indices(count)
    return first, second


@lru_cache(maxsize=64)
def _of_two(down: int, across: int) -> NDArray[np.intp]:
    """(M, M) which of the P pairs two masks are: rows as in `_two`, each with the columns of both."""
    first, second = _two(down)
    numbers = np.zeros((down, across, down, across), np.intp)
    columns = np.arange(across * across).reshape(across, across)
    for pair, (upper, lower) in enumerate(zip(first, second, strict=True)):
        numbers[lower, :, upper, :] = pair * across * across + columns.T
        numbers[upper, :, lower, :] = pair * across * across + columns
    return numbers.reshape(down * across, -1)


def _answer(answers: NDArray[np.intp], pairs: Array, of_two: NDArray[np.intp]) -> int:
    """Of the voting classifier."""
    counts = np.bincount(answers)
    majority = int(counts.argmax())
    if counts[majority] == len(answers):
        return majority
    second = pairs.argmax(0)[of_two]
    for mask in np.flatnonzero(answers != majority):
        if (second[mask] == answers[mask]).all():
            return int(answers[mask])
    return majority
