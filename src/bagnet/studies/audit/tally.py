"""From what was masked to what was found: mistakes with their causes, and patterns ranked as shortcuts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from ...statistics import mean
from .decisive import AGAINST, FOR, Decisive
from .findings import Cause, Confusion, Example, Flips, Ints, Shortcut
from .masking import Answer, Masked, Mistakes
from .patterns import Pattern, cluster, members, relative_places

_BINS = 16  # of a map of places, at most, along each axis


def find_mistakes(decisive: Decisive, targets: Ints, count: int, seed: int) -> list[Mistakes]:
    """The most common confusions, with the windows that caused them clustered."""
    wrong = np.flatnonzero((decisive.predicted >= 0) & (decisive.predicted != targets))
    pairs = np.stack([targets[wrong], decisive.predicted[wrong]], 1)
    kinds, inverse, images = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    found = []
    for kind in np.argsort(-images, kind="stable")[:count]:
        chosen = wrong[inverse.reshape(-1) == kind]
        rows, windows = members(decisive, chosen, AGAINST)
        groups = cluster(decisive.features[rows, AGAINST, windows].astype(np.float32), seed)
        causes = {int(row): groups[rows == row].tolist() for row in chosen}
        found.append(Mistakes(int(kinds[kind][0]), int(kinds[kind][1]), chosen, causes))
    return found


def find_confusions(
    mistakes: Sequence[Mistakes], decisive: Decisive, masked: Masked, targets: Ints, examples: int
) -> tuple[Confusion, ...]:
    """What masking said of each kind of mistake, with so many examples of each cause at most."""
    return tuple(_confusion(one, decisive, masked, targets, examples) for one in mistakes)


def find_shortcuts(
    patterns: Sequence[Pattern], decisive: Decisive, masked: Masked, targets: Ints, examples: int
) -> tuple[Shortcut, ...]:
    """What masking said of each pattern, ranked within its class, with so many examples of each at most."""
    found = [_shortcut(number, one, decisive, masked, targets, examples) for number, one in enumerate(patterns)]
    found.sort(key=lambda one: (one.label, -one.score, -one.images))
    of_class = [list(group) for _, group in groupby(found, key=lambda one: one.label)]
    return tuple(replace(one, rank=rank) for group in of_class for rank, one in enumerate(group, 1))


def numbered(
    decisive: Decisive, mistakes: Sequence[Mistakes], patterns: Sequence[Pattern], shortcuts: Sequence[Shortcut]
) -> Ints:
    """(N, 2, W): see `Audit.clusters`."""
    found = np.zeros(decisive.cells.shape, np.int64)
    for one in shortcuts:
        pattern = patterns[one.pattern]
        found[pattern.rows, FOR, pattern.windows] = one.rank
    for mistake in mistakes:
        for row, causes in mistake.causes.items():
            found[row, AGAINST, : len(causes)] = np.asarray(causes) + 1
    return found


def _confusion(one: Mistakes, decisive: Decisive, masked: Masked, targets: Ints, examples: int) -> Confusion:
    rows = one.rows.tolist()
    after = [masked.mistakes[row] for row in rows]
    lots = [masked.control[row, len(one.causes[row])] for row in rows]
    causes = []
    for cause in sorted({cause for causes in one.causes.values() for cause in causes}):
        pairs = [(row, window) for row in rows for window, own in enumerate(one.causes[row]) if own == cause]
        inside = sorted({row for row, _ in pairs})
        then = [masked.causes[row, cause] for row in inside]
        shown = _examples(decisive, targets, pairs, AGAINST, examples)
        causes.append(Cause(len(pairs), _flips(then, one), shown))
    readable = int(((targets == one.true) & (decisive.predicted >= 0)).sum())
    return Confusion(one.true, one.predicted, readable, _flips(after, one), _flips(lots, one), tuple(causes))


def _flips(answers: Sequence[Answer], one: Mistakes) -> Flips:
    labels = [answer.label for answer in answers]
    third = sum(label not in (one.true, one.predicted) for label in labels)
    return Flips(len(labels), labels.count(one.true), third, sum(answer.ahead for answer in answers))


def _shortcut(number: int, pattern: Pattern, decisive: Decisive, masked: Masked, targets: Ints, examples: int) -> Shortcut:
    """Not ranked yet."""
    label, rows = pattern.label, pattern.images.tolist()
    after = [masked.patterns[row, number] for row in rows]
    lots = [masked.control[row, len(pattern.of_image(row))] for row in rows]
    known, taken = decisive.predicted >= 0, decisive.predicted == label
    own, others = known & (targets == label), known & (targets != label)
    own_having, others_having, taken_having = masked.having[number].tolist()
    places = relative_places(decisive, pattern.rows, pattern.windows)
    lost, control_lost = np.zeros((2, int(taken.sum())))  # of predictions without the pattern: nothing
    lost[: len(rows)], control_lost[: len(rows)] = [one.lost for one in after], [one.lost for one in lots]
    pairs = list(zip(pattern.rows.tolist(), pattern.windows.tolist(), strict=True))
    return Shortcut(
        label=label,
        rank=0,
        predictions=int(taken.sum()),
        images=len(rows),
        windows=len(pairs),
        lost=float(lost.mean()),
        control_lost=float(control_lost.mean()),
        beyond=mean(lost - control_lost),
        falls=sum(answer.label != label for answer in after),
        control_falls=sum(answer.label != label for answer in lots),
        carried=float(decisive.carried[pattern.rows, FOR, pattern.windows].sum() / len(rows)),
        area=float(np.mean([answer.area for answer in after])),
        look=pattern.look,
        place=pattern.place,
        places=_histogram(places, tuple(_bins(int(cells)) for cells in decisive.grids.max(0))),
        parts=_histogram(places, (3, 3)) / len(pairs),
        own=int(own.sum()),
        own_having=own_having,
        others=int(others.sum()),
        others_having=others_having,
        taken_having=taken_having,
        taken_without=int((others & taken).sum()) - taken_having,
        examples=_examples(decisive, targets, pairs, FOR, examples),
        pattern=number,
    )


def _examples(decisive: Decisive, targets: Ints, pairs: Sequence[tuple[int, int]], role: int, count: int) -> tuple[Example, ...]:
    """The strongest window of each image, of the images where it is strongest."""
    best: dict[int, int] = {}
    for row, window in sorted(pairs):
        best.setdefault(row, window)  # an image's windows are in order of strength
    order = sorted(best, key=lambda row: -decisive.logits[row, role, best[row]])[:count]
    return tuple(
        Example(
            row,
            decisive.place(row, role, best[row]),
            float(decisive.logits[row, role, best[row]]),
            int(targets[row]),
            int(decisive.predicted[row]),
        )
        for row in order
    )


def _bins(cells: int) -> int:
    """As many as there are cells, or a fraction of it that keeps them even."""
    return -(-cells // -(-cells // _BINS))


def _histogram(places: NDArray[np.float64], shape: tuple[int, ...]) -> Ints:
    """(n, 2) places from 0 to 1 -> how many lie in each bin."""
    found = np.zeros(shape, np.int64)
    np.add.at(found, tuple(np.minimum((places * shape).astype(np.int64), np.array(shape) - 1).T), 1)
    return found
