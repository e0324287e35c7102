"""Windows that look alike to the network: its own features, clustered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .decisive import FOR, Decisive

MOST = 6  # patterns of a class, and causes of a confusion, at most
SEEN = 5  # images in which a pattern must be for anything to be said of it; windows for each cluster, on average
SAMPLE = 2000  # windows that are clustered; any more join the cluster that they are nearest to
LIKE = 10  # per cent of a pattern's own windows that lie further from its centre than another window may to be one of it
ROUNDING = 1e-3  # of a cosine: features are kept in half precision

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Pattern:
    """Decisive windows of one class that look alike.

    Args:
        label: the class that they decide.
        rows: (n,) images.
        windows: (n,) which of the image's windows.
        centre: (C,) mean of their features, of length 1.
        near: a window belongs to the pattern where the cosine of its features and the centre is no less.
        appearance_similarity: how alike they look: 1 - the variance of their features / that of all decisive windows; 1 is
            always the same, 0 as varied as any.
        position_similarity: how alike they lie: the same of their positions in the image.
    """

    label: int
    rows: Ints
    windows: Ints
    centre: Floats
    near: float
    appearance_similarity: float
    position_similarity: float

    @cached_property
    def images(self) -> Ints:
        """The images that have such windows, in order, each once."""
        return np.unique(self.rows)

    def of_image(self, row: int) -> list[int]:
        """Which windows of an image."""
        return [int(window) for window in self.windows[self.rows == row]]


def find_patterns(decisive: Decisive, classes: int, seed: int) -> list[Pattern]:
    """Cluster the windows that decide for each class: those of all images that are classified as it, rightly or not.

    Args:
        decisive: the windows.
        classes: how many there are.
        seed: of the sample, where there are very many windows.

    Returns:
        Of each class, the clusters that are in at least `SEEN` images.
    """
    feature_variance, position_variance = _variances(decisive)
    patterns: list[Pattern] = []
    for label in range(classes):
        rows, windows = members(decisive, np.flatnonzero(decisive.predicted == label), FOR)
        if not len(rows):
            continue
        features = decisive.features[rows, FOR, windows].astype(np.float32)
        positions = relative_positions(decisive, rows, windows)
        groups = cluster(features, seed)
        for group in range(groups.max() + 1):
            inside = groups == group
            if len(np.unique(rows[inside])) < SEEN:
                continue
            mean = features[inside].mean(0)
            centre = mean / (np.linalg.norm(mean) or 1.0)
            patterns.append(
                Pattern(
                    label,
                    rows[inside],
                    windows[inside],
                    centre,
                    float(np.percentile(features[inside] @ centre, LIKE)) - ROUNDING,
                    _similarity(features[inside], feature_variance),
                    _similarity(positions[inside], position_variance),
                )
            )
    return patterns


def members(decisive: Decisive, rows: Sequence[int] | Ints, role: int) -> tuple[Ints, Ints]:
    """All decisive windows of some images: (n,) images and (n,) which of their windows."""
    chosen = np.asarray(rows, np.int64)
    indices, windows = np.nonzero(decisive.cells[chosen, role] >= 0)
    return chosen[indices], windows.astype(np.int64)


def relative_positions(decisive: Decisive, rows: Ints, windows: Ints) -> NDArray[np.float64]:
    """(n, 2): down and across, from 0 to 1 over the grid of cells."""
    grid = decisive.grids[rows]
    cells = decisive.cells[rows, FOR, windows]
    return (np.stack([cells // grid[:, 1], cells % grid[:, 1]], 1) + 0.5) / grid


def cluster(features: Floats, seed: int) -> Ints:
    """(n, C) -> (n,) groups of windows that look alike, numbered from the largest.

    Ward's method (Ward 1963), which joins what adds least to the variance inside the groups, stopped at `MOST` of them, or
    at so many that each has `SEEN` windows on average.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    count = len(features)
    groups = np.zeros(count, np.int64)
    wanted = min(MOST, count // SEEN)
    if wanted < 2:
        return groups
    chosen = np.sort(np.random.default_rng(seed).permutation(count)[:SAMPLE])
    labels = fcluster(linkage(features[chosen].astype(np.float64), "ward"), wanted, "maxclust") - 1
    means = np.stack([features[chosen[labels == label]].mean(0) for label in range(labels.max() + 1)])
    distances = (means**2).sum(1) - 2 * features @ means.T  # but for the length of the features themselves
    groups = distances.argmin(1)
    groups[chosen] = labels
    order = np.argsort(-np.bincount(groups), kind="stable")
    numbers: Ints = np.argsort(order)[groups]
    return numbers


def _variances(decisive: Decisive) -> tuple[float, float]:
    """Of the features, and of the positions, of all windows that decide for a class."""
    count, squares = 0, 0.0
    sums: Any = 0.0
    every, windows = members(decisive, np.flatnonzero(decisive.predicted >= 0), FOR)
    for start in range(0, len(every), SAMPLE):  # the features are on the disk, and may be larger than memory
        part = decisive.features[every[start : start + SAMPLE], FOR, windows[start : start + SAMPLE]].astype(np.float64)
        count, sums, squares = count + len(part), sums + part.sum(0), squares + float((part**2).sum())
    positions = relative_positions(decisive, every, windows)
    return squares / count - float(((sums / count) ** 2).sum()), float(positions.var(0).sum())


def _similarity(values: Floats, variance: float) -> float:
    """1 - variance of the values / that of all windows, not below 0; 0 where nothing varies, so that it says nothing."""
    if len(values) < 2 or variance <= 0:
        return 0.0
    return float(max(0.0, 1 - values.astype(np.float64).var(0, ddof=1).sum() / variance))
