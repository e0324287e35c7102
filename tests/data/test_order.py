"""Every row once an epoch, in an order that a seed fixes, dealt out alike to any number of processes."""

from __future__ import annotations

import pytest
import torch

from bagnet.data.order import Order, SampleKey


def rows_of(order: Order) -> list[int]:
    return [row for part in order for _, row in part]


def test_every_row_comes_once_an_epoch_in_an_order_of_its_own() -> None:
    order = Order(12, 4, seed=5)
    epochs = []
    for epoch in range(3):
        order.set_epoch(epoch)
        parts = list(order)
        assert [len(part) for part in parts] == [4, 4, 4]
        assert {epoch_of_row for part in parts for epoch_of_row, _ in part} == {epoch}
        epochs.append(rows_of(order))
        assert sorted(epochs[-1]) == list(range(12))
    assert (len(order), order.steps) == (3, 3)
    assert epochs[0] != epochs[1] != epochs[2]
    assert rows_of(Order(12, 4, seed=5)) == epochs[0]
    assert rows_of(Order(12, 6, seed=5)) == epochs[0]
    assert rows_of(Order(12, 4, seed=6)) != epochs[0]


def test_rows_that_fill_no_batch_sit_an_epoch_out() -> None:
    order = Order(11, 4, seed=0)
    out = []
    for epoch in range(30):
        order.set_epoch(epoch)
        rows = rows_of(order)
        assert len(set(rows)) == len(rows) == 8
        out.append(set(range(11)) - set(rows))
    assert set.union(*out) == set(range(11))  # not always the same
    assert (len(order), order.steps) == (2, 2)


@pytest.mark.parametrize(("rows", "size"), [(3, 3), (1, 1)])
def test_fewer_rows_than_a_batch_are_one_batch(rows: int, size: int) -> None:
    order = Order(rows, 64, seed=0)
    assert (order.batch_size, len(order)) == (size, 1)
    assert sorted(rows_of(order)) == list(range(rows))
    assert Order(7, 64, seed=0, ranks=2, parts=2).batch_size == 4


@pytest.mark.parametrize(("ranks", "parts"), [(1, 2), (2, 1), (2, 2), (4, 2)])
def test_ranks_and_parts_deal_the_same_batches_out(ranks: int, parts: int) -> None:
    whole = list(Order(37, 16, seed=3))
    dealt = [list(Order(37, 16, seed=3, rank=rank, ranks=ranks, parts=parts)) for rank in range(ranks)]
    assert [len(mine) for mine in dealt] == [2 * parts] * ranks
    assert {len(part) for mine in dealt for part in mine} == {16 // ranks // parts}
    for step, batch in enumerate(whole):
        keys = [key for mine in dealt for part in mine[step * parts : (step + 1) * parts] for key in part]
        assert sorted(keys) == sorted(batch)
    order = Order(37, 16, seed=3, ranks=ranks, parts=parts)
    assert (len(order), order.steps) == (2 * parts, 2)


def test_going_on_leaves_out_what_was_done_of_that_epoch_alone() -> None:
    order = Order(24, 8, seed=1, parts=2)
    epochs: list[list[list[SampleKey]]] = []
    for epoch in range(3):
        order.set_epoch(epoch)
        epochs.append(list(order))
    order.go_on(1, 5)
    for epoch, first in ((0, 0), (1, 5), (2, 0)):
        order.set_epoch(epoch)
        assert list(order) == epochs[epoch][first:]
    assert len(order) == 6
    order.go_on(2, 6)
    assert list(order) == []


@pytest.mark.parametrize(("epoch", "count"), [(1, 5), (2, 0)])
def test_it_goes_on_in_its_epoch_before_that_is_said_again(epoch: int, count: int) -> None:
    """Processes that prepare images ask for rows before the first epoch of a resumed run is announced."""
    order = Order(24, 8, seed=1, parts=2)
    order.set_epoch(epoch)
    expected = list(order)[count:]
    resumed = Order(24, 8, seed=1, parts=2)
    resumed.go_on(epoch, count)
    assert list(resumed) == expected


def test_weights_say_how_often_a_row_is_drawn() -> None:
    order = Order(400, 40, seed=0, weights=torch.tensor([0.0, 1.0, 3.0, 0.0] * 100))
    rows = rows_of(order)
    assert len(rows) == 400
    assert {row % 4 for row in rows} == {1, 2}
    assert sum(row % 4 == 2 for row in rows) == pytest.approx(300, abs=35)  # four standard deviations
    assert rows == rows_of(order)
    shares = [Order(400, 40, seed=0, rank=rank, ranks=2, weights=torch.tensor([0.0, 1.0, 3.0, 0.0] * 100)) for rank in (0, 1)]
    assert sorted(row for share in shares for row in rows_of(share)) == sorted(rows)
    order.set_epoch(1)
    assert rows_of(order) != rows


@pytest.mark.parametrize(
    ("rows", "batch_size", "dealt"),
    [(0, 4, {}), (10, 0, {}), (10, 5, {"ranks": 2}), (10, 6, {"ranks": 2, "parts": 2}), (3, 8, {"ranks": 2, "parts": 2})],
)
def test_what_cannot_be_dealt_out_is_refused(rows: int, batch_size: int, dealt: dict[str, int]) -> None:
    message = f"{rows} images in steps of {batch_size} cannot be dealt out evenly among {dealt.get('ranks', 1)} processes"
    with pytest.raises(ValueError, match=message):
        Order(rows, batch_size, 0, **dealt)  # type: ignore[arg-type]


def test_groups_that_are_read_together_stay_together() -> None:
    """40 groups of 5 rows: at most 16 of them are open at a time, each row comes once, in another order each epoch."""
    order = Order(200, 10, seed=1, starts=range(0, 200, 5))
    rows = [row for batch in order for _, row in batch]
    assert sorted(rows) == list(range(200))
    assert [len({row // 5 for row in rows[first : first + 80]}) for first in (0, 80)] == [16, 16]
    order.set_epoch(1)
    assert [row for batch in order for _, row in batch] != rows
