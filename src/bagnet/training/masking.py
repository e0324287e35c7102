"""Training for certificates: windows that random patches touch are left out of the mean (Xiang et al. 2022, 2024)."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, sqrt

import numpy as np
import torch
from torch import Tensor

from ..geometry import Geometry, Span

_PATCHES = 2  # as many as the vote takes away (`certificates.voting`)


def unmasked_mean(features: Tensor, geometry: Geometry, size: tuple[int, int], share: float, seed: tuple[int, int]) -> Tensor:
    """The mean over the windows of each image that two square patches, at random places, do not touch.

    Where the two touch all windows of an image, none of its windows is left out.

    Args:
        features: (B, C, h, w) of the windows.
        geometry: of the windows.
        size: (height, width) of the images in pixels.
        share: of an image's area that each patch covers.
        seed: of the run, and the step, which alone decide where the patches lie.

    Returns:
        (B, C).

    Raises:
        ValueError: a patch of that size touches all windows wherever it lies.
    """
    kept = unmasked_windows(len(features), geometry, size, share, seed).to(features.device)
    weights = kept / kept.sum((1, 2), keepdim=True)
    return torch.einsum("bchw,bhw->bc", features, weights.to(features.dtype))


def unmasked_windows(images: int, geometry: Geometry, size: tuple[int, int], share: float, seed: tuple[int, int]) -> Tensor:
    """(B, h, w) bool: the windows that are left. Arguments and errors as for `unmasked_mean`."""
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


@lru_cache(maxsize=64)
def _touched(geometry: Geometry, length: int, side: int) -> Tensor:
    """(starts, cells) bool: which cells of an axis a patch touches, for each pixel where it may start."""
    spans = [geometry.touched(Span(start, start + side), length) for start in range(max(1, length - side + 1))]
    cells = torch.arange(geometry.grid(length, length)[0])
    return torch.stack([(cells >= span.start) & (cells < span.stop) for span in spans])
