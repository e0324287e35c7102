"""The fastest matrix products that this machine does: what no network of 1x1 convolutions can exceed."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import torch

from ..engine.inference import tf32_products
from ..engine.runtimes.pytorch import cpu_has_bf16
from ..missing import needs
from .machine import wait

_SHAPES = [(1024, 1024, 1024), (2048, 2048, 2048), (4608, 512, 1024), (4096, 2048, 512), (4096, 4096, 1024)]


def ceilings(device: str) -> dict[str, float]:
    """Multiply-adds a second of the best matrix product over several shapes, for each runtime and precision."""
    speeds: dict[str, float] = {}
    half = ["bf16"] if device == "cuda" or cpu_has_bf16() else []
    for precision in ("float32", *(["tf32"] if device == "cuda" else []), *half):
        speeds[f"torch {precision}"] = max(_torch_product(*shape, precision, device) for shape in _SHAPES)
    if device == "cpu":
        with suppress(ImportError):
            needs("openvino", "export")
            for precision in ("float32", *half):
                speeds[f"openvino {precision}"] = max(_openvino_product(*shape, precision) for shape in _SHAPES)
    return speeds


@torch.inference_mode()
def _torch_product(rows: int, inner: int, columns: int, precision: str, device: str) -> float:
    """Multiply-adds a second of one product."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    left = torch.randn(rows, inner, device=device).to(kind)
    right = torch.randn(inner, columns, device=device).to(kind)

    def product() -> None:
        torch.matmul(left, right)
        wait(device)

    with tf32_products(precision == "tf32"):
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
