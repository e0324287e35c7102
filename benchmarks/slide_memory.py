"""Peak memory and speed of `bagnet.slide` against the size of the image: the memory is to be flat.

python benchmarks/slide_memory.py 10000 40000                               # sides of square images, in pixels
python benchmarks/slide_memory.py 10000 --model bagnet9s4.tiny_in200 --runtime openvino

Each image is a pyramidal BigTIFF of JPEG tiles with noise in them, written a tile at a time, and seen by a process of its own.
Without --model the network is a narrow BagNet with random weights, so that 1.6 gigapixels take minutes.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tifffile
import torch

import bagnet
from bagnet.engine.cost import peak_memory

TILE = 256  # of the image, in pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sides", nargs="+", type=int)
    parser.add_argument("--model")
    parser.add_argument("--runtime", default="torch")
    parser.add_argument("--threads", type=int, default=1, help="of the network")
    parser.add_argument("--readers", type=int, default=2)
    parser.add_argument("--image", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.image is not None:
        measure(options)
        return
    for side in options.sides:
        with TemporaryDirectory() as folder:
            image = Path(folder) / "image.tif"
            write_pyramid(image, side)
            subprocess.run([sys.executable, __file__, *sys.argv[1:], "--image", str(image)], check=True)


def write_pyramid(path: Path, side: int) -> None:
    """A BigTIFF of JPEG tiles in levels of half the size each, down to 2,000 pixels."""
    random = np.random.default_rng(0)
    blocks = random.integers(40, 220, (16, TILE // 8, TILE // 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    sides = [side]
    while sides[-1] > 2000:
        sides.append(sides[-1] // 2)

    def tiles(length: int) -> Iterator[np.ndarray]:
        count = -(-length // TILE)
        for number in range(count * count):
            yield blocks[number * 7 % len(blocks)]

    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for number, length in enumerate(sides):
            file.write(
                tiles(length),
                shape=(length, length, 3),
                dtype=np.uint8,
                tile=(TILE, TILE),
                photometric="rgb",
                compression="jpeg",
                subifds=len(sides) - 1 if number == 0 else None,
                subfiletype=1 if number else 0,
            )


def measure(options: argparse.Namespace) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if options.model:
        model = bagnet.prepare(bagnet.load(options.model), options.runtime)
    else:
        model = bagnet.create(kernel3=(1, 1, 0, 0), strides=(2, 2, 2, 1), layers=(1, 1, 1, 1), width=4, num_classes=10).eval()
    with TemporaryDirectory() as folder:
        before, start = peak_memory() or 0, time.perf_counter()
        result = bagnet.slide(model, options.image, [0], Path(folder) / "out", readers=options.readers)
        seconds = time.perf_counter() - start
        peak = (peak_memory() or 0) / 1e6
        (height, width) = result.size
        print(
            f"{width} x {height}: peak {peak:.0f} MB ({before / 1e6:.0f} before), {seconds:.0f} s, "
            f"{height * width / seconds / 1e6:.2f} megapixels/s, map {' x '.join(map(str, result.evidence.shape[1:]))}",
            flush=True,
        )


if __name__ == "__main__":
    main()
