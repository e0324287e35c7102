"""Maps for referable retinopathy beside those of the same network shown whole photographs, on IDRiD's photographs with masks.

    bagnet train retina --start default --probe --runtime openvino --resize 448 --window 448 --stride 32 --out runs/whole
    python benchmarks/retina_maps.py idrid --model runs/retina/windowed96s48.mine.safetensors \
        --whole runs/whole/windowed448s32.mine.safetensors --out maps --count 40 \
        --measure single_deletion --measure pointing --measure energy --method saliency --method grad_cam --method occlusion

`retina/` and the first model are those of `docs/tutorials/retina.md`. A window of the other is as large as the photograph, so
that its network and head can be shown whole ones, and methods of attribution are asked for its maps. An object is what is marked
as a lesion.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from lesions import LESIONS
from PIL import Image
from torch import Tensor, nn

import bagnet
from bagnet.architecture import ExternalArchitecture
from bagnet.data.labels import LabelledImages
from bagnet.data.names import ClassNames
from bagnet.data.sources import ImageFiles
from bagnet.progress import Progress
from bagnet.windowed_network import WindowedNetwork
from bagnet.zoo.external import ExternalNetwork


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("idrid", type=Path)
    options.add_argument("--model", required=True)
    options.add_argument("--whole", required=True)
    options.add_argument("--out", type=Path, default=Path("maps"))
    options.add_argument("--measure", action="append", help="as of `bagnet benchmark`; all of them, unless told")
    options.add_argument("--method", action="append", help="of attribution, as of `bagnet benchmark`")
    options.add_argument("--count", type=int)
    arguments = options.parse_args()
    networks = [bagnet.prepare(bagnet.load(arguments.model), "openvino"), at_once(bagnet.load(arguments.whole))]
    images, table = with_lesions(arguments.idrid, arguments.out / "masks", networks[0].classes)
    words = {name: asked for name, asked in (("measures", arguments.measure), ("methods", arguments.method)) if asked}
    for each in bagnet.faithfulness(
        networks, images, arguments.out, regions=table, count=arguments.count, batch_size=4, progress=say, **words
    ):
        print(f"{each.network:40} {each.method:22} {each.measure:16} {each.images:4} {each.score.text()}")


def with_lesions(idrid: Path, masks: Path, classes: ClassNames) -> tuple[LabelledImages, Path]:
    """Photographs with lesions, all of them referable, and a table of masks of lesions alone."""
    masks.mkdir(parents=True, exist_ok=True)
    paths, lines = [], ["image,mask"]
    with (idrid / "lesions.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            mask = np.asarray(Image.open(idrid / "lesions" / row["mask"])) & LESIONS
            if mask.any():
                Image.fromarray((mask > 0).astype(np.uint8) * 255).save(masks / row["mask"])
                paths.append(idrid / "lesions" / row["file"])
                lines.append(f"{row['file']},{row['mask']}")
    table = masks / "lesions.csv"
    table.write_text("\n".join(lines), encoding="utf-8")
    targets = torch.full((len(paths),), classes.find("referable"))
    return LabelledImages(ImageFiles(tuple(paths), idrid / "lesions"), targets, classes), table


class _AtOnce(nn.Module):
    """The network of a windowed one and its head, shown the whole photograph."""

    def __init__(self, windowed: WindowedNetwork) -> None:
        super().__init__()
        self.network, self.fc = windowed.network, windowed.fc

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K)"""
        logits: Tensor = self.fc(self.network(x))
        return logits


def at_once(windowed: WindowedNetwork) -> ExternalNetwork:
    """As a classifier that sees the whole image and has no evidence of its own."""
    card = windowed.card
    shape = ExternalArchitecture("efficientnet_lite0", windowed.num_classes)
    return ExternalNetwork(_AtOnce(windowed), replace(card, name="whole.mine", architecture=shape)).eval()


def say(progress: Progress) -> None:
    print(f"{progress.stage}: {progress.done} of {progress.total}", flush=True)


if __name__ == "__main__":
    main()
