"""What a megapixel of a slide costs in processor seconds: reading it from several kinds of file, and computing its evidence.

python benchmarks/slide_cost.py --slide scan.svs --out docs/results/DATE-MACHINE-slide-cost.csv

Processor seconds of this process, which other work on the machine changes little; medians of several tiles of 1024 x 1024 pixels.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import skimage
import tifffile
import torch
from PIL import Image

import bagnet
from bagnet.engine.classifier import Classifier
from bagnet.geometry import Box
from bagnet.slides.readers import Reader, open_reader

SIDE, TILE = 4096, 1024
MODELS = ("bagnet9s4.tiny_in200", "bagnet33s4.tiny_in200", "bagnet33", "default")  # the third with random weights
RUNTIMES = (("torch", "float32"), ("openvino", "float32"), ("openvino", "bf16"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slide", type=Path, help="a file of a scanner, to be read, too")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with TemporaryDirectory() as folder:
        for row in [*reading(Path(folder), options.slide, options.repeats), *computing(options.repeats)]:
            print(row, flush=True)
            rows.append(row)
    if options.out is not None:
        with options.out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


def row(work: str, what: str, how: str, seconds: float, pixels: int) -> dict[str, object]:
    per_megapixel = seconds / pixels * 1e6
    return {"work": work, "what": what, "how": how, "core_seconds_per_megapixel": round(per_megapixel, 4)}


def reading(folder: Path, slide: Path | None, repeats: int) -> Iterator[dict[str, object]]:
    """From a photograph of textures, scaled up, in several kinds of file."""
    photograph = Image.open(Path(skimage.__file__).parent / "data" / "ihc.png").convert("RGB")
    pixels = np.tile(np.asarray(photograph), (SIDE // photograph.height + 1, SIDE // photograph.width + 1, 1))[:SIDE, :SIDE]
    kinds = {"jpeg": {"compression": "jpeg"}, "deflate": {"compression": "zlib"}, "plain": {}}
    for name, how in kinds.items():
        tifffile.imwrite(folder / f"{name}.tif", pixels, tile=(256, 256), photometric="rgb", **how)
        with closing(open_reader(folder / f"{name}.tif")) as reader:
            yield row("reading", f"TIFF, {name} tiles of 256 px", "tifffile", *measured(reader, repeats))
    if slide is not None:
        with closing(open_reader(slide)) as reader:
            yield row("reading", slide.name, "OpenSlide", *measured(reader, repeats))


def measured(reader: Reader, repeats: int) -> tuple[float, int]:
    """(median seconds, pixels) of a region, each read from another place."""
    level = reader.levels[0]
    boxes = [
        Box(0, 0, TILE, TILE).shift(37 * n % (level.width - TILE), 211 * n % (level.height - TILE)) for n in range(repeats + 1)
    ]
    times = iter(boxes)
    return median_seconds(lambda: reader.read(0, next(times)), repeats), TILE * TILE


def computing(repeats: int) -> Iterator[dict[str, object]]:
    """The evidence of a class, as `bagnet.slide` computes a tile."""
    x = torch.randn(1, 3, TILE, TILE, generator=torch.Generator().manual_seed(0))
    for name in MODELS:
        model = bagnet.load(name) if "." in name or name == "default" else bagnet.create(name).eval()
        for runtime, precision in RUNTIMES:
            prepared = bagnet.prepare(model, runtime, precision)
            seconds = median_seconds(partial(evidence, prepared, x), repeats)
            yield row("computing", name, f"{runtime} {precision}", seconds, TILE * TILE)


def evidence(model: Classifier, x: torch.Tensor) -> None:
    with torch.inference_mode():
        model.head(model.features(x), [0])


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    """Processor seconds of a call, the first, which prepares things, left out."""
    call()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return median(times)


if __name__ == "__main__":
    main()
