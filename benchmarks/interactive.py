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
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

import bagnet
from bagnet.engine.prepare import Prepared
from bagnet.figures.overlay import overlay
from bagnet.geometry import Box

ROUNDS = 30
SIDE = 16  # of the masked box, in pixels of the network's input


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
    for runtime in ("torch", "openvino"):
        bundled(bagnet.prepare(plain, runtime), frame, x)

    big = torch.randn(1, 3, 224, 224)
    for runtime in ("torch", "openvino"):
        masking(bagnet.prepare(bagnet.create("bagnet17").eval(), runtime), big)


def bundled(model: Prepared, frame: NDArray[np.uint8], x: Tensor) -> None:
    """A frame, and one box of it masked."""
    before, edits = bagnet.explain(model, x), Edits(x, 0)
    values = torch.tensor(before.values)[None]
    found = milliseconds(
        {
            "640 x 480 frame to logits, map and overlay": lambda: overlay(bagnet.explain(model, frame)),
            "logits with a 16 x 16 box masked": lambda: bagnet.occlude(model, x, [edits.next()[1]], values=values),
            "Evidence with a 16 x 16 box masked": lambda: bagnet.change(model, before, *edits.next()),
        }
    )
    show({f"bundled model, {model.runtime}: {name}": took for name, took in found.items()})


class Edits:
    """One image with a box masked, each time elsewhere: some boxes touch the border."""

    def __init__(self, x: Tensor, seed: int) -> None:
        self._x, self._random = x, np.random.default_rng(seed)

    def next(self) -> tuple[Tensor, Box]:
        """(1, C, H, W) and the box."""
        left, top = (int(self._random.integers(0, length - SIDE + 1)) for length in (self._x.shape[3], self._x.shape[2]))
        box, edited = Box(left, top, left + SIDE, top + SIDE), self._x.clone()
        edited[(..., *box.slices)] = 0
        return edited, box


def masking(model: Prepared, x: Tensor) -> None:
    """A full pass against what a masked box changes, one class."""
    before, edits = model.evidence(x, [0]), Edits(x, 0)
    cross, dots = torch.zeros(2, *x.shape[2:], dtype=torch.bool)
    cross[111:113], cross[:, 111:113] = True, True
    dots[torch.rand(dots.shape, generator=torch.Generator().manual_seed(0)) < 0.05] = True
    found = milliseconds(
        {
            "full pass, 224 x 224": lambda: model.evidence(x, [0]),
            "after masking 16 x 16": lambda: bagnet.change(model, before, *edits.next(), [0]),
            "after a cross of 2 px lines": lambda: bagnet.change(model, before, torch.where(cross, 0.0, x), cross, [0]),
            "after 5 % of the pixels": lambda: bagnet.change(model, before, torch.where(dots, 0.0, x), dots, [0]),
        },
        10,
    )
    full = found["full pass, 224 x 224"]
    show({f"bagnet17, {model.runtime}: {name} ({took / full:.2f} of a full pass)": took for name, took in found.items()})
    error = 0.0
    for edited, where in [*(edits.next() for _ in range(20)), *((torch.where(mask, 0.0, x), mask) for mask in (cross, dots))]:
        found_map, full_map = bagnet.change(model, before, edited, where, [0]), model.evidence(edited, [0])
        error = max(error, float((found_map - full_map).abs().max() / full_map.abs().max()))
    print(f"{error:10.1e}     largest difference from the full pass, of the largest logit")


def show(found: dict[str, float]) -> None:
    for name, took in found.items():
        print(f"{took:10.1f} ms  {name}", flush=True)


if __name__ == "__main__":
    main()
