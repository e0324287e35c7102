"""IDRiD as a folder for each class, for `bagnet train`: is the retinopathy referable (grade 2 and more)?

    python benchmarks/retina.py IDRID retina

IDRID is a folder with `grading.csv` (columns `file`, `split`, `retinopathy_grade`), its photographs in `grading/`, and
`lesions.csv`, whose column `same_photograph_in_grading` says which of them have masks of lesions, too: these are left out of
training, so that maps may be compared with the masks.
"""

from __future__ import annotations

import argparse
import csv
import shutil
from pathlib import Path


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("source", type=Path)
    options.add_argument("out", type=Path)
    arguments = options.parse_args()
    with_masks = {row["same_photograph_in_grading"] for row in rows(arguments.source / "lesions.csv")}
    for row in rows(arguments.source / "grading.csv"):
        split = "train" if row["split"] == "train" else "val"
        if split == "train" and row["file"] in with_masks:
            continue
        folder = arguments.out / split / ("referable" if int(row["retinopathy_grade"]) >= 2 else "not referable")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(arguments.source / "grading" / row["file"], folder)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main()
