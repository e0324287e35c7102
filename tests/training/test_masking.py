"""Windows that random patches touch are left out of the mean, and no others."""

from __future__ import annotations

import pytest
import torch

from bagnet.geometry import Box, Geometry, Span
from bagnet.training.masking import check_masking, touched_cells, unmasked_mean, unmasked_windows

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
    kept = unmasked_windows(300, GRID, (33, 33), 0.04, (0, 5))
    assert {tuple(mask) for mask in (~kept).flatten(1).tolist()} <= pairs
    assert len({tuple(mask) for mask in kept.flatten(1).tolist()}) > 200
    assert not kept.flatten(1).all(1).any()


def test_the_mean_is_of_the_windows_that_are_left_and_depends_on_seed_and_step_alone() -> None:
    torch.manual_seed(0)
    features = torch.randn(6, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    kept = unmasked_windows(6, GRID, (33, 33), 0.04, (3, 9))
    pooled = unmasked_mean(features, GRID, (33, 33), 0.04, (3, 9))
    for image in range(6):
        assert torch.allclose(pooled[image], features[image][:, kept[image]].mean(1), rtol=1e-12)
    (gradient,) = torch.autograd.grad(pooled.sum(), features)
    assert torch.equal(gradient[:, 0] != 0, kept)
    assert torch.equal(pooled, unmasked_mean(features, GRID, (33, 33), 0.04, (3, 9)))
    assert not torch.equal(pooled, unmasked_mean(features, GRID, (33, 33), 0.04, (3, 10)))


def test_where_two_patches_touch_everything_nothing_is_left_out() -> None:
    two = Geometry(5, 5)  # 2 x 1 windows of 10 x 5 pixels, each of which a patch of one pixel touches
    kept = unmasked_windows(200, two, (10, 5), 0.01, (0, 0))
    left = kept.flatten(1).sum(1)
    assert set(left.tolist()) == {1, 2}
    assert 60 < int((left == 2).sum()) < 140  # the patches touch both windows in half of the images


def test_patches_that_touch_all_windows_wherever_they_lie_are_refused() -> None:
    check_masking(GRID, (33, 33), 0.04)
    with pytest.raises(ValueError, match=r"masked=0.9 asks for patches of 32 px, which touch all windows of 5 px"):
        check_masking(GRID, (33, 33), 0.9)


def test_touched_cells_are_the_most_that_a_patch_touches() -> None:
    side = 7  # 4 % of 33 x 33 pixels
    spans = [GRID.touched(Span(start, start + side), 33).length for start in range(27)]
    assert touched_cells(GRID, (33, 33), 0.04) == (max(spans), max(spans))
    with pytest.raises(ValueError, match=r"margin_patch=0.9 asks for patches of 32 px"):
        check_masking(GRID, (33, 33), 0.9, "margin_patch")
