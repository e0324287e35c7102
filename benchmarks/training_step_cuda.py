"""A step of training on a GPU: images a second, and where its time goes, beside the fastest matrix products of this GPU.

python benchmarks/training_step_cuda.py --out docs/results/DATE-MACHINE-training-step.csv

Forward pass in bf16, loss, backward pass, clipped gradients, AdamW, as `bagnet train` does it: kernel by kernel, and with its
passes as CUDA graphs. "Busy" is the sum of the durations of all kernels: what is left of a step is waiting for the processor,
which starts several hundred of them. The losses of the first steps, from the same weights and images, are compared.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from bagnet.architecture import Architecture
from bagnet.model import BagNet
from bagnet.training.captured import captured
from bagnet.training.losses import classification

CASES = [  # crop, width, 3x3 blocks per stage, images of a step
    (53, 24, (1, 1, 1, 2), 256),
    (53, 40, (1, 1, 1, 2), 256),
]
WAYS: dict[str, Callable[[BagNet], AbstractContextManager[None]]] = {
    "kernel by kernel": lambda _: nullcontext(),
    "CUDA graphs": captured,
}
STEPS, COMPARED = 30, 20
KINDS = {  # part of a kernel's name -> what it is for
    "products": ("gemm", "conv", "xmma", "cutlass", "dgrad", "wgrad", "fprop", "cudnn_engine", "winograd"),
    "batch normalisation": ("batch_norm", "bn_fw", "bn_bw", "batchnorm"),
    "optimiser and clip": ("multi_tensor", "lpnorm", "adam"),
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--out", type=Path, required=True)
    asked = options.parse_args()
    torch.backends.cudnn.benchmark = True
    ceiling = matrix_product_ceiling()
    rows: list[dict[str, Any]] = []
    for crop, width, kernel3, images in CASES:
        losses: dict[str, list[float]] = {}
        for name, way in WAYS.items():
            network, step = training_step(crop, width, kernel3, images)
            with way(network):
                losses[name] = [float(step()) for _ in range(COMPARED)]  # warms up, too, and tries out how to convolve
                seconds = median(timed(step) for _ in range(3))
                kinds = spent(step)
            with FlopCounterMode(display=False) as counter:
                step()
            products = counter.get_total_flops() / 2
            row: dict[str, Any] = {"device": torch.cuda.get_device_name(), "way": name, "crop": crop, "width": width}
            row |= {"kernel3": ",".join(map(str, kernel3)), "batch": images, "images_per_second": round(images / seconds)}
            row |= {"step_ms": round(1000 * seconds, 2), "busy_ms": round(sum(kinds.values()), 2)}
            row |= {f"{kind.replace(', ', '_').replace(' ', '_')}_ms": round(kinds[kind], 2) for kind in (*KINDS, "the rest")}
            row |= {"giga_multiply_adds": round(products / 1e9, 2), "products_at_ceiling_ms": round(1000 * products / ceiling, 2)}
            row |= {"ceiling_giga_multiply_adds_per_second": round(ceiling / 1e9)}
            first = next(iter(losses.values()))
            row |= {"largest_loss_difference": max(abs(a - b) for a, b in zip(first, losses[name], strict=True))}
            print(row, flush=True)
            rows.append(row)
    with asked.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def training_step(
    crop: int, width: int, kernel3: tuple[int, int, int, int], images: int
) -> tuple[BagNet, Callable[[], torch.Tensor]]:
    """(the network, what does a step and gives its loss)."""
    torch.manual_seed(0)
    shape = Architecture(kernel3, (2, 2, 1, 1), (2, 2, 3, 2), width, num_classes=200)
    network = BagNet(shape).train().cuda().to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), fused=True)
    x = torch.randn(images, 3, crop, crop, device="cuda").contiguous(memory_format=torch.channels_last)
    targets = torch.eye(200, device="cuda")[torch.arange(images, device="cuda") % 200]

    def step() -> torch.Tensor:
        with torch.autocast("cuda", torch.bfloat16):
            logits = network(x)
        loss = classification(logits, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        return loss.detach()

    return network, step


def timed(step: Callable[[], torch.Tensor]) -> float:
    """Seconds of a step, of some in a row."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(STEPS):
        step()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / STEPS


def spent(step: Callable[[], torch.Tensor]) -> dict[str, float]:
    """Milliseconds of a step's kernels, by what they are for."""
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as profiled:
        for _ in range(5):
            step()
        torch.cuda.synchronize()
    kinds: dict[str, float] = defaultdict(float)
    for event in profiled.key_averages():
        if event.device_type.name == "CUDA":
            name = event.key.lower()
            kind = next((kind for kind, parts in KINDS.items() if any(part in name for part in parts)), "the rest")
            kinds[kind] += event.self_device_time_total / 5000
    return kinds


def matrix_product_ceiling() -> float:
    """Multiply-adds a second of a large bf16 matrix product."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        a @ b
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(10):
        a @ b
    torch.cuda.synchronize()
    return float(10 * 8192**3 / (time.perf_counter() - start))


if __name__ == "__main__":
    main()
