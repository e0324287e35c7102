"""The pictures of docs/concepts.md, of a photograph that scikit-image brings.

python docs/draw.py
"""

from __future__ import annotations

from pathlib import Path

import skimage
from matplotlib.figure import Figure

import bagnet
from bagnet.figures.colours import evidence_colours

PHOTO = Path(skimage.__file__).parent / "data" / "chelsea.png"
DOCS = Path(__file__).parent
STRIDES = (64, 32, 16)
LIMIT = 22.0  # logits at both ends of the colours


def main() -> None:
    model = bagnet.load()
    bagnet.explain(model, PHOTO).picture("tiger cat").save(DOCS / "concepts-windows.jpg")
    figure = Figure((12, 2.9), layout="constrained")
    for axes, stride in zip(figure.subplots(1, len(STRIDES)), STRIDES, strict=True):
        evidence = bagnet.explain(model.at_stride(stride), PHOTO)
        values = evidence.map("tiger cat")
        axes.imshow(values, evidence_colours(), vmin=-LIMIT, vmax=LIMIT)
        axes.set_title(f"every {stride} px: {values.size} windows, logit {values.mean():.1f}", fontsize=10)
        axes.set_axis_off()
    figure.savefig(DOCS / "concepts-strides.jpg", dpi=100)


if __name__ == "__main__":
    main()
