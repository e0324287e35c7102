"""The processes that train together, as torchrun starts them; one alone where it did not."""

from __future__ import annotations

import os
from typing import Any


def rank() -> int:
    """Which of the processes this is. The first one writes and speaks."""
    return int(os.environ.get("RANK", "0"))


def ranks() -> int:
    """How many there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def trainer_options() -> dict[str, Any]:
    """What Lightning's trainer is to know of them."""
    if ranks() == 1:
        return {"devices": 1}
    import torch

    local = int(os.environ.get("LOCAL_WORLD_SIZE", ranks()))
    # SyncBatchNorm is for GPUs alone: on CPUs each process normalises over its own part of the batch.
    return {"devices": local, "num_nodes": ranks() // local, "strategy": "ddp", "sync_batchnorm": torch.cuda.is_available()}
