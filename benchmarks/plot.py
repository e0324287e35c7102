"""Draw the figures that `bagnet bench --out FILE.csv` wrote.

python benchmarks/plot.py docs/results/FILE.csv        # -> FILE.png beside it
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from matplotlib.figure import Figure

COLOURS = {"float32": "#2f74b5", "mixed": "#8d7fc7", "bf16": "#ec9a7a", "int8": "#cf4a41", "tf32": "#3f9b7f"}
GREY = "#8a91a0"


def main() -> None:
    path = Path(sys.argv[1])
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["executed"]]
    groups = [("logits", batch) for batch in sorted({row["batch"] for row in rows if row["task"] == "logits"}, key=int)]
    groups += [("map", "1")] if any(row["task"] == "map" for row in rows) else []
    figure = Figure(figsize=(4.9 * len(groups), 3.6), layout="constrained")
    for axes, (task, batch) in zip(figure.subplots(1, len(groups), squeeze=False)[0], groups, strict=True):
        chosen = [row for row in rows if row["task"] == task and row["batch"] == batch][::-1]
        speeds = [float(row["per_second"]) for row in chosen]
        names = [
            f"{row['network']} as published" if row["how"] == "published" else f"{row['runtime']} {row['executed']}"
            for row in chosen
        ]
        published = [row["how"] == "published" for row in chosen]
        colours = [GREY if plain else COLOURS[row["executed"]] for row, plain in zip(chosen, published, strict=True)]
        bars = axes.barh(names, speeds, color=colours)
        ratios = [
            f"{float(row['times_published']):.1f} x" if row["times_published"] and not plain else ""
            for row, plain in zip(chosen, published, strict=True)
        ]
        axes.bar_label(bars, [f" {speed:.3g}  {ratio}" for speed, ratio in zip(speeds, ratios, strict=True)], fontsize=8)
        unit = f"images/s, batch {batch}" if task == "logits" else "full-resolution maps of one class a second"
        axes.set_xlabel(unit, fontsize=9)
        axes.set_xlim(0, 1.28 * max(speeds))
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    first = rows[0]
    figure.suptitle(
        f"{first['network']}, {first['size']} px, {first['processor']}, {first['threads']} threads, {first['date']}", fontsize=10
    )
    figure.savefig(path.with_suffix(".png"), dpi=120)


if __name__ == "__main__":
    main()
