"""How trainings went, side by side: accuracy and loss after each epoch, from the logs of their folders.

python benchmarks/curves.py runs/bagnet9s4 runs/bagnet17s4 --out docs/results/FILE.csv       # and FILE.png beside it
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from statistics import mean

from matplotlib.figure import Figure

from bagnet.figures.charts import heading, labels, legend, panel_title, quiet_frame, side_by_side
from bagnet.figures.colours import model_colours
from bagnet.zoo.catalogue import card_at

COLUMNS = ("network", "epoch", "minutes", "train_loss", "select_loss", "select_top1", "select_top5")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("runs", type=Path, nargs="+", help="folders of finished trainings")
    options.add_argument("--out", type=Path, required=True)
    given = options.parse_args()
    rows = [row for run in given.runs for row in epochs(run)]
    with given.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    drawn([(run.name, window(run)) for run in given.runs], rows).savefig(given.out.with_suffix(".png"), dpi=110)


def epochs(run: Path) -> list[dict[str, str]]:
    """A row for each epoch of a run; the loss on training images is the mean of what was logged in it."""
    with (run / "log.csv").open(newline="", encoding="utf-8") as file:
        log = list(csv.DictReader(file))
    found = []
    for end in (row for row in log if row["select_top1"]):
        losses = [float(row["loss"]) for row in log if row["epoch"] == end["epoch"] and row["loss"]]
        found.append(
            {
                "network": run.name,
                "epoch": str(int(end["epoch"]) + 1),
                "minutes": f"{float(end['seconds']) / 60:.1f}",
                "train_loss": f"{mean(losses):.4f}" if losses else "",
                **{name: end[name] for name in COLUMNS[4:]},
            }
        )
    return found


def window(run: Path) -> int | None:
    """Side of its windows; None of a network that sees the whole image."""
    (weights,) = run.glob("*.safetensors")
    return getattr(getattr(card_at(str(weights)).architecture, "geometry", None), "size", None)


def drawn(runs: list[tuple[str, int | None]], rows: list[dict[str, str]]) -> Figure:
    """Accuracy on the images to select on, and the loss on these and on those that are trained on."""
    figure, (left, right) = side_by_side([5.2, 5.2], 4.2)
    heading(
        figure,
        "Training on Tiny-ImageNet",
        "on the held-out 5 % of the training images, after each epoch",
    )
    accuracy, loss = figure.add_subplot(left), figure.add_subplot(right)
    sizes = [size for _, size in runs]
    for (name, size), before, colour in zip(runs, range(len(runs)), model_colours(sizes), strict=True):
        look = {"color": colour, "linestyle": "--" if size in sizes[:before] else "-"}  # another of the same windows is dashed
        own = [row for row in rows if row["network"] == name]
        steps = [int(row["epoch"]) for row in own]
        accuracy.plot(steps, [100 * float(row["select_top1"]) for row in own], label=name, marker="o", markersize=3, **look)
        loss.plot(steps, [float(row["select_loss"]) for row in own], **look)
    panel_title(accuracy, "Top-1 accuracy")
    labels(accuracy, "epoch", "images that are right, per cent")
    panel_title(loss, "Loss")
    labels(loss, "epoch", "cross-entropy")
    for axes in (accuracy, loss):
        quiet_frame(axes, "y")
        axes.xaxis.get_major_locator().set_params(integer=True)
    legend(accuracy)
    return figure


if __name__ == "__main__":
    main()
