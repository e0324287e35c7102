"""How far full-resolution maps in lower precisions are from float32, class by class.

python benchmarks/map_error.py PHOTOGRAPH...

BagNet-33 with random weights (three seeds, 20 classes, 224 x 224 noise), then the bundled model on photographs, for the class
that it takes each for. Errors are the largest over the map, as a share of the largest value of that class's own map.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch
from torch import Tensor

import bagnet
from bagnet.model import BagNet

PRECISIONS = ("mixed", "bf16")
SEEDS, CLASSES, SIDE = 3, range(0, 1000, 50), 224


def main() -> None:
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        model, x = bagnet.create("bagnet33"), torch.randn(1, 3, SIDE, SIDE)
        for precision, found in errors(model, x, CLASSES).items():
            print(f"random weights {seed}, {precision}: {found.min():.4f} to {found.max():.4f}, median {found.median():.4f}")
    model = bagnet.load()
    for path in sys.argv[1:]:
        evidence = bagnet.explain(model, path)
        x, best = model.transform(evidence.image)[None], evidence.top(1)[0]
        for precision, found in errors(model, x, [best.index]).items():
            print(f"{path}, {best.name}, {precision}: {float(found):.4f}")


def errors(model: BagNet, x: Tensor, classes: Sequence[int]) -> dict[str, Tensor]:
    """Precision -> (K,) largest error of each class's map."""
    exact = bagnet.dense(bagnet.prepare(model, "openvino"), x, classes).values[0].flatten(1)
    found = {name: bagnet.dense(bagnet.prepare(model, "openvino", name), x, classes).values[0].flatten(1) for name in PRECISIONS}
    return {name: (values - exact).abs().amax(1) / exact.abs().amax(1) for name, values in found.items()}


if __name__ == "__main__":
    main()
