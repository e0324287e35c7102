"""What certificates cost beside the forward pass, and how many of a set of labelled photographs have one.

    python benchmarks/certificates.py PHOTOS --out docs/results/FILE.csv

PHOTOS is a folder with `photos.csv` (columns `file` and `imagenet_index`). Windows and scales are those of `CONFIGURATIONS`, of
the bundled default's network; a patch is a share of the photograph, the resize filter's reach included.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import numpy as np

import bagnet
from bagnet.certificates.certify import certificate_of
from bagnet.certificates.patch import Patch
from bagnet.evidence.explain import explain_batch, take
from bagnet.statistics import shares

# Window, stride, scale: the default, the smallest scales at which 2 % of a photograph of 299 px touch no more than 1 of 2, 2 of 4
# and 1 of 3 windows along an axis, and windows side by side.
CONFIGURATIONS = ((128, 64, 448), (128, 171, 299), (128, 98, 422), (160, 123, 529), (128, 220, 568), (128, 128, 512))
SHARES = (0.01, 0.02, 0.04)
METHODS = (("voting", ""), ("margin", "probabilities"), ("margin", "clipped"), ("margin", "tanh"))
BATCH = 10


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("photos", type=Path)
    options.add_argument("--runtime", default="openvino")
    options.add_argument("--out", type=Path, required=True)
    arguments = options.parse_args()
    with (arguments.photos / "photos.csv").open(newline="", encoding="utf-8") as file:
        truth = [(arguments.photos / row["file"], int(row["imagenet_index"])) for row in csv.DictReader(file)]
    lines = [line for shape in CONFIGURATIONS for line in measured(shape, arguments.runtime, truth)]
    with arguments.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    for line in lines:
        print(*line.values(), sep="  ")


def measured(shape: tuple[int, int, int], runtime: str, truth: list[tuple[Path, int]]) -> list[dict[str, object]]:
    """A line for each size of patch and each method."""
    window, stride, scale = shape
    model = bagnet.prepare(bagnet.windowed(bagnet.load(), window, stride, scale=scale), runtime)
    claims = [(Patch(share=share), *method) for share in SHARES for method in METHODS]
    right, held = np.zeros(len(claims), int), np.zeros(len(claims), int)
    forward, proving, possible = 0.0, np.zeros(len(claims)), np.ones(len(claims), bool)
    for first in range(0, len(truth), BATCH):
        batch = truth[first : first + BATCH]
        start = time.perf_counter()
        evidence = explain_batch(model, [take(model, path, model.transform) for path, _ in batch])
        forward += time.perf_counter() - start
        for number, (patch, method, aggregation) in enumerate(claims):
            start = time.perf_counter()
            for each, (_, label) in zip(evidence, batch, strict=True):
                try:
                    certificate = certificate_of(each, patch, method, aggregation=aggregation)
                except ValueError:  # two masks leave nothing
                    possible[number] = False
                    continue
                right[number] += certificate.label == label
                held[number] += certificate.label == label and certificate.certified
            proving[number] += time.perf_counter() - start
    rows, columns = evidence[0].values.shape[1:]
    lines = []
    for number, (patch, method, aggregation) in enumerate(claims):
        clean, certified = shares([right[number], held[number]], [len(truth)] * 2)
        lines.append(
            {
                "windows": f"{window} every {stride} of {scale}",
                "grid": f"{rows} x {columns}",
                "patch": str(patch),
                "touched": max(run.length for run in patch.runs(evidence[0].geometry, evidence[0].placement)[0]),
                "method": f"{method} {aggregation}".strip(),
                "clean": clean.text(1, 100) if possible[number] else "",
                "certified": certified.text(1, 100) if possible[number] else "",
                "cost": f"{100 * proving[number] / forward:.1f} % of explaining",
            }
        )
    return lines


if __name__ == "__main__":
    main()
