"""Which windows decide: by hand on maps of numbers, as `Evidence` says, and on images of colours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import bagnet
from bagnet.data.labelled import open_labelled
from bagnet.model import BagNet
from bagnet.progress import Progress
from bagnet.runs.store import Store, claim
from bagnet.runs.sweep import NotANumber
from bagnet.studies.audit.decisive import AGAINST, FOR, Decisive, Task, find_decisive, strongest

from .colours import FISH, LEAF, MARKED, colour_bagnet, folder

TRUE = np.repeat([FISH, LEAF], [12, 8])
WRONG = [10, 11, 19]  # two fish with more green than red, and the leaf with the mark


def test_strongest_windows_are_those_of_evidence(sibling: BagNet) -> None:
    size, stride = sibling.geometry.size, sibling.geometry.stride
    x = torch.rand(1, 3, size + 6 * stride, size + 4 * stride)
    values = sibling.evidence(x, [2])[0].detach().numpy()
    reach = max(0, -(-(size // 2) // stride) - 1)
    (cells,), _ = strongest(values, 3, reach)
    chosen: list[tuple[int, int]] = []
    for cell in np.argsort(-values[0], axis=None, kind="stable").tolist():
        row, column = divmod(cell, values.shape[2])
        if all(max(abs(row - r), abs(column - c)) * stride >= size // 2 for r, c in chosen) and len(chosen) < 3:
            chosen.append((row, column))
    assert [divmod(int(cell), values.shape[2]) for cell in cells if cell >= 0] == chosen


def test_a_clue_takes_its_neighbours_along() -> None:
    cells, clues = strongest(np.array([[[9.0, 8, 1, 0, 5], [7, 6, 1, 0, 0]]]), 3, 1)
    assert cells.tolist() == [[0, 4, 2]]
    assert clues.tolist() == [[[0, 0, 2, 1, 1], [0, 0, 2, 1, 1]]]


def test_there_may_be_fewer_windows_than_are_asked_for() -> None:
    cells, _ = strongest(np.ones((1, 1, 2)), 2, 1)
    assert cells.tolist() == [[0, -1]]  # the other cell is the same clue


def test_images_are_classified(decisive: Decisive) -> None:
    assert np.flatnonzero(decisive.predicted != TRUE).tolist() == WRONG
    assert decisive.grids.tolist() == [[7, 7]] * 20
    assert decisive.bad == ()


def test_the_mark_decides_for_the_fish_that_have_it(decisive: Decisive, task: Task) -> None:
    for row in (*range(9), 19):
        window = task.geometry.window(*decisive.cell(row, FOR, 0))
        assert window.intersect(MARKED) == MARKED


def test_windows_are_those_of_evidence(decisive: Decisive, task: Task) -> None:
    evidence = bagnet.explain(task.model, task.images.images.photo(6).image)
    windows = evidence.windows("fish", 3, apart=evidence.geometry.size // 2)
    assert [decisive.cell(6, FOR, number) for number in range(3)] == [(window.row, window.column) for window in windows]
    assert decisive.logits[6, FOR] == pytest.approx([window.logit for window in windows], rel=1e-5)


def test_only_wrong_images_have_windows_against_the_true_class(decisive: Decisive, task: Task) -> None:
    assert np.flatnonzero((decisive.cells[:, AGAINST] >= 0).any(1)).tolist() == WRONG
    evidence = bagnet.explain(task.model, task.images.images.photo(10).image)
    assert decisive.logits[10, AGAINST, 0] == pytest.approx(evidence.difference("leaf", "fish").max(), rel=1e-5)


def test_evidence_shares_are_of_the_positive_evidence(decisive: Decisive, task: Task) -> None:
    """Each cell counts once, with the first of the windows that it is one clue with."""
    values = np.maximum(bagnet.explain(task.model, task.images.images.photo(6).image).map("fish"), 0)
    row, column = decisive.cell(6, FOR, 0)
    near = values[max(0, row - task.reach) : row + task.reach + 1, max(0, column - task.reach) : column + task.reach + 1]
    assert decisive.evidence_shares[6, FOR, 0] == pytest.approx(near.sum() / values.sum(), rel=1e-5)
    assert np.all(decisive.evidence_shares[:, FOR].sum(1) <= 1 + 1e-9)


def test_features_are_directions(decisive: Decisive) -> None:
    """Of a window with the mark alone: blue."""
    blue = np.eye(decisive.features.shape[3])[2]  # the first three channels are the colours
    assert decisive.features[0, FOR, 0].astype(float) == pytest.approx(blue, abs=1e-3)
    lengths = np.linalg.norm(decisive.features[:, FOR, 0].astype(float), axis=1)
    assert lengths == pytest.approx(np.ones(20), abs=1e-3)


def test_cells_within_half_a_window_are_one_clue(task: Task) -> None:
    """Windows of 9 px every 4 px: the next cell lies 4 px away, which is no less than half a window."""
    assert (task.geometry.size, task.geometry.stride, task.reach) == (9, 4, 0)


def test_all_columns_in_order_are_asked_for_as_none(task: Task) -> None:
    assert task.wanted is None
    assert replace(task, columns=[1, 0]).wanted == [1, 0]


def test_bad_images_are_listed(task: Task, tmp_path: Path) -> None:
    source = folder(tmp_path / "data")
    Image.new("RGB", (20, 8)).save(source / "val" / "fish" / "00.png")
    with claim(tmp_path / "store", {}) as store:
        decisive = find_decisive(replace(task, images=open_labelled(source, "val")), store, None)
    ((row, reason),) = decisive.bad
    assert (row, decisive.predicted[0]) == (0, -1)
    assert "fish/00.png" in reason


def test_what_a_store_holds_is_not_done_again(task: Task, tmp_path: Path) -> None:
    told: list[Progress] = []
    with claim(tmp_path / "store", {}) as store:
        first = find_decisive(task, store, told.append)
    assert (told[-1].stage, told[-1].done, told[-1].total) == ("finding the windows that decide", 20, 20)
    told.clear()
    broken = colour_bagnet()
    with torch.no_grad():
        broken.fc.weight.zero_()
    with claim(tmp_path / "store", {}) as store:
        again = find_decisive(replace(task, model=broken), store, told.append)
    assert not told
    assert np.array_equal(again.cells, first.cells)
    assert np.array_equal(again.features, first.features)


def test_logits_that_are_not_finite_end_it(task: Task, store: Store) -> None:
    with torch.no_grad():
        task.model.fc.bias.fill_(float("nan"))  # type: ignore[attr-defined]
    with pytest.raises(NotANumber, match=r"fish/00\.png: bagnet9\.colours"):
        find_decisive(task, store, None)
