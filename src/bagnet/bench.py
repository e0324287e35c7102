"""How fast this machine runs BagNets, beside what else one could run: measured in turn, outputs compared, ceilings known.

Every case lives in a process of its own, so that its peak memory is its own; the cases take turns, round by round, so that
whatever else the machine does falls on all of them alike. Figures are medians over the rounds.
"""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .engine.cost import multiply_adds
from .engine.fold import FoldedFeatures
from .engine.prepare import prepare
from .engine.torch_runner import TorchRunner, cpu_has_bf16, tf32
from .evidence.dense import dense
from .missing import needs
from .model import BagNet
from .zoo.load import create

PATCH_BATCH = 1000  # windows at a time in the official heat map's loop
_ENDED = "its process ended: not enough memory?"
_PATCH_SAMPLE = 2  # batches of the loop that are run; the rest is extrapolated


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to time.

    Args:
        network: "bagnet9", "bagnet17", "bagnet33", or "resnet50" for comparison.
        how: "published": as its authors run it, module by module; "prepared": by `bagnet.prepare`.
        runtime: as for `prepare`.
        precision: as for `prepare`.
        batch: images at a time.
        task: "logits" of images, or the full-resolution "map" of one class of one image.
        size: side of the images in pixels.
        device: "cpu" or "cuda".
    """

    network: str = "bagnet33"
    how: str = "prepared"
    runtime: str = "torch"
    precision: str = "float32"
    batch: int = 8
    task: str = "logits"
    size: int = 224
    device: str = "cpu"

    @property
    def title(self) -> str:
        """What it is, in words."""
        how = "as published" if self.how == "published" else self.runtime if self.device == "cpu" else f"{self.runtime} compiled"
        return f"{self.network} {how} {self.precision}"


@dataclass(slots=True)
class Timing:
    """What was measured of a case.

    Args:
        case: which.
        seconds: of each round, for the whole batch or map.
        memory: bytes of peak memory above the loaded model.
        executed: precision that the runtime says it ran; "" where it cannot run here.
        error: largest change of an output from the published network's, as a share of the largest; None where that is not
            comparable.
        multiply_adds: needed for the batch or map, after the exact rewrites.
        note: why there is no figure, or how it was extrapolated.
    """

    case: Case
    seconds: list[float] = field(default_factory=list)
    memory: int = 0
    executed: str = ""
    error: float | None = None
    multiply_adds: int = 0
    note: str = ""

    @property
    def median(self) -> float:
        """Median seconds; NaN where it cannot run here."""
        return median(self.seconds) if self.seconds else float("nan")

    @property
    def images_per_second(self) -> float:
        """Images, or maps, a second."""
        return (self.case.batch if self.case.task == "logits" else 1) / self.median


@dataclass(frozen=True, slots=True)
class Bench:
    """All that one run measured.

    Args:
        machine: processor, cores, threads, versions and date.
        ceiling: "runtime precision" -> multiply-adds a second of the best matrix product found.
        timings: one a case, in the order asked for.
        rounds: how many.
    """

    machine: dict[str, Any]
    ceiling: dict[str, float]
    timings: list[Timing]
    rounds: int

    def share(self, timing: Timing) -> float | None:
        """Of the matrix-product ceiling in the same precision, over all runtimes; None where that is not measured."""
        known = [speed for title, speed in self.ceiling.items() if title.split()[1] == timing.executed]
        return timing.multiply_adds / timing.median / max(known) if known else None

    def baseline(self, timing: Timing) -> Timing | None:
        """The published network at the same task, batch and size."""
        wanted = replace(timing.case, how="published", runtime="torch", precision="float32")
        return next((other for other in self.timings if other.case == wanted), None)

    def rows(self) -> list[dict[str, Any]]:
        """One flat record a case, for tables and CSV."""
        rows = []
        for timing in self.timings:
            base = self.baseline(timing)
            rows.append(
                {
                    **asdict(timing.case),
                    "executed": timing.executed,
                    "per_second": timing.images_per_second,
                    "milliseconds": 1000 * timing.median,
                    "fastest_ms": 1000 * min(timing.seconds, default=float("nan")),
                    "slowest_ms": 1000 * max(timing.seconds, default=float("nan")),
                    "times_published": base.median / timing.median if base else None,
                    "ceiling_share": self.share(timing),
                    "peak_megabytes": timing.memory / 1e6,
                    "error": timing.error,
                    "note": timing.note,
                }
            )
        return rows


def bench(cases: Sequence[Case], rounds: int = 5, progress: Callable[[str], None] | None = None) -> Bench:
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
    say = progress or (lambda what: None)
    tables: dict[tuple[Any, ...], list[Case]] = {}
    for case in cases:
        tables.setdefault((case.task, case.batch, case.size, case.device), []).append(case)
    found: dict[Case, Timing] = {}
    for table in tables.values():  # one table's networks are in memory at a time
        found.update((timing.case, timing) for timing in _take_turns(table, rounds, say))
    timings = [found[case] for case in cases]
    ceilings: dict[str, float] = {}
    if any(timing.executed for timing in timings):
        say("measuring the matrix-product ceiling")
        process, pipe = _start(_send_ceilings, cases[0].device)
        ceilings = pipe.recv()
        process.join()
    return Bench(_machine(), ceilings, timings, rounds)


def _take_turns(cases: Sequence[Case], rounds: int, say: Callable[[str], None]) -> list[Timing]:
    """Each case in a process of its own, run in turn; outputs compared with the published network's."""
    timings: list[Timing] = []
    workers: list[tuple[Any, Connection]] = []
    outputs: dict[Case, Tensor] = {}
    try:
        for case in cases:
            say(f"building {case.title} {case.task}")
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
                    say(f"round {number + 1} of {rounds}: {timing.case.title} {timing.case.task}")
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
            exact, found = outputs[wanted], outputs[timing.case]
            known = ~exact.isnan()  # the patch loop is run on a sample
            timing.error = float((exact - found)[known].abs().max() / exact[known].abs().max())
    return timings


