"""From what was masked to what an audit reports: confusions with their causes, and patterns ranked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from ...statistics import mean
from .decisive import AGAINST, FOR, Decisive
from .findings import Cause, Confusion, Example, Flips, Ints, RankedPattern
from .masking import ConfusedImages, Outcome, Outcomes
from .patterns import Pattern, cluster, members, relative_positions

_BINS = 16  # of a map of positions, at most, along each axis


def find_confused(decisive: Decisive, targets: Ints, count: int, seed: int) -> list[ConfusedImages]:
    """The images of the most common confusions, with the windows that caused them clustered."""
    wrong = np.flatnonzero((decisive.predicted >= 0) & (decisive.predicted != targets))
    pairs = np.stack([targets[wrong], decisive.predicted[wrong]], 1)
    kinds, inverse, images = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    confused = []
    for kind in np.argsort(-images, kind="stable")[:count]:
        chosen = wrong[inverse.reshape(-1) == kind]
        rows, windows = members(decisive, chosen, AGAINST)
        groups = cluster(decisive.features[rows, AGAINST, windows].astype(np.float32), seed)
        causes = {int(row): groups[rows == row].tolist() for row in chosen}
        confused.append(ConfusedImages(int(kinds[kind][0]), int(kinds[kind][1]), chosen, causes))
    return confused


def tally_confusions(
    confused: Sequence[ConfusedImages], decisive: Decisive, outcomes: Outcomes, targets: Ints, examples: int
) -> tuple[Confusion, ...]:
    """What masking says of each confusion, with so many examples of each cause at most."""
    return tuple(_confusion(group, decisive, outcomes, targets, examples) for group in confused)


def rank_patterns(
    patterns: Sequence[Pattern], decisive: Decisive, outcomes: Outcomes, targets: Ints, examples: int
) -> tuple[RankedPattern, ...]:
    """What masking says of each pattern, ranked within its class, with so many examples of each at most."""
    unranked = [_measured(number, pattern, decisive, outcomes, targets, examples) for number, pattern in enumerate(patterns)]
    unranked.sort(key=lambda pattern: (pattern.label, -pattern.score, -pattern.images))
    of_class = [list(group) for _, group in groupby(unranked, key=lambda pattern: pattern.label)]
    return tuple(replace(pattern, rank=rank) for group in of_class for rank, pattern in enumerate(group, 1))


def numbered(
    decisive: Decisive, confused: Sequence[ConfusedImages], patterns: Sequence[Pattern], ranked: Sequence[RankedPattern]
) -> Ints:
    """(N, 2, W): see `Audit.clusters`."""
    numbers = np.zeros(decisive.cells.shape, np.int64)
    for entry in ranked:
        pattern = patterns[entry.pattern]
        numbers[pattern.rows, FOR, pattern.windows] = entry.rank
    for group in confused:
        for row, causes in group.causes.items():
            numbers[row, AGAINST, : len(causes)] = np.asarray(causes) + 1
    return numbers


def _confusion(group: ConfusedImages, decisive: Decisive, outcomes: Outcomes, targets: Ints, examples: int) -> Confusion:
    rows = group.rows.tolist()
    causes = []
    for cause in sorted({cause for causes in group.causes.values() for cause in causes}):
        pairs = [(row, window) for row in rows for window, number in enumerate(group.causes[row]) if number == cause]
        flips = _flips([outcomes.causes[row, cause] for row in sorted({row for row, _ in pairs})], group)
        causes.append(Cause(len(pairs), flips, _examples(decisive, targets, pairs, AGAINST, examples)))
    return Confusion(
        true=group.true,
        predicted=group.predicted,
        class_images=int(((targets == group.true) & (decisive.predicted >= 0)).sum()),
        masked=_flips([outcomes.confused[row] for row in rows], group),
        control=_flips([outcomes.control[row, len(group.causes[row])] for row in rows], group),
        causes=tuple(causes),
    )


def _flips(outcomes: Sequence[Outcome], group: ConfusedImages) -> Flips:
    labels = [outcome.label for outcome in outcomes]
    third = sum(label not in (group.true, group.predicted) for label in labels)
    return Flips(len(labels), labels.count(group.true), third, sum(outcome.true_ahead for outcome in outcomes))


def _measured(
    number: int, pattern: Pattern, decisive: Decisive, outcomes: Outcomes, targets: Ints, examples: int
) -> RankedPattern:
    """Not ranked yet."""
    label, rows = pattern.label, pattern.images.tolist()
    masked = [outcomes.patterns[row, number] for row in rows]
    control = [outcomes.control[row, len(pattern.of_image(row))] for row in rows]
    readable, predicted = decisive.predicted >= 0, decisive.predicted == label
    elsewhere = readable & (targets != label)
    present_in_class, present_elsewhere, present_and_predicted = outcomes.present[number].tolist()
    positions = relative_positions(decisive, pattern.rows, pattern.windows)
    drops, control_drops = np.zeros((2, int(predicted.sum())))  # of predictions without the pattern: nothing
    drops[: len(rows)] = [outcome.margin_drop for outcome in masked]
    control_drops[: len(rows)] = [outcome.margin_drop for outcome in control]
    pairs = list(zip(pattern.rows.tolist(), pattern.windows.tolist(), strict=True))
    return RankedPattern(
        label=label,
        rank=0,
        predictions=int(predicted.sum()),
        images=len(rows),
        windows=len(pairs),
        margin_drop=float(drops.mean()),
        control_margin_drop=float(control_drops.mean()),
        margin_drop_over_control=mean(drops - control_drops),
        flips=sum(outcome.label != label for outcome in masked),
        control_flips=sum(outcome.label != label for outcome in control),
        evidence_share=float(decisive.evidence_shares[pattern.rows, FOR, pattern.windows].sum() / len(rows)),
        masked_area=float(np.mean([outcome.masked_area for outcome in masked])),
        appearance_similarity=pattern.appearance_similarity,
        position_similarity=pattern.position_similarity,
        position_counts=_histogram(positions, tuple(_bins(int(cells)) for cells in decisive.grids.max(0))),
        position_ninths=_histogram(positions, (3, 3)) / len(pairs),
        class_images=int((readable & (targets == label)).sum()),
        present_in_class=present_in_class,
        other_images=int(elsewhere.sum()),
        present_elsewhere=present_elsewhere,
        present_and_predicted=present_and_predicted,
        absent_and_predicted=int((elsewhere & predicted).sum()) - present_and_predicted,
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
            decisive.cell(row, role, best[row]),
            float(decisive.logits[row, role, best[row]]),
            int(targets[row]),
            int(decisive.predicted[row]),
        )
        for row in order
    )


def _bins(cells: int) -> int:
    """As many as there are cells, or a fraction of it that keeps them even."""
    return -(-cells // -(-cells // _BINS))


def _histogram(positions: NDArray[np.float64], shape: tuple[int, ...]) -> Ints:
    """(n, 2) positions from 0 to 1 -> how many lie in each bin."""
    counts = np.zeros(shape, np.int64)
    np.add.at(counts, tuple(np.minimum((positions * shape).astype(np.int64), np.array(shape) - 1).T), 1)
    return counts
