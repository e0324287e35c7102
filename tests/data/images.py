"""Labelled images made for the tests, each known by how red it is."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from bagnet.data.arrays import ArrayImages
from bagnet.data.labels import LabelledImages
from bagnet.data.names import ClassNames


def encoded(red: int, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (5, 4), (red, 0, 255 - red)).convert(mode).save(file, "PNG")
    return file.getvalue()


def reds(labelled: LabelledImages) -> list[int]:
    """The red of each image, by which the tests tell them apart."""
    return [int(labelled.images.pixels(row, 3)[0, 0, 0]) for row in range(len(labelled))]


def words(labelled: LabelledImages) -> list[str]:
    return [str(entry) for entry in labelled.classes]


def numbered(targets: Sequence[Any], count: int) -> LabelledImages:
    """Grey images 0, 1, ... of 2 x 3 pixels."""
    values = np.arange(len(targets), dtype=np.uint8)[:, None, None, None].repeat(2, 1).repeat(3, 2)
    return LabelledImages(ArrayImages(values, "array"), torch.tensor(targets), ClassNames.numbered(count))


def folders(root: Path, contents: Mapping[str, Sequence[int]]) -> Path:
    for name, numbers in contents.items():
        (root / name).mkdir(parents=True)
        for number in numbers:
            (root / name / f"{number}.png").write_bytes(encoded(number))
    return root


def pictures(numbers: Sequence[int]) -> list[dict[str, Any]]:
    return [{"bytes": encoded(number), "path": None} for number in numbers]