def _start(work: Callable[..., None], argument: Any) -> tuple[Any, Connection]:
    """A fresh process that does some work, and the pipe to it."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(argument, theirs), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def standard_cases(
    network: str = "bagnet33", batches: Iterable[int] = (1, 8), size: int = 224, device: str = "cpu"
) -> list[Case]:
    """The table that `bagnet bench` prints: every runtime and precision beside the published network and ResNet-50."""
    cases = []
    for batch in batches:
        plain = Case(network, "published", batch=batch, size=size, device=device)
        other = replace(plain, network="resnet50")
        cases.append(plain)
        cases += [replace(plain, how="prepared", runtime=runtime, precision=precision) for runtime, precision in _ways(device)]
        cases.append(other)
        if device == "cuda":
            cases += [replace(other, how="prepared", precision=precision) for precision in ("tf32", "bf16")]
    return cases


def map_cases(network: str = "bagnet33", size: int = 224, device: str = "cpu") -> list[Case]:
    """The dense-map table: the official loop over windows, and each runtime and precision."""
    plain = Case(network, "published", batch=1, task="map", size=size, device=device)
    return [plain, *(replace(plain, how="prepared", runtime=one, precision=other) for one, other in _ways(device))]


def _ways(device: str) -> list[tuple[str, str]]:
    if device == "cuda":
        return [("torch", precision) for precision in ("float32", "tf32", "bf16")]
    return [
        ("torch", "float32"),
        ("torch", "bf16"),
        ("onnxruntime", "float32"),
        *(("openvino", precision) for precision in ("float32", "mixed", "bf16", "int8")),
    ]


def _work(case: Case, pipe: Connection) -> None:
    """A process that builds one case, says what it gives, and runs it once whenever it is told to."""
    timing = Timing(case)
    try:
        run, timing.executed, timing.multiply_adds, timing.note = _built(case)
        before = _forget_peak(case.device)
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
        _wait(case.device)
        seconds = time.perf_counter() - start
        pipe.send((seconds * run.extrapolate, _peak_memory(case.device) - before))


@dataclass(slots=True)
class _Run:
    """Something to time, and by how much its time is to be multiplied where only a sample is run."""

    call: Callable[[], Tensor]
    executed: Callable[[], str]
    extrapolate: float = 1.0

    def __call__(self) -> Tensor:
        return self.call()


def _built(case: Case) -> tuple[_Run, str, int, str]:
    """(what to run, precision, multiply-adds, note)."""
    torch.manual_seed(0)
    if case.network == "resnet50":
        from torchvision.models import resnet50

        other = resnet50().eval()
        x = torch.randn(case.batch, 3, case.size, case.size)
        cost = case.batch * multiply_adds(other, 3, case.size, case.size)
        if case.how == "published":
            other, x = other.to(case.device), x.to(case.device)
            return _Run(lambda: other(x), lambda: "float32"), "float32", cost, ""
        runner = TorchRunner(other, case.precision, compile_it=True, device=case.device)
        return _Run(lambda: runner.apply(x, torch.clone), lambda: runner.executed), runner.executed, cost, ""
    model = create(case.network).eval().to(case.device)
    x = torch.randn(case.batch if case.task == "logits" else 1, 3, case.size, case.size).to(case.device)
    if case.task == "map":
        return _map(case, model, x)
    folded = FoldedFeatures(model)
    cost = case.batch * (multiply_adds(folded, 3, case.size, case.size) + model.fc.weight.numel())
    if case.how == "published":
        return _Run(lambda: model(x), lambda: "float32"), "float32", cost, ""
    ready = prepare(model, case.runtime, case.precision, calibration=_calibration(case), compile=case.device == "cuda")
    return _Run(lambda: ready(x), lambda: ready.precision), ready.precision, cost, ""


def _map(case: Case, model: BagNet, x: Tensor) -> tuple[_Run, str, int, str]:
    """The full-resolution map of class 0."""
    size = model.geometry.size
    margin = (size - 1) // 2
    wide = case.size + 2 * margin
    cost = multiply_adds(FoldedFeatures(model, 1), 3, wide, wide) + case.size**2 * model.fc.in_features
    if case.how == "published":
        windows = F.pad(x, [margin] * 4).unfold(2, size, 1).unfold(3, size, 1)[0].flatten(1, 2)
        sample = _PATCH_SAMPLE * PATCH_BATCH

        def loop() -> Tensor:
            values = torch.full((case.size**2,), torch.nan, device=x.device)
            for start in range(0, sample, PATCH_BATCH):
                rows = slice(start, start + PATCH_BATCH)
                values[rows] = model(windows[:, rows].permute(1, 0, 2, 3).contiguous())[:, 0]
            return values.reshape(1, 1, case.size, case.size)

        note = f"extrapolated from {sample} of {case.size**2} windows, {PATCH_BATCH} at a time"
        return _Run(loop, lambda: "float32", case.size**2 / sample), "float32", cost, note
    ready = prepare(model, case.runtime, case.precision, calibration=_calibration(case), compile=case.device == "cuda")
    return _Run(lambda: dense(ready, x, [0]).values, lambda: ready.precision), ready.precision, cost, ""


def _calibration(case: Case) -> list[Tensor] | None:
    if case.precision != "int8":
        return None
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(1, 3, case.size, case.size, generator=generator) for _ in range(8)]


def _wait(device: str) -> None:
    """Until everything asked of the device is done."""
    if device == "cuda":
        torch.cuda.synchronize()


def _forget_peak(device: str) -> int:
    """Bytes in use now; the peak counts anew from here, where the system can do that (Linux, CUDA)."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return _peak_memory(device)


