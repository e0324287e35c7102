"""The processes that train together, as torchrun starts them; one alone where it did not."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def rank() -> int:
    """Which of the processes this is. The first one writes and speaks."""
    return int(os.environ.get("RANK", "0"))


def ranks() -> int:
    """How many there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def device() -> torch.device:
    """Where this process trains, and asks teachers: its GPU, where there is one."""
    import torch

    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def trainer_options() -> dict[str, Any]:
    """What Lightning's trainer is to know of them."""
    import torch

    # With inputs of few sizes, trying out how to convolve pays off within the first steps.
    options = {"benchmark": torch.cuda.is_available()}
    if ranks() == 1:
        return {**options, "devices": 1}
    local = int(os.environ.get("LOCAL_WORLD_SIZE", ranks()))
    # SyncBatchNorm is for GPUs alone: on CPUs each process normalises over its own part of the batch.
    options |= {"sync_batchnorm": torch.cuda.is_available()}
    return {**options, "devices": local, "num_nodes": ranks() // local, "strategy": "ddp"}
