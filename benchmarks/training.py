"""How fast a step of training is, in float32 and bf16, and whether reading and augmenting images keeps up with it.

python benchmarks/training.py tiny-imagenet --out docs/results/DATE-MACHINE-training.csv

The loader is timed alone, in this process and in workers, on the augmentations that training offers; the step on batches that
are there already. Figures are medians over the rounds, which take turns.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch.utils.data import DataLoader

from bagnet.architecture import Architecture
from bagnet.bench.machine import machine
from bagnet.data.augment import Augmentation, Mixing, Views
from bagnet.data.labelled import open_labelled
from bagnet.data.order import Order
from bagnet.data.pixels import Pixels
from bagnet.data.samples import Samples
from bagnet.model import BagNet
from bagnet.training.losses import classification

SHAPE = Architecture((1, 1, 1, 1), (2, 2, 1, 1), (2, 2, 3, 2), 16, num_classes=200)  # as the bundled ones of the paper's sizes
STEPS = 6  # of each round


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("data", type=Path)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--batch", type=int, default=128)
    options.add_argument("--size", type=int, default=64)
    asked = options.parse_args()
    images = open_labelled(asked.data, "train")
    images = images.take(range(20 * asked.batch))
    pixels = Pixels(images.images, 3)
    ways: dict[str, tuple[Augmentation, Mixing]] = {
        "crop and mirror": (Augmentation(asked.size), Mixing()),
        "resized crop": (Augmentation(asked.size, 0.35), Mixing()),
        "resized crop, TrivialAugment": (Augmentation(asked.size, 0.35, policy="trivial"), Mixing()),
        "resized crop, TrivialAugment, mixup and cutmix": (Augmentation(asked.size, 0.35, policy="trivial"), Mixing(0.2, 1.0)),
    }
    cases: dict[str, Callable[[], float]] = {
        f"step {precision}": _step(precision, asked.batch, asked.size) for precision in ("float32", "bf16")
    }
    for name, (augmentation, mixing) in ways.items():
        samples = Samples(images, pixels, Views(augmentation, augmentation, 0), mixing, 0)
        for workers in (0, max(1, (os.cpu_count() or 1) - 1)):
            cases[f"loader alone, {workers} workers: {name}"] = _loader(samples, asked.batch, workers)
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(asked.rounds):
        for name, run in cases.items():
            seconds[name].append(run())
    known = machine()
    slowest = asked.batch / median(seconds["step float32"])
    with asked.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "images_per_second", "times_step_float32", "batch", "size", "rounds", *known])
        for name, found in seconds.items():
            speed = asked.batch / median(found)
            print(f"{name:70} {speed:8.0f} images/s  {speed / slowest:5.2f} x the float32 step")
            rest = [json.dumps(value) if isinstance(value, dict) else value for value in known.values()]
            writer.writerow([name, round(speed, 1), round(speed / slowest, 3), asked.batch, asked.size, asked.rounds, *rest])


def _step(precision: str, batch: int, size: int) -> Callable[[], float]:
    """Seconds of a step: forward, loss, backward, optimiser."""
    torch.manual_seed(0)
    model = BagNet(SHAPE).train().to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(model.parameters())
    x = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    targets = torch.eye(200)[torch.arange(batch) % 200]

    def run() -> float:
        for number in range(STEPS + 1):
            if number == 1:  # the first one warms up
                start = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                loss = classification(model(x), targets)
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
        return (time.perf_counter() - start) / STEPS

    return run


def _loader(samples: Samples, batch: int, workers: int) -> Callable[[], float]:
    """Seconds of a batch, once the workers are there."""
    order = Order(len(samples), batch, 0)
    context = "spawn" if workers else None
    loader = DataLoader(
        samples, None, sampler=order, num_workers=workers, multiprocessing_context=context, persistent_workers=workers > 0
    )
    epoch = 0

    def run() -> float:
        nonlocal epoch
        if epoch == 0:  # starts the workers
            for _ in loader:
                pass
        epoch += 1
        order.set_epoch(epoch)
        start = time.perf_counter()
        count = sum(1 for _ in loader)
        return (time.perf_counter() - start) / count

    return run


if __name__ == "__main__":
    main()