def _peak_memory(device: str) -> int:
    """Most bytes in use since the peak was last forgotten: resident ones of this process, or allocated ones on CUDA."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    try:
        status = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _send_ceilings(device: str, pipe: Connection) -> None:
    pipe.send(_ceilings(device))


_SHAPES = [(1024, 1024, 1024), (2048, 2048, 2048), (4608, 512, 1024), (4096, 2048, 512), (4096, 4096, 1024)]


def _ceilings(device: str) -> dict[str, float]:
    """Multiply-adds a second of the best matrix product over several shapes, for each runtime and precision."""
    found: dict[str, float] = {}
    half = ["bf16"] if device == "cuda" or cpu_has_bf16() else []
    for precision in ("float32", *(["tf32"] if device == "cuda" else []), *half):
        found[f"torch {precision}"] = max(_torch_product(*shape, precision, device) for shape in _SHAPES)
    if device == "cpu":
        with suppress(ImportError):
            needs("openvino", "export")
            for precision in ("float32", *half):
                found[f"openvino {precision}"] = max(_openvino_product(*shape, precision) for shape in _SHAPES)
    return found


@torch.inference_mode()
def _torch_product(rows: int, inner: int, columns: int, precision: str, device: str) -> float:
    """Multiply-adds a second of one product."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    left = torch.randn(rows, inner, device=device).to(kind)
    right = torch.randn(inner, columns, device=device).to(kind)

    def product() -> None:
        torch.matmul(left, right)
        _wait(device)

    with tf32(precision == "tf32"):
        return rows * inner * columns / _fastest(product)


def _openvino_product(rows: int, inner: int, columns: int, precision: str) -> float:
    openvino = needs("openvino", "export")
    from openvino import opset13

    left = opset13.parameter([rows, inner], openvino.Type.f32)
    weight = opset13.constant(torch.randn(inner, columns).numpy())
    model = openvino.Model([opset13.matmul(left, weight, False, False)], [left])
    settings = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32"}
    request = openvino.compile_model(model, "CPU", settings).create_infer_request()
    values = torch.randn(rows, inner).numpy()
    return rows * inner * columns / _fastest(partial(request.infer, [values], share_inputs=True))


def _fastest(call: Callable[[], Any], times: int = 8) -> float:
    call()
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def _machine() -> dict[str, Any]:
    names = ("bagnet", "torch", "torchvision", "openvino", "onnxruntime", "nncf")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": {name: found for name in names if (found := _version(name))},
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
