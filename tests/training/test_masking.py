"""Windows that patches touch are left out of the mean, and no others."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from bagnet.certificates.patch import Patch
from bagnet.certificates.voting import Masked, covering, vote
from bagnet.geometry import Box, Geometry, Placement, Span
from bagnet.training.masking import check_masking, check_votes, hardest_windows, mean_of, random_windows, touched_cells

GRID = Geometry(5, 4)  # 8 x 8 windows of an image of 33 pixels


def test_what_is_left_out_are_the_windows_that_two_patches_touch() -> None:
    side = 7  # of 33 x 33 pixels 4 % are 43.6, a square of 6.6 pixels
    possible = {GRID.cells_touching(Box(x, y, x + side, y + side), 33, 33) for x in range(27) for y in range(27)}
    masks = []
    for box in possible:
        mask = torch.zeros(8, 8, dtype=torch.bool)
        mask[box.slices] = True
        masks.append(mask)
    singles = torch.stack(masks)
    pairs = {tuple((one | other).flatten().tolist()) for one in singles for other in singles}
    kept = random_windows(300, GRID, (33, 33), 0.04, (0, 5))
    assert {tuple(mask) for mask in (~kept).flatten(1).tolist()} <= pairs
    assert len({tuple(mask) for mask in kept.flatten(1).tolist()}) > 200
    assert not kept.flatten(1).all(1).any()


def test_the_mean_is_of_the_windows_that_are_left() -> None:
    torch.manual_seed(0)
    features = torch.randn(6, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    kept = random_windows(6, GRID, (33, 33), 0.04, (3, 9))
    pooled = mean_of(features, kept)
    for image in range(6):
        assert torch.allclose(pooled[image], features[image][:, kept[image]].mean(1), rtol=1e-12)
    (gradient,) = torch.autograd.grad(pooled.sum(), features)
    assert torch.equal(gradient[:, 0] != 0, kept)


def test_random_windows_depend_on_seed_and_step_alone() -> None:
    kept = random_windows(6, GRID, (33, 33), 0.04, (3, 9))
    assert torch.equal(kept, random_windows(6, GRID, (33, 33), 0.04, (3, 9)))
    assert not torch.equal(kept, random_windows(6, GRID, (33, 33), 0.04, (3, 10)))


@pytest.mark.parametrize("seed", range(5))
def test_the_hardest_masks_are_those_of_the_vote_that_leave_the_label_the_least_lead(seed: int) -> None:
    """By definition, one mask after the other; and the lead that is left is the vote's margin where two masks were enough."""
    random = np.random.default_rng(seed)
    maps = random.normal(size=(3, 4, 8, 8)) + np.eye(4)[:3, :, None, None] * 0.6
    runs = Patch(share=0.04, frame="input").runs(GRID, Placement.identity(33, 33))
    down, across = ([run for (run,) in covering([(run,) for run in along])] for along in runs)
    kept = hardest_windows(torch.tensor(maps), torch.arange(3), GRID, (33, 33), 0.04).numpy()
    for label in range(3):
        left = np.ones((8, 8), bool)
        for _ in range(2):
            choices = []
            for rows, columns in product(down, across):
                without = left.copy()
                without[rows.start : rows.stop, columns.start : columns.stop] = False
                means = maps[label][:, without].mean(1)
                choices.append((means[label] - np.delete(means, label).max(), without))
            left = min(choices, key=lambda choice: choice[0])[1]
        assert np.array_equal(kept[label], left)
        means = maps[label][:, left].mean(1)
        voted = vote([Masked(maps[label], down, across)])
        if voted.label == label:
            assert means[label] - np.delete(means, label).max() >= voted.margin


def test_a_mask_that_leaves_no_window_is_not_the_hardest() -> None:
    two = Geometry(5, 5)  # 2 x 1 windows of 10 x 5 pixels: a mask is either of them, two are both
    evidence = torch.tensor([[[[2.0], [-3.0]], [[0.0], [0.0]]]])
    kept = hardest_windows(evidence, torch.tensor([0]), two, (10, 5), 0.01)
    assert kept.flatten().tolist() == [False, True]
    assert hardest_windows(evidence[:, :, :1], torch.tensor([0]), two, (5, 5), 0.01).all()


def test_where_two_patches_touch_everything_nothing_is_left_out() -> None:
    two = Geometry(5, 5)  # 2 x 1 windows of 10 x 5 pixels, each of which a patch of one pixel touches
    kept = random_windows(200, two, (10, 5), 0.01, (0, 0))
    left = kept.flatten(1).sum(1)
    assert set(left.tolist()) == {1, 2}
    assert 60 < int((left == 2).sum()) < 140  # the patches touch both windows in half of the images


def test_patches_that_touch_all_windows_wherever_they_lie_are_refused() -> None:
    check_masking(GRID, (33, 33), 0.04)
    with pytest.raises(ValueError, match=r"masked=0.9 asks for patches of 32 px, which touch all windows of 5 px"):
        check_masking(GRID, (33, 33), 0.9)


def test_votes_that_leave_no_window_are_no_goal() -> None:
    """A patch of 4 % touches some of the windows of 21 pixels, but two masks of the vote hold all."""
    check_votes(GRID, (33, 33), 0.04)
    wide = Geometry(21, 4)
    check_masking(wide, (33, 33), 0.01)
    with pytest.raises(
        ValueError, match=r"masked_at=hardest asks for the vote's masks against patches of 1 %, two of which leave"
    ):
        check_votes(wide, (33, 33), 0.01)


def test_touched_cells_are_the_most_that_a_patch_touches() -> None:
    side = 7  # 4 % of 33 x 33 pixels
    spans = [GRID.touched(Span(start, start + side), 33).length for start in range(27)]
    assert touched_cells(GRID, (33, 33), 0.04) == (max(spans), max(spans))
    with pytest.raises(ValueError, match=r"margin_patch=0.9 asks for patches of 32 px"):
        check_masking(GRID, (33, 33), 0.9, "margin_patch")
