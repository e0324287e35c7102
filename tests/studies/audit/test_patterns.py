"""Clusters of windows with directions that are known, and how alike they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bagnet.studies.audit.decisive import AGAINST, FOR, Decisive
from bagnet.studies.audit.patterns import LIKE, ROUNDING, cluster, find_patterns, members, relative_positions

AXES = np.eye(4, dtype=np.float16)


def decisive_of(predicted: list[int], directions: list[int], cells: list[int], grid: tuple[int, int] = (4, 8)) -> Decisive:
    """One window an image, of a feature along one of four axes."""
    count = len(predicted)
    features = np.zeros((count, 2, 1, 4), np.float16)
    features[:, FOR, 0] = AXES[directions]
    places = np.full((count, 2, 1), -1, np.int64)
    places[:, FOR, 0] = cells
    zeros = np.zeros((count, 2, 1))
    return Decisive(np.array(predicted), np.tile(grid, (count, 1)), places, zeros, zeros, features, ())


def test_clusters() -> None:
    """Three directions, of 20, 12 and 6 windows: no two are ever joined, and the largest group comes first."""
    random = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], [20, 12, 6])
    features = np.eye(8)[truth] + 0.01 * random.normal(size=(38, 8))
    groups = cluster(features, 0)
    assert len({(int(group), int(direction)) for group, direction in zip(groups, truth, strict=True)}) == groups.max() + 1
    assert np.all(np.diff(np.bincount(groups)) <= 0)


def test_more_windows_than_are_clustered_join_the_nearest_cluster() -> None:
    truth = np.tile(np.repeat([0, 1, 2], [20, 12, 6]), 60)  # 2,280, of which 2,000 are clustered
    features = np.eye(8)[truth] + 0.01 * np.random.default_rng(0).normal(size=(len(truth), 8))
    groups = cluster(features, 0)
    assert len({(int(group), int(direction)) for group, direction in zip(groups, truth, strict=True)}) == groups.max() + 1 == 6


def test_few_windows_are_one_group() -> None:
    assert cluster(np.eye(4), 0).tolist() == [0] * 4


def test_a_pattern_is_in_five_images_of_its_class() -> None:
    """Class 0: six windows of one direction and six of another; class 1: four windows, too few to say anything of."""
    decisive = decisive_of([0] * 12 + [1] * 4, [0] * 6 + [1] * 6 + [2] * 4, [0] * 6 + list(range(6)) + [5] * 4)
    first, second = find_patterns(decisive, 2, 0)
    assert (first.label, second.label) == (0, 0)
    assert sorted([first.images.tolist(), second.images.tolist()]) == [list(range(6)), list(range(6, 12))]
    assert first.of_image(int(first.images[0])) == [0]
    assert first.of_image(int(second.images[0])) == []


def test_similarities_are_shares_of_the_variance_of_all_windows() -> None:
    """Of one direction and one cell: 1. Of one direction in six cells: 1 of appearance, and less than 1 of position."""
    decisive = decisive_of([0] * 12, [0] * 6 + [1] * 6, [0] * 6 + list(range(6)))
    patterns = {int(pattern.images[0]): pattern for pattern in find_patterns(decisive, 1, 0)}
    assert (patterns[0].appearance_similarity, patterns[0].position_similarity) == (1, 1)
    assert patterns[6].appearance_similarity == 1
    columns = (np.array([0] * 6 + list(range(6))) + 0.5) / 8
    assert patterns[6].position_similarity == pytest.approx(max(0, 1 - columns[6:].var(ddof=1) / columns.var()))


def test_where_nothing_varies_similarity_says_nothing() -> None:
    (pattern,) = find_patterns(decisive_of([0] * 6, [0] * 6, [3] * 6), 1, 0)
    assert (pattern.appearance_similarity, pattern.position_similarity) == (0, 0)


def test_the_centre_and_how_near_a_window_must_be() -> None:
    decisive = decisive_of([0] * 6, [0] * 6, [3] * 6)
    angles = np.linspace(0, 0.5, 6)
    features = decisive.features.copy()
    features[:, FOR, 0] = np.stack([np.cos(angles), np.sin(angles), 0 * angles, 0 * angles], 1)
    (pattern,) = find_patterns(replace(decisive, features=features), 1, 0)
    assert np.linalg.norm(pattern.centre) == pytest.approx(1, abs=1e-6)
    assert pattern.centre[:2] == pytest.approx([np.cos(0.25), np.sin(0.25)], abs=1e-3)
    cosines = features[:, FOR, 0].astype(float) @ pattern.centre
    assert pattern.near == pytest.approx(np.percentile(cosines, LIKE) - ROUNDING, abs=1e-6)


def test_members_are_windows_that_are_there() -> None:
    decisive = decisive_of([0, 0, 1], [0, 0, 0], [4, -1, 7])
    rows, windows = members(decisive, [2, 1, 0], FOR)
    assert (rows.tolist(), windows.tolist()) == ([2, 0], [0, 0])
    assert not len(members(decisive, [0, 1, 2], AGAINST)[0])


def test_positions_are_relative_to_the_grid_of_each_image() -> None:
    decisive = decisive_of([0, 0], [0, 0], [9, 9], (4, 8))
    decisive = replace(decisive, grids=np.array([[4, 8], [2, 5]]))
    positions = relative_positions(decisive, np.array([0, 1]), np.array([0, 0]))
    assert positions.tolist() == [[1.5 / 4, 1.5 / 8], [1.5 / 2, 4.5 / 5]]
