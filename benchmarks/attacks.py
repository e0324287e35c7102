"""Do certificates hold? Patches are optimised against images with and without one.

    python benchmarks/attacks.py PHOTOS --window 128 98 422 --patch 2% --images 24 --minutes 15
    python benchmarks/attacks.py tiny-imagenet --model bagnet9s4.tiny_in200 --patch 2% --images 500

An image counts where the certified classifier is right. Of those without a certificate many should fall, of those with one none.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import Counter
from functools import partial
from pathlib import Path

import bagnet
from bagnet.certificates.attack import attack
from bagnet.certificates.certify import METHODS, certificate_of
from bagnet.certificates.patch import Patch
from bagnet.data.labelled import open_labelled


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("data", type=Path, help="photographs with photos.csv, or labelled images with a split val")
    options.add_argument("--model", default="default")
    options.add_argument(
        "--window", type=int, nargs=3, action="append", metavar=("SIZE", "STRIDE", "SCALE"),
        help="of the model's network; repeat it for windows that vote together",
    )  # fmt: skip
    options.add_argument("--patch", default="2%")
    options.add_argument("--images", type=int, default=60)
    options.add_argument("--places", type=int, default=2)
    options.add_argument("--restarts", type=int, default=2)
    options.add_argument("--steps", type=int, default=15)
    options.add_argument("--minutes", type=float, default=60, help="after which no further image is begun")
    options.add_argument("--out", type=Path, help="a table to which these counts are added")
    arguments = options.parse_args()
    network = bagnet.load(arguments.model)
    models = [bagnet.windowed(network, window, stride, scale=scale) for window, stride, scale in arguments.window or ()] or [
        network
    ]
    methods = METHODS if len(models) == 1 else ("voting",)
    counts, patches, images = attacked(models, methods, arguments)
    lines = [
        {
            "model": " + ".join(f"{model.card.name} of {model.transform.resize or 'its size'}" for model in models),
            "patch": str(Patch.parse(arguments.patch)),
            "images": images,
            "method": method,
            "certified": certified,
            "attacked": counts[method, certified, True] + counts[method, certified, False],
            "broken": counts[method, certified, True],
            "patches": patches[method, certified],
            "steps": arguments.steps,
        }
        for method in methods
        for certified in (True, False)
    ]
    for line in lines:
        print(*line.values(), sep="  ")
    if arguments.out:
        with arguments.out.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, lines[0])
            if not file.tell():
                writer.writeheader()
            writer.writerows(lines)


def attacked(models, methods, arguments) -> tuple[Counter[tuple[str, bool, bool]], Counter[tuple[str, bool]], int]:  # type: ignore[no-untyped-def]
    """By method and verdict: how many images were broken and how many not, and how many patches were tried; and the images."""
    patch, end = Patch.parse(arguments.patch), time.monotonic() + 60 * arguments.minutes
    counts: Counter[tuple[str, bool, bool]] = Counter()
    patches: Counter[tuple[str, bool]] = Counter()
    images = 0
    for image, label in labelled(arguments.data, arguments.images, models[0]):
        if time.monotonic() > end:
            break
        images += 1
        maps = [bagnet.explain(model, image) for model in models]
        for method in methods:
            again = partial(certificate_of, patch=patch, method=method)
            certificate = again(maps)
            if certificate.label == label:
                tried = attack(
                    models, image, certificate, again,
                    places=arguments.places, restarts=arguments.restarts, steps=arguments.steps, seed=images,
                )  # fmt: skip
                patches[method, certificate.certified] += tried.tried
                counts[method, certificate.certified, tried.broken] += 1
    return counts, patches, images


def labelled(data: Path, count: int, model) -> list[tuple[object, int]]:  # type: ignore[no-untyped-def]
    """Images and the model's indices of their classes."""
    if (data / "photos.csv").is_file():
        with (data / "photos.csv").open(newline="", encoding="utf-8") as file:
            return [(data / row["file"], int(row["imagenet_index"])) for row in csv.DictReader(file)][:count]
    images = open_labelled(data, "val")
    columns = images.classes.among(model.classes)
    rows = range(0, len(images), max(1, len(images) // count))
    return [(images.images.photo(row).image, columns[int(images.targets[row])]) for row in rows][:count]


if __name__ == "__main__":
    main()
