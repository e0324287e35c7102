from __future__ import annotations

import threading
from concurrent.futures import CancelledError
from typing import Any

import numpy as np
import pytest

from bagnet.evidence.explain import Seen, explain_batch, take
from bagnet.model import BagNet
from bagnet.serve import batches
from bagnet.serve.batches import Batches, Closed

from .conftest import picture


def seen(model: BagNet, seed: int, width: int = 60) -> Seen:
    return take(model, picture(width, 50, seed), model.transform)


class Held:
    """`explain_batch` that waits until it may go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        monkeypatch.setattr(batches, "explain_batch", self)

    def __call__(self, *arguments: Any) -> Any:
        self.begun.set()
        self.go_on.wait()
        return explain_batch(*arguments)


def test_what_waits_and_has_one_size_is_seen_together(model: BagNet, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    held = Held(monkeypatch)
    queue = Batches(model, 3, sizes.append)
    widths = [60, 60, 70, 60, 60, 60]
    futures = [queue.submit(seen(model, 0))]
    held.begun.wait()
    futures += [queue.submit(seen(model, seed, width)) for seed, width in enumerate(widths, 1)]
    held.go_on.set()
    queue.close()
    assert sizes == [1, 3, 1, 2]  # the first alone; three of 60; the one of 70, whose turn it is; the rest
    for seed, (future, width) in enumerate(zip(futures, [60, *widths], strict=True)):
        (alone,) = explain_batch(model, [seen(model, seed, width)])
        np.testing.assert_allclose(future.result().values, alone.values, atol=1e-5)


def test_cancelled_images_cost_nothing(model: BagNet, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    held = Held(monkeypatch)
    queue = Batches(model, 8, sizes.append)
    first = queue.submit(seen(model, 0))
    held.begun.wait()
    second, third = queue.submit(seen(model, 1)), queue.submit(seen(model, 2))
    assert second.cancel()
    held.go_on.set()
    queue.close()
    assert first.result().values.shape == third.result().values.shape
    with pytest.raises(CancelledError):
        second.result()
    assert sizes == [1, 1]


def test_an_image_that_cannot_be_explained_spoils_no_other(model: BagNet, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = seen(model, 1)
    bad.x.fill_(float("nan"))
    held = Held(monkeypatch)
    queue = Batches(model, 8)
    first = queue.submit(seen(model, 0))
    held.begun.wait()
    futures = [queue.submit(image) for image in (bad, seen(model, 2))]
    held.go_on.set()
    assert first.result() is not None
    with pytest.raises(ValueError, match="not finite"):
        futures[0].result()
    assert futures[1].result() is not None
    assert queue.submit(seen(model, 3)).result() is not None  # and the thread lives
    queue.close()


def test_nothing_is_taken_after_the_end(model: BagNet) -> None:
    queue = Batches(model, 8)
    last = queue.submit(seen(model, 0))
    queue.close()
    assert last.done()
    with pytest.raises(Closed):
        queue.submit(seen(model, 1))
