"""What work costs: arithmetic, counted from a network's own convolutions, and memory."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def multiply_adds(network: nn.Module, channels: int, height: int, width: int) -> int:
    """Multiply-adds of all convolutions and linear layers for one image of that size; nothing is computed.

    Args:
        network: takes (1, channels, height, width).
        channels: of the image.
        height: in pixels.
        width: in pixels.
    """
    total = 0

    def count(layer: nn.Module, _: Any, out: Tensor) -> None:
        nonlocal total
        total += out.numel() * layer.weight[0].numel()  # type: ignore[index]

    with ExitStack() as stack, torch.inference_mode():
        shadow = deepcopy(network).to("meta", torch.float32)  # shapes without numbers
        for layer in shadow.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                stack.callback(layer.register_forward_hook(count).remove)
        shadow(torch.empty(1, channels, height, width, device="meta"))
    return total


def available_memory() -> int | None:
    """The memory that this process may still take without swapping, in bytes; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None
    group = Path("/sys/fs/cgroup")  # of a container
    try:
        limit, used = ((group / f"memory.{name}").read_text().strip() for name in ("max", "current"))
        return free if limit == "max" else min(free, max(0, int(limit) - int(used)))
    except (OSError, ValueError):
        return free


def peak_memory() -> int | None:
    """The most memory that this process has held, in bytes; None where the system does not say."""
    try:
        status = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        pass
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
