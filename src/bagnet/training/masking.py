"""Training for certificates: windows that patches touch are left out of the mean (Xiang et al. 2022, 2024)."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, sqrt

import numpy as np
import torch
from torch import Tensor

from ..certificates.patch import Patch
from ..certificates.rectangles import held
from ..certificates.voting import covering
from ..geometry import Geometry, Placement, Span

_PATCHES = 2  # as many as the vote takes away (`certificates.voting`)


def mean_of(features: Tensor, kept: Tensor) -> Tensor:
    """(B, C, h, w) features of windows, (B, h, w) bool -> (B, C): the mean over the windows that are kept, one at least."""
    weights = kept / kept.sum((1, 2), keepdim=True)
    return torch.einsum("bchw,bhw->bc", features, weights.to(features))


def random_windows(images: int, geometry: Geometry, size: tuple[int, int], share: float, seed: tuple[int, int]) -> Tensor:
    """The windows of each image that two square patches, at random places, do not touch.

    Where the two touch all windows of an image, none of its windows is left out.

    Args:
        images: how many, B.
        geometry: of the windows.
        size: (height, width) of the images in pixels.
        share: of an image's area that each patch covers.
        seed: of the run, and the step, which alone decide where the patches lie.

    Returns:
        (B, h, w) bool.
    """
    side = ceil(sqrt(share * size[0] * size[1]))
    random = torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]))
    touched = torch.zeros(images, *geometry.grid(*size), dtype=torch.bool)
    for _ in range(_PATCHES):
        rows, columns = (
            _touched(geometry, length, side)[torch.randint(max(1, length - side + 1), (images,), generator=random)]
            for length in size
        )
        touched |= rows[:, :, None] & columns[:, None, :]
    touched[touched.flatten(1).all(1)] = False
    return ~touched


def hardest_windows(evidence: Tensor, labels: Tensor, geometry: Geometry, size: tuple[int, int], share: float) -> Tensor:
    """The windows of each image that are left where the vote's masks take most from the label's lead (Saha et al. 2023).

    Of the masks that the vote has against such a patch, the one without whose windows the label leads by least, and then the
    one that takes most from what is left: not the hardest two of all, but nearly, at a fraction of the cost. A mask that
    leaves none is not taken.

    Args:
        evidence: (B, K, h, w), of two classes at least.
        labels: (B,) the classes that should lead.
        geometry: of the windows.
        size: (height, width) of the images in pixels.
        share: of an image's area that a patch covers.

    Returns:
        (B, h, w) bool.
    """
    masked = _masks(geometry, size, share).to(evidence.device)
    kept = torch.ones_like(evidence[:, 0], dtype=torch.bool)
    index = labels[:, None, None].expand(-1, 1, len(masked))
    with torch.autocast(evidence.device.type, enabled=False):  # leads are differences of means that are nearly alike
        values = evidence.flatten(2).float()
        for _ in range(_PATCHES):
            left = (kept[:, None] & ~masked).flatten(2).float()  # (B, M, h * w)
            counts = left.sum(2)
            means = values @ left.mT / counts.clamp(min=1)[:, None]  # (B, K, M)
            lead = means.gather(1, index)[:, 0] - means.scatter(1, index, -torch.inf).amax(1)
            hardest = lead.masked_fill(counts == 0, torch.inf).argmin(1)
            kept &= ~masked[hardest] | (counts == 0).all(1)[:, None, None]
    return kept


def touched_cells(geometry: Geometry, size: tuple[int, int], share: float) -> tuple[int, int]:
    """The most rows and columns of windows that a square patch of a share of an image of (height, width) pixels touches."""
    side, grid = ceil(sqrt(share * size[0] * size[1])), geometry.grid(*size)
    return geometry.most_cells_touching(side, grid[0]), geometry.most_cells_touching(side, grid[1])


def check_masking(geometry: Geometry, size: tuple[int, int], share: float, field: str = "masked") -> None:
    """Whether a patch of the share that a recipe's field gives leaves some windows.

    Raises:
        ValueError: it touches all wherever it lies.
    """
    side = ceil(sqrt(share * size[0] * size[1]))
    if all(bool(_touched(geometry, length, side).all()) for length in size):
        raise ValueError(
            f"{field}={share:g} asks for patches of {side} px, which touch all windows of {geometry.size} px in crops of "
            f"{size[0]} px wherever they lie: give smaller patches or larger crops"
        )


def check_votes(geometry: Geometry, size: tuple[int, int], share: float) -> None:
    """Whether the vote's masks against a patch of that share, two at a time, leave some windows.

    Raises:
        ValueError: some two leave none, so that there is no vote, and nothing to train for.
    """
    masked = _masks(geometry, size, share).flatten(1)
    if bool((masked[:, None] | masked).all(2).any()):
        raise ValueError(
            f"masked_at=hardest asks for the vote's masks against patches of {100 * share:g} %, two of which leave no window of "
            f"{geometry.size} px in crops of {size[0]} px: give smaller patches (masked), larger crops or smaller windows"
        )


@lru_cache(maxsize=64)
def _masks(geometry: Geometry, size: tuple[int, int], share: float) -> Tensor:
    """(M, h, w) bool: the windows that each mask of the vote takes away, against square patches of a share of the image."""
    runs = Patch(share=share, frame="input").joint_runs([(geometry, Placement.identity(*size))])
    rows, columns = (
        torch.from_numpy(held([run for (run,) in covering(along)], cells) > 0)
        for along, cells in zip(runs, geometry.grid(*size), strict=True)
    )
    return (rows[:, None, :, None] & columns[None, :, None, :]).flatten(0, 1)


@lru_cache(maxsize=64)
def _touched(geometry: Geometry, length: int, side: int) -> Tensor:
    """(starts, cells) bool: which cells of an axis a patch touches, for each pixel where it may start."""
    spans = [geometry.touched(Span(start, start + side), length) for start in range(max(1, length - side + 1))]
    cells = torch.arange(geometry.grid(length, length)[0])
    return torch.stack([(cells >= span.start) & (cells < span.stop) for span in spans])
