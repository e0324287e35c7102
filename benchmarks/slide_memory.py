"""Peak memory of `bagnet.slide` against the size of the image: it is to be flat.

python benchmarks/slide_memory.py 10000 40000          # sides of square images, in pixels; each in a process of its own

The image is an empty `.npy` of that size, the network a narrow BagNet with random weights, so that 1.6 gigapixels take minutes.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

import bagnet
from bagnet.engine.cost import peak_memory


def main() -> None:
    if len(sys.argv) == 2:
        measure(int(sys.argv[1]))
        return
    for side in sys.argv[1:]:
        subprocess.run([sys.executable, __file__, side], check=True)


def measure(side: int) -> None:
    torch.manual_seed(0)
    model = bagnet.create(kernel3=(1, 1, 0, 0), strides=(2, 2, 2, 1), layers=(1, 1, 1, 1), width=4, num_classes=10).eval()
    with TemporaryDirectory() as folder:
        image = np.lib.format.open_memmap(Path(folder) / "image.npy", "w+", np.uint8, (side, side, 3))
        del image
        before, start = peak_memory() or 0, time.perf_counter()
        result = bagnet.slide(model, Path(folder) / "image.npy", [0], Path(folder) / "out")
        seconds = time.perf_counter() - start
        peak = (peak_memory() or 0) / 1e6
        print(
            f"{side} x {side}: peak {peak:.0f} MB ({before / 1e6:.0f} before), {seconds:.0f} s, "
            f"{side * side / seconds / 1e6:.1f} megapixels/s, map {' x '.join(map(str, result.evidence.shape[1:]))}",
            flush=True,
        )


if __name__ == "__main__":
    main()
