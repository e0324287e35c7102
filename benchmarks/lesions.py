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
from torch import Tensor, nn

import bagnet
from bagnet.attribution import attribute
from bagnet.evidence import Evidence
from bagnet.statistics import mean
from bagnet.windowed_network import WindowedNetwork, windows_of

LESIONS = 15  # bits of the mask


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("idrid", type=Path)
    options.add_argument("--model", required=True)
    options.add_argument("--runtime", default="openvino")
    options.add_argument("--classes", nargs=2, default=["referable", "not referable"], help="for which, against which")
    arguments = options.parse_args()
    network = bagnet.load(arguments.model)
    model = bagnet.prepare(network, arguments.runtime)
    whole = Whole(network, [network.classes.find(name) for name in arguments.classes])
    with (arguments.idrid / "lesions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    ours, grad_cam = [], []
    for row in rows:
        photograph = arguments.idrid / "lesions" / row["file"]
        mask = np.asarray(Image.open(arguments.idrid / "lesions" / row["mask"])) & LESIONS
        if not mask.any():
            continue
        evidence = bagnet.explain(model, photograph)
        held = on_lesion(evidence, mask > 0)
        ours.append(measured(evidence.difference(*arguments.classes), held))
        grad_cam.append(measured(seen_whole(whole, photograph), held))
    print(f"{len(ours)} photographs with lesions, {model.name}")
    for title, found in (("evidence", ours), ("Grad-CAM on the whole photograph", grad_cam)):
        on_lesions, chance, strongest = np.array(found).T
        print(title)
        print(f"  positive part on windows with a lesion: {mean(on_lesions).text()}")
        print(f"  by chance:                              {mean(chance).text()}")
        print(f"  difference, photograph by photograph:   {mean(on_lesions - chance).text()}")
        print(f"  the strongest window is on a lesion:    {mean(strongest).text()}")


class Whole(nn.Module):
    """The network of a windowed one, shown whole photographs: one class's logit against another's.

    Args:
        windowed: its features are pooled, and its head linear.
        classes: for which, against which.
    """

    def __init__(self, windowed: WindowedNetwork, classes: list[int]) -> None:
        super().__init__()
        self.windowed, self.classes = windowed, classes

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 1)"""
        logits = self.windowed.fc(self.windowed.network(x))
        return logits[:, self.classes[0], None] - logits[:, self.classes[1], None]


def seen_whole(whole: Whole, photograph: Path) -> np.ndarray:
    """(h, w) Grad-CAM's mean over each window."""
    x = whole.windowed.transform(photograph)[None]
    values = attribute("grad_cam", whole, x, 0).values
    means = windows_of(values[:, None], whole.windowed.geometry).mean((3, 4, 5))[0]
    return means.double().numpy()


def measured(values: np.ndarray, held: np.ndarray) -> tuple[float, float, float]:
    """(share of the positive part on windows with a lesion, share of such windows, whether the strongest is one)."""
    positive = np.maximum(0, values)
    share = float(positive[held].sum() / positive.sum()) if positive.any() else float(held.mean())
    return share, float(held.mean()), float(held.ravel()[values.argmax()])


def on_lesion(evidence: Evidence, mask: np.ndarray) -> np.ndarray:
    """(h, w) which windows hold a pixel of a mask as large as the photograph."""
    rows, columns = evidence.values.shape[1:]
    return np.array([[holds(evidence, row, column, mask) for column in range(columns)] for row in range(rows)])


def holds(evidence: Evidence, row: int, column: int, mask: np.ndarray) -> bool:
    """Whether a window holds a pixel of a mask as large as the photograph."""
    box = evidence.placement.display_box(evidence.geometry.window(row, column))
    return bool(mask[box.top : box.bottom, box.left : box.right].any())


if __name__ == "__main__":
    main()
