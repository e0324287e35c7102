"""Does the evidence for referable retinopathy lie on lesions? A model on the photographs of IDRiD that have masks of lesions.

    python benchmarks/lesions.py IDRID --model runs/retina/windowed64s32.mine.safetensors

IDRID is a folder with `lesions.csv` (columns `file` and `mask`) and the photographs and masks in `lesions/`; the bits 1, 2, 4 and
8 of a mask are kinds of lesions. The model was trained without these photographs, and without any mask. A window is on a lesion
where it holds a pixel of one; what positive evidence lies on such windows is compared with what would if it lay everywhere alike
("chance", the share of such windows).
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from PIL import Image

import bagnet
from bagnet.evidence import Evidence
from bagnet.statistics import mean

LESIONS = 15  # bits of the mask


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("idrid", type=Path)
    options.add_argument("--model", required=True)
    options.add_argument("--runtime", default="openvino")
    options.add_argument("--classes", nargs=2, default=["referable", "not referable"], help="for which, against which")
    arguments = options.parse_args()
    model = bagnet.prepare(bagnet.load(arguments.model), arguments.runtime)
    with (arguments.idrid / "lesions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = []
    for row in rows:
        evidence = bagnet.explain(model, arguments.idrid / "lesions" / row["file"])
        mask = np.asarray(Image.open(arguments.idrid / "lesions" / row["mask"])) & LESIONS
        if mask.any():
            found.append(measured(evidence, evidence.difference(*arguments.classes), mask > 0))
    on_lesions, chance, strongest = np.array(found).T
    print(f"{len(found)} photographs with lesions, {model.name}")
    print(f"positive evidence on windows with a lesion: {mean(on_lesions).text()}")
    print(f"by chance:                                  {mean(chance).text()}")
    print(f"difference, photograph by photograph:       {mean(on_lesions - chance).text()}")
    print(f"the strongest window is on a lesion:        {mean(strongest).text()}")


def measured(evidence: Evidence, values: np.ndarray, mask: np.ndarray) -> tuple[float, float, float]:
    """(share of the positive evidence on windows with a lesion, share of such windows, whether the strongest is one)."""
    held = np.array([[holds(evidence, row, column, mask) for column in range(values.shape[1])] for row in range(values.shape[0])])
    positive = np.maximum(0, values)
    share = float(positive[held].sum() / positive.sum()) if positive.any() else float(held.mean())
    return share, float(held.mean()), float(held.ravel()[values.argmax()])


def holds(evidence: Evidence, row: int, column: int, mask: np.ndarray) -> bool:
    """Whether a window holds a pixel of a mask as large as the photograph."""
    box = evidence.placement.display_box(evidence.geometry.window(row, column))
    return bool(mask[box.top : box.bottom, box.left : box.right].any())


if __name__ == "__main__":
    main()
