"""Do certificates hold? Patches are optimised against images with and without one.

    python benchmarks/attacks.py PHOTOS --patch 2% --images 60
    python benchmarks/attacks.py tiny-imagenet --model bagnet9s4.tiny_in200 --patch 5input --images 200

An image counts where the certified classifier is right. Of those without a certificate many should fall, of those with one none.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from functools import partial
from pathlib import Path

import bagnet
from bagnet.certificates.attack import attack
from bagnet.certificates.certify import METHODS, certificate_of
from bagnet.certificates.patch import Patch
from bagnet.data.labelled import open_labelled
from bagnet.evidence.explain import explain_batch, take


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("data", type=Path, help="photographs with photos.csv, or labelled images with a split val")
    options.add_argument("--model", default="default")
    options.add_argument("--patch", default="2%")
    options.add_argument("--images", type=int, default=60)
    options.add_argument("--places", type=int, default=2)
    options.add_argument("--steps", type=int, default=15)
    arguments = options.parse_args()
    model = bagnet.load(arguments.model)
    patch = Patch.parse(arguments.patch)
    counts: Counter[tuple[str, bool, bool]] = Counter()
    patches = 0
    for image, label in labelled(arguments.data, arguments.images, model):
        seen = take(model, image, model.transform)
        (evidence,) = explain_batch(model, [seen])
        for method in METHODS:
            again = partial(certificate_of, patch=patch, method=method)
            certificate = again(evidence)
            if certificate.label == label:
                tried = attack(model, seen, certificate, again, places=arguments.places, steps=arguments.steps)
                patches += tried.tried
                counts[method, certificate.certified, tried.broken] += 1
    print(f"{model.card.name}, {patch}: {arguments.images} images, {patches} patches of {arguments.steps} steps")
    for method in METHODS:
        for certified in (True, False):
            broken, held = (counts[method, certified, broken] for broken in (True, False))
            print(f"{method}, {'certified' if certified else 'not certified'}: {broken} of {broken + held} broken")


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
