"""How often the bundled model's answers in each precision agree with float32, on photographs that nothing was tuned on.

    python benchmarks/int8.py PHOTOGRAPHS --calibrate IMAGES

PHOTOGRAPHS and IMAGES are folders or Parquet tables. int8 is calibrated on 300 of IMAGES, three times, each time on others.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

import bagnet
from bagnet.data.sources import Images, open_images
from bagnet.engine.program import CannotRun
from bagnet.model import BagNet

COUNT = 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photographs")
    parser.add_argument("--calibrate", required=True)
    parser.add_argument("--model", default=None, help="name or file; the bundled one by default")
    arguments = parser.parse_args()
    model = bagnet.load(arguments.model) if arguments.model else bagnet.load()
    photographs, typical = open_images(arguments.photographs), open_images(arguments.calibrate)
    batches = torch.cat(prepared(model, photographs, range(len(photographs.names)))).split(50)
    print(
        f"{model.card.name if model.card else ''} on {len(photographs.names)} photographs: top-1 agreement, largest logit error"
    )
    for precision in ("float32", "mixed", "bf16"):
        report(model, precision, batches, None, "")
    for seed in range(3):
        order = torch.randperm(len(typical.names), generator=torch.Generator().manual_seed(seed))
        report(model, "int8", batches, prepared(model, typical, order[:COUNT].tolist()), f"(calibration {seed})")


def prepared(model: BagNet, images: Images, rows: range | list[int]) -> list[Tensor]:
    return [model.transform(images.photo(row))[None] for row in rows]


def report(model: BagNet, precision: str, batches: tuple[Tensor, ...], calibration: list[Tensor] | None, words: str) -> None:
    try:
        found = bagnet.prepare(model, "openvino", precision, calibration=calibration).verify(batches)
    except CannotRun as reason:
        print(f"{precision:8}  not measured: {reason}")
        return
    print(f"{found.precision:8}  {found.top1_agreement:7.1%}  {found.largest_error:.1e}  {words}")


if __name__ == "__main__":
    main()
