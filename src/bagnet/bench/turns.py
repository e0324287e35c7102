"""The run: every case in a process of its own, so that its peak memory is its own, taking turns round by round, so that
whatever else the machine does falls on all of them alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor

from ..progress import Listener, Progress, unheard
from .build import built
from .cases import Case
from .ceiling import ceilings
from .machine import forget_peak, machine, peak_memory, wait
from .result import Bench, Timing

_ENDED = "its process ended: not enough memory?"


def bench(cases: Sequence[Case], rounds: int = 5, progress: Listener = unheard) -> Bench:
    """Time some cases in turn.

    Args:
        cases: what to time; the published network is needed among them for the ratios and the comparison of outputs.
        rounds: how often each.
        progress: told what is being done.

    Raises:
        ValueError: no cases, or a round too few.
    """
    if not cases or rounds < 1:
        raise ValueError(f"a bench needs a case and a round, got {len(cases)} and {rounds}")
    tables: dict[tuple[Any, ...], list[Case]] = {}
    for case in cases:
        tables.setdefault((case.task, case.batch, case.size, case.device), []).append(case)
    by_case: dict[Case, Timing] = {}
    for table in tables.values():  # one table's networks are in memory at a time
        by_case.update((timing.case, timing) for timing in _take_turns(table, rounds, progress))
    timings = [by_case[case] for case in cases]
    best: dict[str, float] = {}
    if any(timing.executed for timing in timings):
        progress(Progress("measuring the matrix-product ceiling", 0))
        process, pipe = _start(_send_ceilings, cases[0].device)
        best = pipe.recv()
        process.join()
    return Bench(machine(), best, timings, rounds)


def _take_turns(cases: Sequence[Case], rounds: int, progress: Listener) -> list[Timing]:
    """Each case in a process of its own, run in turn; outputs compared with the published network's."""
    timings: list[Timing] = []
    workers: list[tuple[Any, Connection]] = []
    outputs: dict[Case, Tensor] = {}
    try:
        for case in cases:
            progress(Progress(f"building {case.title} {case.task}", len(workers), len(cases), "cases"))
            workers.append(_start(_work, case))
            try:
                timing, output = workers[-1][1].recv()
            except EOFError:
                timing, output = Timing(case, note=_ENDED), None
            timings.append(timing)
            if output is not None:
                outputs[case] = output
        for number in range(rounds):
            for timing, (_, pipe) in zip(timings, workers, strict=True):
                if timing.executed:
                    progress(Progress(f"{timing.case.title} {timing.case.task}", number, rounds, "rounds"))
                    try:
                        pipe.send("run")
                        seconds, timing.memory = pipe.recv()
                        timing.seconds.append(seconds)
                    except (EOFError, BrokenPipeError):
                        timing.executed, timing.note, timing.seconds = "", _ENDED, []
    finally:
        for process, pipe in workers:
            pipe.close()
            process.join(5)
            process.terminate()
    for timing in timings:
        wanted = replace(timing.case, how="published", runtime="torch", precision="float32")
        if timing.case in outputs and wanted in outputs and timing.case != wanted:
            exact, output_here = outputs[wanted], outputs[timing.case]
            sampled = ~exact.isnan()  # the patch loop is run on a sample
            timing.error = float((exact - output_here)[sampled].abs().max() / exact[sampled].abs().max())
    return timings


def _start(work: Callable[..., None], argument: Any) -> tuple[Any, Connection]:
    """A fresh process that does some work, and the pipe to it."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(argument, theirs), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def _work(case: Case, pipe: Connection) -> None:
    """A process that builds one case, says what it gives, and runs it once whenever it is told to."""
    timing = Timing(case)
    try:
        run, timing.executed, timing.multiply_adds, timing.note = built(case)
        before = forget_peak(case.device)
        with torch.inference_mode():
            output = run().float().cpu()
        timing.executed = run.executed()
    except (ValueError, ImportError, RuntimeError, AssertionError) as error:  # the last two: torch, of CUDA without a device
        pipe.send((replace(timing, executed="", note=str(error)), None))
        return
    pipe.send((timing, None if case.network == "resnet50" else output))
    while True:
        try:
            pipe.recv()
        except EOFError:
            return
        start = time.perf_counter()
        with torch.inference_mode():
            run()
        wait(case.device)
        seconds = time.perf_counter() - start
        pipe.send((seconds * run.extrapolate, peak_memory(case.device) - before))


def _send_ceilings(device: str, pipe: Connection) -> None:
    pipe.send(ceilings(device))
