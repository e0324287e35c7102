"""How many labelled images have a certificate, by windows, method and size of the patch, and what it costs to prove.

    python benchmarks/certificates.py PHOTOS --out docs/results/FILE.csv
    python benchmarks/certificates.py tiny-imagenet --model bagnet9s4.tiny_in200 --model bagnet17s4.tiny_in200 --out FILE.csv
    python benchmarks/certificates.py --plot FILE.csv FILE2.csv --out FILE.png

PHOTOS is a folder with `photos.csv` (columns `file` and `imagenet_index`): windows and scales are those of `CONFIGURATIONS`, of
the bundled default's network. Of other labelled images every n-th of `val` is taken, and models are those that are named. A patch
is a share of the photograph, the resize filter's reach included. The cost is a share of the time of the forward pass, medians of
batches of 10 images.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
from attacks import labelled

import bagnet
from bagnet.certificates.certify import ROUNDING, certificate_of
from bagnet.certificates.comparisons import COMPARISONS
from bagnet.certificates.patch import Patch
from bagnet.certificates.voting import MASKS
from bagnet.evidence import Evidence
from bagnet.evidence.explain import explain_batch, take
from bagnet.statistics import Estimate, shares

# Window, stride, scale: the default, the smallest scales at which 2 % of a photograph of 299 px touch no more than 1 of 2, 2 of 4
# and 1 of 3 windows along an axis, windows side by side, and windows of two and three sizes that vote together.
CONFIGURATIONS = (
    [(128, 64, 448)],
    [(128, 171, 299)],
    [(128, 98, 422)],
    [(160, 123, 529)],
    [(128, 220, 568)],
    [(128, 128, 512)],
    [(144, 110, 474)],
    [(128, 98, 422), (128, 110, 569)],
    [(128, 98, 422), (128, 110, 569), (128, 171, 299)],
)
SHARES = (0.01, 0.02, 0.04)
FINEST = "voting, a mask for each place"  # where these are more than `MASKS` along an axis
METHODS = (
    ("voting", ""),
    (FINEST, ""),
    ("margin", "probabilities"),
    ("margin", "clipped"),
    ("margin", "tanh"),
    *((name, "") for name in COMPARISONS),
)
BATCH = 10


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("data", type=Path, nargs="?", help="photographs with photos.csv, or labelled images with a split val")
    options.add_argument("--model", action="append", default=[])
    options.add_argument("--images", type=int, default=500)
    options.add_argument("--runtime", default="openvino")
    options.add_argument("--plot", type=Path, nargs="+", help="tables to draw, instead of measuring")
    options.add_argument("--out", type=Path, required=True)
    arguments = options.parse_args()
    if arguments.plot:
        plotted(arguments.plot, arguments.out)
        return
    models = [[bagnet.load(name)] for name in arguments.model] or [
        [bagnet.windowed(bagnet.load(), window, stride, scale=scale) for window, stride, scale in shapes]
        for shapes in CONFIGURATIONS
    ]
    lines = []
    for joint in models:
        lines += measured([bagnet.prepare(model, arguments.runtime) for model in joint], arguments.data, arguments.images)
        with arguments.out.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, lines[0])
            writer.writeheader()
            writer.writerows(lines)
    for line in lines:
        print(*line.values(), sep="  ")


def measured(models, data: Path, count: int) -> list[dict[str, object]]:  # type: ignore[no-untyped-def]
    """A line for each size of patch and each method."""
    truth = labelled(data, count, models[0])
    claims = [(Patch(share=share), *method) for share in SHARES for method in METHODS]
    right, held = np.zeros(len(claims), int), np.zeros(len(claims), int)
    possible = np.ones(len(claims), bool)
    forward: list[float] = []
    proving: list[list[float]] = [[] for _ in claims]
    for first in range(0, len(truth), BATCH):
        batch = truth[first : first + BATCH]
        seen = [[take(model, image, model.transform) for image, _ in batch] for model in models]
        start = time.perf_counter()
        evidence = list(zip(*(explain_batch(*each) for each in zip(models, seen, strict=True)), strict=True))
        forward.append(time.perf_counter() - start)
        for number, claim in enumerate(claims):
            start = time.perf_counter()
            for each, (_, label) in zip(evidence, batch, strict=True):
                try:
                    answer, certified = proved(each, *claim)
                except ValueError:  # two masks leave nothing, the method is for one model, or no more masks than usual
                    possible[number] = False
                    continue
                right[number] += answer == label
                held[number] += answer == label and certified
            proving[number].append(time.perf_counter() - start)
    return [
        {
            "windows": " + ".join(described(model) for model in models),
            "grid": " + ".join(f"{each.values.shape[1]} x {each.values.shape[2]}" for each in evidence[0]),
            "patch": str(patch),
            "touched": " + ".join(str(touched(each, patch)) for each in evidence[0]),
            "method": f"{method} {aggregation}".strip(),
            "clean": clean.text(1, 100),
            "certified": certified.text(1, 100),
            "cost": f"{100 * median(proving[number]) / median(forward):.1f} % of the forward pass",
            "images": len(truth),
            "classes": len(evidence[0][0].classes),
        }
        for number, (patch, method, aggregation) in enumerate(claims)
        if possible[number]
        for clean, certified in [shares([right[number], held[number]], [len(truth)] * 2)]
    ]


def proved(evidence: Sequence[Evidence], patch: Patch, method: str, aggregation: str) -> tuple[int, bool]:
    """The answer of a certified classifier, and whether no patch changes it."""
    if method == FINEST:
        rows, columns = patch.joint_runs([(each.geometry, each.placement) for each in evidence])
        most = max(len(rows), len(columns))
        if most <= MASKS:
            raise ValueError("the usual masks are one for each place already")
        certificate = certificate_of(evidence, patch, "voting", masks=most)
        return certificate.label, certificate.certified
    if method not in COMPARISONS:
        certificate = certificate_of(evidence, patch, method, aggregation=aggregation)
        return certificate.label, certificate.certified
    (each,) = evidence
    values = each.values.astype(np.float64)
    runs = patch.runs(each.geometry, each.placement)
    return COMPARISONS[method](values, *runs, ROUNDING * float(np.abs(values).max()))


def touched(evidence: Evidence, patch: Patch) -> int:
    """Windows along an axis, at most."""
    return max(run.length for run in patch.runs(evidence.geometry, evidence.placement)[0])


def described(model) -> str:  # type: ignore[no-untyped-def]
    """Which windows, where they are of the default's network; else the model's name."""
    name, geometry = model.card.name, model.geometry
    return f"{geometry.size} every {geometry.stride} of {model.transform.resize}" if name.startswith("windowed") else name


def plotted(tables: Sequence[Path], out: Path) -> None:
    """Certified accuracy, and pale the clean one, against the patch's share of the image: a panel for each model."""
    from bagnet.figures.charts import finished, intervals, labels, panel_title, quiet_frame, side_by_side

    rows = [row for table in tables for row in csv.DictReader(table.open(newline="", encoding="utf-8"))]
    names = list(dict.fromkeys(row["windows"] for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    colours = ("#2f74b5", "#cf4a41", "#ec9a7a", "#8d7fc7", "#3f9b7f", "#c9a227", "#8a91a0", "#123d66")
    figure, _ = side_by_side([2.6] * 4, 2.6 * -(-len(names) // 4) + 0.8)
    grid = figure.add_gridspec(-(-len(names) // 4), 4)
    every = []
    for number, name in enumerate(names):
        axes = figure.add_subplot(grid[divmod(number, 4)])
        every.append(axes)
        for place, method in enumerate(methods):
            chosen = [row for row in rows if (row["windows"], row["method"]) == (name, method)]
            at = [float(row["patch"].split()[0]) * 1.03 ** (place - 3) for row in chosen]
            for column, look in (("clean", {"alpha": 0.3, "linestyle": "--"}), ("certified", {"label": method})):
                estimates = [estimate(row[column]) for row in chosen]
                intervals(axes, at, estimates, color=colours[place], marker=".", linewidth=1.2, elinewidth=0.7, **look)
        axes.set_xscale("log")
        axes.set_xticks([1, 2, 4], ["1 %", "2 %", "4 %"])
        axes.minorticks_off()
        axes.set_ylim(0, 100)
        panel_title(axes, name.replace(" + ", "\n+ ").replace(".", "\n."))
        labels(axes, "patch, of the image's area", "per cent of images")
        quiet_frame(axes, "y")
    words = "certified accuracy; pale and dashed: clean accuracy of the same classifier; bars: 95 % intervals"
    finished(figure, "What no patch changes", words, every).save(out)


def estimate(text: str) -> Estimate:
    """From "26.8 [21.7, 32.6]"."""
    value, low, high = text.replace("[", "").replace("]", "").replace(",", "").split()
    return Estimate(float(value), float(low), float(high))


if __name__ == "__main__":
    main()
