"""The boxes of Tiny-ImageNet's `val` as a table for `bagnet benchmark --regions`.

    python benchmarks/tiny_boxes.py tiny-imagenet --out boxes.csv

`val_boxes.csv` there has the name of the file and the first and last column and row of the object; images of the Parquet file go
by their number, in its order.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from pyarrow import parquet


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("data", type=Path)
    options.add_argument("--out", type=Path, default=Path("boxes.csv"))
    arguments = options.parse_args()
    with (arguments.data / "val_boxes.csv").open(newline="", encoding="utf-8") as file:
        boxes = {row["path"]: row for row in csv.DictReader(file)}
    names = [entry["path"] for path in sorted(arguments.data.glob("val*.parquet")) for entry in images(path)]
    with arguments.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "left", "top", "right", "bottom"])
        for number, name in enumerate(names):
            box = boxes[Path(name).name]
            last = int(box["right"]) + 1, int(box["bottom"]) + 1
            writer.writerow([f"{arguments.data.name} val:{number}", box["left"], box["top"], *last])


def images(path: Path) -> list[dict[str, str]]:
    """The structures of the column `image`."""
    return parquet.read_table(path, columns=["image"])["image"].to_pylist()  # type: ignore[no-any-return]


if __name__ == "__main__":
    main()
