"""The vote is the one that its definition describes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bagnet.certificates.voting import Masked, covering, vote
from bagnet.geometry import Box, Span


class Slow:
    """The voting classifier, as the docstring of `voting` defines it."""

    def __init__(self, maps: Sequence[Masked]) -> None:
        places = list(product(range(len(maps[0].down)), range(len(maps[0].across))))
        left = {place: [self._outside(each, *place) for each in maps] for place in places}
        self.places = places
        self.means = {
            (first, second): np.concatenate(
                [each.values[:, one & two] for each, one, two in zip(maps, left[first], left[second], strict=True)], 1
            ).mean(1)
            for first, second in product(places, places)
        }

    @staticmethod
    def _outside(masked: Masked, down: int, across: int) -> np.ndarray:
        left = np.ones(masked.values.shape[1:], bool)
        rows, columns = masked.down[down], masked.across[across]
        left[rows.start : rows.stop, columns.start : columns.stop] = False
        return left

    @property
    def label(self) -> int:
        single = {place: int(self.means[place, place].argmax()) for place in self.places}
        counts = np.bincount(list(single.values()))
        majority = int(counts.argmax())
        for place, answer in single.items():
            if answer != majority and all(self.means[place, second].argmax() == answer for second in self.places):
                return answer
        return majority

    def lead(self, first: tuple[int, int], label: int) -> tuple[float, int]:
        """The least lead of a class with a mask as the first of two, and over whom."""
        leads = []
        for second in self.places:
            means = self.means[first, second]
            rivals = np.where(np.arange(len(means)) == label, -np.inf, means)
            leads.append((float(means[label] - rivals.max()), int(rivals.argmax())))
        return min(leads)


def spans(length: int, size: int) -> list[Span]:
    return [Span(start, start + size) for start in range(length - size + 1)]


@st.composite
def ballots(draw: st.DrawFn) -> list[Masked]:
    """Evidence of one grid or two, of classes that are close to each other, or far behind one."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    classes = draw(st.sampled_from((2, 3, 12)))
    ahead = np.zeros(classes)
    ahead[random.integers(classes)] = draw(st.sampled_from((0.0, 0.6, 3.0)))
    ahead[random.integers(classes)] += draw(st.sampled_from((0.0, 0.5)))
    maps = []
    sides = draw(st.sampled_from(((5,), (6,), (4, 6))))
    down, across = (  # a run of each grid for each place of a patch, which touches more of the finer grid
        list(zip(*covering(list(zip(*(_runs(side + more, sides[0] + more) for side in sides), strict=True)), 3), strict=True))
        for more in (0, 1)
    )
    for side, rows, columns in zip(sides, down, across, strict=True):
        values = random.normal(0, draw(st.sampled_from((0.3, 1.0, 4.0))), (classes, side, side + 1)) + ahead[:, None, None]
        maps.append(Masked(values, rows, columns))
    return maps


def _runs(cells: int, places: int) -> list[Span]:
    """One cell at each of some places, or two of a finer grid."""
    return [Span(place * cells // places, place * cells // places + 1 + (cells > places)) for place in range(places)]


@given(ballots())
@settings(max_examples=300)
def test_the_vote_is_that_of_the_definition(maps: list[Masked]) -> None:
    voted, slow = vote(maps), Slow(maps)
    assert voted.label == slow.label
    leads = [slow.lead(place, voted.label) for place in slow.places]
    assert np.allclose(voted.margins.ravel(), [lead for lead, _ in leads], atol=1e-7), "but for what is kept back"
    least, rival = min(leads)
    assert voted.margin == pytest.approx(least, abs=1e-7)
    assert voted.rival == rival
    boxes = [
        Box(maps[0].across[a].start, maps[0].down[d].start, maps[0].across[a].stop, maps[0].down[d].stop) for d, a in slow.places
    ]
    assert leads[boxes.index(voted.worst)][0] == pytest.approx(least, abs=1e-9), "or the second of the two: which is no matter"
    assert voted.certified == (least > 1e-7)
    singles = [int(slow.means[place, place].argmax()) for place in slow.places]
    assert voted.unanimous == (len(set(singles)) == 1)


def test_a_minority_that_stays_under_every_second_mask_carries() -> None:
    """One window is so loud for class 0 that it decides wherever it is not masked; without it class 1 leads everywhere."""
    values = np.zeros((3, 4, 4))
    values[1] = 1.0
    values[0, 0, 0] = 100.0
    runs = [Span(0, 1), Span(1, 2), Span(2, 3), Span(3, 4)]
    voted = vote([Masked(values, runs, runs)])
    assert (voted.label, voted.certified, voted.unanimous) == (1, False, False)
    assert voted.rival == 0
    values[2, 1, 1] = 100.0  # now no mask takes away both
    assert vote([Masked(values, runs, runs)]).label == 0


def test_masks_hold_every_run_and_are_no_more_than_asked_for() -> None:
    runs = [(span,) for span in spans(14, 5)]
    for most, count, length in ((6, 5, 6), (10, 10, 5), (1, 1, 14), (3, 3, 8)):
        made = [run for (run,) in covering(runs, most)]
        assert len(made) == count
        assert max(run.length for run in made) == length
        assert all(any(mask.start <= run.start and run.stop <= mask.stop for mask in made) for (run,) in runs)


def test_two_masks_that_leave_nothing_are_refused() -> None:
    values = np.zeros((2, 2, 2))
    with pytest.raises(ValueError, match="two masks of 2 x 1 windows leave none of 2 x 2"):
        vote([Masked(values, [Span(0, 2)], [Span(0, 1), Span(1, 2)])])
