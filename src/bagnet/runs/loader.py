"""Images of a collection as batches ready for a network, read beside it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import resource_tracker
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ..data.inputs import NetworkInputs
from ..data.sources import Images
from ..data.transforms import Preprocessing

_WORTH_WORKERS = 4000  # images: a process takes seconds to start, in which others have read a thousand or two
_PR_SET_PDEATHSIG = 1  # of Linux's prctl


@dataclass(frozen=True, slots=True)
class Decoded:
    """Some images, read and prepared.

    Args:
        groups: (rows, (B, C, H, W) images) of each input size.
        bad: (row, reason) of those that cannot be read.
    """

    groups: list[tuple[list[int], Tensor]] = field(default_factory=list)
    bad: list[tuple[int, str]] = field(default_factory=list)


def read_batches(
    images: Images, rows: Sequence[int], preprocessing: Preprocessing, batch_size: int, workers: int | None = None
) -> Iterator[Decoded]:
    """Read some rows of a collection, a batch at a time, in order.

    Args:
        images: the collection.
        rows: which ones.
        preprocessing: of the network.
        batch_size: images at a time.
        workers: processes that read; where None, none for less than 4,000 images, else one per core but two, which the
            network keeps busy (`docs/speed.md`).
    """
    if workers is None:
        workers = max(0, (os.cpu_count() or 1) - 2) if len(rows) >= _WORTH_WORKERS else 0
    count = min(workers, -(-len(rows) // batch_size))  # more than batches would have nothing to do
    loader: DataLoader[Any] = DataLoader(
        NetworkInputs(images, preprocessing, rows),
        batch_size,
        num_workers=count,
        collate_fn=list,
        multiprocessing_context="spawn" if count else None,  # forking a process that runs threads may hang it
        worker_init_fn=partial(belong_to, os.getpid()),
    )
    with interrupts_held_back() if count else nullcontext():
        batches = iter(loader)  # starts the workers
    for batch in batches:
        by_size: dict[tuple[int, ...], list[tuple[int, Tensor]]] = {}
        bad: list[tuple[int, str]] = []
        for row, prepared in batch:
            if isinstance(prepared, Tensor):
                by_size.setdefault(tuple(prepared.shape), []).append((row, prepared))
            else:
                bad.append((row, prepared))
        yield Decoded([([row for row, _ in group], torch.stack([x for _, x in group])) for group in by_size.values()], bad)


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Processes started inside never hear of Ctrl-C, not even while they start; whoever reads from them ends them.

    This process hears of it afterwards: interrupted between starting a worker and telling it what to do, it would leave
    one that ends with a traceback of its own.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    interrupted: list[int] = []
    with _handled_by(lambda number, _: interrupted.append(number)):  # the mask is this thread's: others still hear it
        resource_tracker.ensure_running()  # it lets the signals through again when it starts
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if interrupted:
        signal.raise_signal(signal.SIGINT)


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Ctrl-C calls a function, where this thread is the one that Python tells of it."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is None:  # None: not installed from Python
        yield
        return
    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def belong_to(parent: int, _: int) -> None:
    """In a worker: leave Ctrl-C to the parent, and end when the parent does, even where it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.excepthook = unless_hung_up
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died while this process started
        os._exit(1)


def unless_hung_up(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Tell of an error, but not of a parent that ended while the thread that hands it tensors was talking to it."""
    if not issubclass(kind, (EOFError, ConnectionError)):
        sys.__excepthook__(kind, error, trace)
