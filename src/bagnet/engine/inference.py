"""Exact mode: eval mode and full float32, whatever state a model and torch are in, and back again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def exact(model: Any) -> Iterator[None]:
    """Eval mode, TF32 and autocast off inside; everything as it was after. Of other things than modules only torch is set."""
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    modes = [module.training for module in modules]
    device = next((p.device.type for p in model.parameters()), "cpu") if modules else "cpu"
    try:
        for module in modules:
            module.training = False
        with tf32_products(False), torch.autocast(device, enabled=False):
            yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


@contextmanager
def tf32_products(allowed: bool) -> Iterator[None]:
    """Inside, float32 products on CUDA may or may not round to TF32; afterwards the setting is as it was."""
    matmul, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision("high" if allowed else "highest")
        torch.backends.cudnn.allow_tf32 = allowed
        yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = cudnn


def like_weights(x: Tensor, model: Any) -> Tensor:
    """An input where a model's weights are, in their type; as it is for models that see to it themselves."""
    weight = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return x if weight is None else x.to(weight.device, weight.dtype)
