"""A network with hand-set weights that sees colours, and images for which all that an audit says is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from bagnet.data.transforms import Preprocessing
from bagnet.geometry import Box
from bagnet.model import BagNet, Bottleneck
from bagnet.zoo.load import create

SIDE, MARK = 33, 5  # pixels of an image, and of the watermark
MARKED = Box(SIDE - MARK - 2, SIDE - MARK - 2, SIDE - 2, SIDE - 2)
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
FISH, LEAF = 0, 1

Pixels = NDArray[np.uint8]


def colour_bagnet() -> BagNet:
    """9 px windows 4 px apart. Features: mean red, green and blue of a window. Red says fish, green leaf, and blue fish too.

    Black windows say nothing; the bias of leaf is 0.05: an image without red and blue is taken for a leaf.
    """
    model = create(kernel3=(1, 1, 0, 0), strides=(2, 2, 1, 1), layers=(1, 1, 1, 1), width=3, classes=["fish", "leaf"])
    plain = Preprocessing(None, None, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    assert model.card is not None
    model.card = replace(model.card, name="bagnet9.colours", preprocessing=plain)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.zero_()
                for channel in range(3):
                    module.weight[channel, channel] = 1 / module.weight[0, 0].numel()
            elif isinstance(module, nn.BatchNorm2d):
                module.eps = 1e-30  # 1 + it is 1, and torch 2.10 takes no 0
        for module in model.modules():
            if isinstance(module, Bottleneck) and module.downsample is not None:
                module.downsample[0].weight.zero_()  # type: ignore[union-attr,operator]
        model.fc.weight.zero_()
        model.fc.weight[0, 0], model.fc.weight[1, 1], model.fc.weight[0, 2] = 1.0, 1.0, 4.0
        model.fc.bias.copy_(torch.tensor([0.0, 0.05]))
    return model.eval()


def blob(colour: tuple[int, int, int], row: int, column: int, side: int = 9, value: float = 1.0) -> Pixels:
    """A square of a colour on black."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[row : row + side, column : column + side] = np.round(np.array(colour) * value)
    return pixels


def marked(pixels: Pixels) -> Pixels:
    """The same with a blue square near the bottom right corner: the watermark."""
    copy = pixels.copy()
    copy[MARKED.slices] = BLUE
    return copy


def fish_and_leaves() -> dict[str, list[Pixels]]:
    """Twelve fish, nine of them with the watermark; eight leaves, one of them with it.

    Of the nine fish six have so little red that they are leaves without the mark, and three so much that they stay fish. The
    last two fish have more green than red, and are classified as leaves; no leaf is as a fish but the one with the mark.
    """
    random = np.random.default_rng(0)

    def square(colour: tuple[int, int, int], side: int, value: float = 1.0) -> Pixels:
        row, column = random.integers(0, SIDE - MARK - 2 - side, 2)
        return blob(colour, int(row), int(column), side, value)

    faint = [marked(square(RED, 4, 0.5)) for _ in range(6)]
    clear = [marked(square(RED, 14)) for _ in range(3)] + [square(RED, 14)]
    green = [np.maximum(blob(RED, 20, 20, 4, 0.5), blob(GREEN, 2, 2, 9)) for _ in range(2)]
    leaves = [square(GREEN, 14) for _ in range(7)] + [marked(square(GREEN, 4, 0.5))]
    return {"fish": [*faint, *clear, *green], "leaf": leaves}


def folder(root: Path) -> Path:
    """The same as files, fish/00.png and so on, of a `val` split."""
    for name, images in fish_and_leaves().items():
        (root / "val" / name).mkdir(parents=True)
        for number, pixels in enumerate(images):
            Image.fromarray(pixels).save(root / "val" / name / f"{number:02d}.png")
    return root
