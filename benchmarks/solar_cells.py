"""Solar cells of `elpv-dataset` as a folder for each class, for `bagnet train`.

    pip download --no-deps elpv-dataset && unzip elpv_dataset-*.whl
    python benchmarks/solar_cells.py elpv_dataset/data cells
    python benchmarks/solar_cells.py elpv_dataset/data graded --grades

Cells that are defective for sure (probability 1) against those that are functional for sure (0), or all four grades of how sure
the experts were. Cells are numbered module by
module, and those of a module are alike: of runs of 50 numbers every fourth is to train on, and every fourth to measure on.
"""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path

CLASSES = {0.0: "functional", 1.0: "defective"}
GRADES = {0.0: "1 functional", 1 / 3: "2 perhaps functional", 2 / 3: "3 perhaps defective", 1.0: "4 defective"}  # sorted by name
SPLITS = {0: "train", 2: "val"}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("source", type=Path)
    options.add_argument("out", type=Path)
    options.add_argument("--grades", action="store_true", help="all four classes")
    arguments = options.parse_args()
    classes = GRADES if arguments.grades else CLASSES
    for line in (arguments.source / "labels.csv").read_text().splitlines():
        path, probability, _ = line.split()
        (number,) = re.findall(r"\d+", path)
        name = next((classes[known] for known in classes if abs(known - float(probability)) < 1e-3), None)
        split = SPLITS.get(int(number) // 50 % 4)
        if name and split:
            folder = arguments.out / split / name
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(arguments.source / path, folder)


if __name__ == "__main__":
    main()
