"""The machine: what it is, how much memory a process used on it, and when its work is done."""

from __future__ import annotations

import os
import platform
import resource
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ..engine import cost


def machine() -> dict[str, Any]:
    names = ("bagnet", "torch", "torchvision", "openvino", "onnxruntime", "nncf")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": {name: release for name in names if (release := _version(name))},
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


def wait(device: str) -> None:
    """Until everything asked of the device is done."""
    if device == "cuda":
        torch.cuda.synchronize()


def forget_peak(device: str) -> int:
    """Bytes in use now; the peak counts anew from here, where the system can do that (Linux, CUDA)."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return peak_memory(device)


def peak_memory(device: str) -> int:
    """Most bytes in use since the peak was last forgotten: resident ones of this process, or allocated ones on CUDA."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return cost.peak_memory() or 0
