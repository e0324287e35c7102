"""Images of many requests, explained a few at a time by one thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from ..engine.classifier import Classifier
from ..evidence import Evidence
from ..evidence.explain import Seen, explain_batch


class Closed(RuntimeError):
    """The service ends, and takes nothing more."""


class Batches:
    """One thread that owns a model: images that wait and have one size are seen in one batch, in the order of their arrival.

    Args:
        model: whatever has windows.
        batch_size: images at a time, at most.
        heard: told the size of each batch.
    """

    def __init__(self, model: Classifier, batch_size: int, heard: Callable[[int], None] = lambda _: None) -> None:
        self._model, self._batch_size, self._heard = model, batch_size, heard
        self._waiting: deque[tuple[Seen, Future[Evidence]]] = deque()
        self._changed = threading.Condition()
        self._open = True
        self._thread = threading.Thread(target=self._work, name="bagnet-batches", daemon=True)
        self._thread.start()

    def submit(self, seen: Seen) -> Future[Evidence]:
        """The evidence of an image, when it is there; cancelled before its turn, it costs nothing. Closed: after `close`."""
        future: Future[Evidence] = Future()
        with self._changed:
            if not self._open:
                raise Closed("the service is about to end")
            self._waiting.append((seen, future))
            self._changed.notify()
        return future

    def close(self) -> None:
        """Take nothing more, and wait until what is there is answered."""
        with self._changed:
            self._open = False
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while batch := self._next():
            if running := [(seen, future) for seen, future in batch if future.set_running_or_notify_cancel()]:
                self._heard(len(running))
                self._answer(running)

    def _next(self) -> list[tuple[Seen, Future[Evidence]]]:
        """The first that waits, and those of its size; none when all is done."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._open)
            batch: list[tuple[Seen, Future[Evidence]]] = []
            others: deque[tuple[Seen, Future[Evidence]]] = deque()
            for entry in self._waiting:
                fits = len(batch) < self._batch_size and entry[0].x.shape == self._waiting[0][0].x.shape
                (batch if fits else others).append(entry)
            self._waiting = others
            return batch

    def _answer(self, batch: Sequence[tuple[Seen, Future[Evidence]]]) -> None:
        try:
            evidence = explain_batch(self._model, [seen for seen, _ in batch])
        except Exception as error:  # whatever it is, those who wait are to hear of it, and the thread goes on
            if len(batch) == 1:
                batch[0][1].set_exception(error)
                return
            for entry in batch:  # only the image that is to blame is to suffer
                self._answer([entry])
            return
        for (_, future), answer in zip(batch, evidence, strict=True):
            future.set_result(answer)
