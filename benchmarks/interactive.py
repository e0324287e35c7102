"""How fast one image at a time is explained and edited: medians in milliseconds.

python benchmarks/interactive.py [PHOTOGRAPH]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import bagnet
from bagnet.engine.prepare import Prepared
from bagnet.evidence.change import changed, occlude
from bagnet.geometry import Box

ROUNDS = 30


def milliseconds(calls: dict[str, Callable[[], Any]], rounds: int = ROUNDS) -> dict[str, float]:
    """Medians of some calls taken in turn, after one of each to warm up."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            taken[name].append(1000 * (time.perf_counter() - start))
    return {name: median(times) for name, times in taken.items()}


@torch.inference_mode()
def main() -> None:
    if len(sys.argv) > 1:
        photograph = Image.open(sys.argv[1]).convert("RGB")
    else:
        from skimage.data import astronaut

        photograph = Image.fromarray(astronaut())
    frame = np.asarray(photograph.resize((640, 480)))
    plain = bagnet.load()
    x = plain.transform(Image.fromarray(frame))[None]
    box = Box(20, 20, 36, 36)
    edited = x.clone()
    edited[..., *box.slices] = 0
    calls: dict[str, Callable[[], Any]] = {}
    for name, model in (("torch", plain), ("openvino", bagnet.prepare(plain, "openvino"))):
        before = model.evidence(x)
        calls[f"bundled model, {name}: 640 x 480 frame to logits, map and overlay"] = lambda model=model: bagnet.explain(
            model, frame
        ).overlay()
        calls[f"bundled model, {name}: logits with one 16 x 16 box masked"] = lambda model=model, before=before: occlude(
            model, x, [box], values=before
        )
        calls[f"bundled model, {name}: whole map with one 16 x 16 box masked"] = lambda model=model, before=before: changed(
            model, before, edited, box
        )
    show(milliseconds(calls))

    big = torch.randn(1, 3, 224, 224)
    middle = Box(104, 104, 120, 120)
    masked = big.clone()
    masked[..., *middle.slices] = 0
    for runtime in ("torch", "openvino"):
        masking(bagnet.prepare(bagnet.create("bagnet17").eval(), runtime), big, masked, middle)


def masking(model: Prepared, x: Tensor, masked: Tensor, box: Box) -> None:
    """A full pass against what a masked box changes, one class."""
    before = model.evidence(x, [0])
    found = milliseconds(
        {
            f"bagnet17, {model.runtime}: full pass, 224 x 224": lambda: model.evidence(masked, [0]),
            f"bagnet17, {model.runtime}: the same after masking 16 x 16": lambda: changed(model, before, masked, box, [0]),
        },
        10,
    )
    show(found)
    full, part = found.values()
    print(f"{part / full:10.3f}     of a full pass")
    error = float((changed(model, before, masked, box, [0]) - model.evidence(masked, [0])).abs().max())
    print(f"{error:10.1e}     largest difference from the full pass")


def show(found: dict[str, float]) -> None:
    for name, took in found.items():
        print(f"{took:10.1f} ms  {name}")


if __name__ == "__main__":
    main()
