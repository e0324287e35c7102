"""Images with squares of a known strength at known places, and a BagNet that measures nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from bagnet.data.names import ClassNames
from bagnet.data.transforms import Preprocessing
from bagnet.model import BagNet

from ...evidence.detector import magenta_detector

WINDOW, STRIDE = 9, 8


def detector(slopes: Sequence[float] = (0.0, 10.0), biases: Sequence[float] | None = None) -> BagNet:
    """Windows of 9 pixels every 8, for images as they are; a window's logits are slope * (how magenta it is, 0 to 1) + bias."""
    model = magenta_detector(WINDOW)
    head = nn.Linear(model.fc.in_features, len(slopes))
    with torch.no_grad():
        head.weight.zero_()
        head.weight[:, 0] = torch.tensor(slopes)
        head.bias.copy_(torch.tensor(biases if biases is not None else [0.0] * len(slopes)))
    model.fc = head
    model.architecture = replace(model.architecture, num_classes=len(slopes))
    assert model.card is not None
    plain = Preprocessing(None, None, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    classes = ClassNames.numbered(len(slopes))
    model.card = replace(model.card, architecture=model.architecture, classes=classes, preprocessing=plain)
    return model.eval()


def black(rows: int, columns: int, squares: Mapping[tuple[int, int], int] | None = None) -> np.ndarray:  # type: ignore[type-arg]
    """(H, W, 3) uint8 for a grid of so many cells, with windows of magenta, cell -> its level from 0 to 255."""
    image = np.zeros((STRIDE * (rows - 1) + WINDOW, STRIDE * (columns - 1) + WINDOW, 3), np.uint8)
    for (row, column), level in (squares or {}).items():
        image[STRIDE * row : STRIDE * row + WINDOW, STRIDE * column : STRIDE * column + WINDOW] = (level, 0, level)
    return image


def folder_of(path: Path, images: Mapping[str, np.ndarray]) -> Path:  # type: ignore[type-arg]
    """A folder with a file for each "class/name"."""
    for name, pixels in images.items():
        file = path / "val" / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    return path
