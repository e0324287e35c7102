"""A step of training now and as it was, in turn, and where its time goes, beside the fastest matrix products of this machine.

git worktree add ../before COMMIT
python benchmarks/training_step.py --before ../before/src --out docs/results/DATE-MACHINE-training-step.csv

Each version runs in a process of its own: forward pass, loss, backward pass, clipped gradients, AdamW, as `bagnet train` does it.
The versions take turns, STEPS steps at a time, so that whatever else the machine does falls on both; figures are medians, the
ratio is the median of the turns' ratios, by the clock and, for machines that others use, by processor time. Where the time
goes is measured once each afterwards, by timing every operation.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

STEPS = 3  # of each turn
BATCH = 128
CASES = [  # threads, crop, width, 3x3 blocks per stage
    (1, 49, 16, (1, 1, 1, 2)),
    (1, 49, 16, (1, 1, 0, 0)),
    (1, 49, 24, (1, 1, 1, 1)),
    (2, 49, 16, (1, 1, 1, 2)),
]
KINDS = {  # operation -> what it is for
    "convolution": "products",
    "convolution_backward": "products",
    "mm": "products",
    "addmm": "products",
    "addmm_": "products",
    "native_batch_norm": "batch normalisation",
    "native_batch_norm_backward": "batch normalisation",
    "_fused_adamw_": "optimiser and clip",
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--before", type=Path, required=True, help="The src folder of the other version.")
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--rounds", type=int, default=7)
    asked = options.parse_args()
    sources = {"before": asked.before, "now": Path(__file__).parents[1] / "src"}
    rows: list[dict[str, Any]] = []
    for case in CASES:
        rows += _compare(sources, case, asked.rounds)
        with asked.out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


def _compare(sources: dict[str, Path], case: tuple[Any, ...], rounds: int) -> list[dict[str, Any]]:
    """A row for each version."""
    workers = {name: _start(source, case) for name, source in sources.items()}
    wall: dict[str, list[float]] = {name: [] for name in workers}
    busy: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(rounds):
        for name, worker in workers.items():
            for times, seconds in zip((wall, busy), _ask(worker, "time"), strict=True):
                times[name].append(seconds)
    rows = []
    for name, worker in workers.items():
        known = _ask(worker, "profile")
        worker.communicate()
        threads, crop, width, kernel3 = case
        row = {"version": name, "threads": threads, "crop": crop, "width": width, "kernel3": ",".join(map(str, kernel3))}
        row |= {"batch": BATCH, "rounds": rounds}
        for unit, times in (("second", wall), ("cpu_second", busy)):
            row[f"images_per_{unit}"] = round(BATCH / median(times[name]), 1)
            ratios = [before / now for before, now in zip(times["before"], times[name], strict=True)]
            row[f"times_before_per_{unit}"] = round(median(ratios), 3)
        row |= known
        print(row)
        rows.append(row)
    return rows


def _start(source: Path, case: tuple[Any, ...]) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(source.resolve()), "OMP_NUM_THREADS": str(case[0])}
    command = [sys.executable, __file__, "--work", json.dumps(case)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True)


def _ask(worker: subprocess.Popen[str], what: str) -> Any:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(f"{what}\n")
    worker.stdin.flush()
    return json.loads(worker.stdout.readline())


def work(threads: int, crop: int, width: int, kernel3: tuple[int, int, int, int]) -> None:
    """A process that steps with the version of the library that it finds, whenever it is told to."""
    import torch

    torch.set_num_threads(threads)
    with ExitStack() as stack:
        step = _step(stack, crop, width, kernel3)
        for _ in range(2):  # to warm up
            step()
        for line in sys.stdin:
            print(json.dumps(_profile(step) if line.strip() == "profile" else _seconds(step)), flush=True)


def _step(stack: ExitStack, crop: int, width: int, kernel3: tuple[int, int, int, int]) -> Callable[[], None]:
    import torch

    try:
        from bagnet.architecture import Architecture
        from bagnet.training.losses import classification
    except ImportError:  # the version before
        from bagnet.train.losses import classification

        from bagnet.model import Architecture
    from bagnet.model import BagNet

    torch.manual_seed(0)
    shape = Architecture(kernel3, (2, 2, 1, 1), (2, 2, 3, 2), width, num_classes=200)
    network = BagNet(shape).train().to(memory_format=torch.channels_last)
    try:
        from bagnet.training.folding import folded
        from bagnet.training.memory import freed_memory_kept
    except ImportError:  # the version before
        optimiser = torch.optim.AdamW(network.parameters())
    else:
        stack.enter_context(folded(network))
        stack.enter_context(freed_memory_kept())
        optimiser = torch.optim.AdamW(network.parameters(), fused=True)
    x = torch.randn(BATCH, 3, crop, crop).contiguous(memory_format=torch.channels_last)
    targets = torch.eye(200)[torch.arange(BATCH) % 200]

    def step() -> None:
        classification(network(x), targets).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()

    return step


def _seconds(step: Callable[[], None]) -> tuple[float, float]:
    """Of a step, by the clock and of the processor, medians of some; the latter does not count waiting for other programs."""
    wall, busy = [], []
    for _ in range(STEPS):
        start = time.perf_counter(), time.process_time()
        step()
        wall.append(time.perf_counter() - start[0])
        busy.append(time.process_time() - start[1])
    return median(wall), median(busy)


def _profile(step: Callable[[], None]) -> dict[str, float]:
    """Processor milliseconds of a step by kind of operation, its multiply-adds, and how long they take at the ceiling."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import FlopCounterMode

    from bagnet.bench.ceiling import ceilings

    spent: dict[str, float] = defaultdict(float)

    class Clock(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            start = time.process_time()
            result = function(*args, **(kwargs or {}))
            kind = KINDS.get(function.overloadpacket.__name__, "activations, sums and copies")
            spent[kind] += time.process_time() - start
            return result

    with Clock():
        for _ in range(STEPS):
            step()
    in_place = {torch.ops.aten.addmm_: lambda total, left, right, **_: 2 * left[0] * left[1] * right[1]}
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        step()
    ceiling = ceilings("cpu")["torch float32"]
    products = counter.get_total_flops() / 2
    kinds = ["products", "batch normalisation", "activations, sums and copies", "optimiser and clip"]
    times = {f"{kind.replace(', ', '_').replace(' ', '_')}_ms": round(1000 * spent[kind] / STEPS, 1) for kind in kinds}
    return {
        **times,
        "products_at_ceiling_ms": round(1000 * products / ceiling, 1),
        "giga_multiply_adds": round(products / 1e9, 2),
        "ceiling_giga_multiply_adds_per_second": round(ceiling / 1e9, 1),
        "threads_of_torch": torch.get_num_threads(),
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(*json.loads(sys.argv[2]))
    else:
        main()
