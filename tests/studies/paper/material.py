"""Images made for a purpose, and networks that say what they are made to say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bagnet.architecture import ExternalArchitecture
from bagnet.card import Card
from bagnet.data.names import ClassNames
from bagnet.data.transforms import Preprocessing
from bagnet.model import BagNet
from bagnet.zoo.external import ExternalNetwork
from bagnet.zoo.load import create

from ...conftest import randomised


class Saying(nn.Module):
    """A network whose logits are what a function of the images makes them."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K)"""
        return self.function(x)


def plain(size: int) -> Preprocessing:
    """Images as they are, in [0, 1]."""
    return Preprocessing(size, size, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def saying(function: Callable[[Tensor], Tensor], classes: int, size: int) -> ExternalNetwork:
    """A classifier whose logits a function computes, with a card for numbered classes."""
    card = Card("saying", ExternalArchitecture("tests:saying", classes), ClassNames.numbered(classes), plain(size))
    return ExternalNetwork(Saying(function), card).eval()


def small_bagnet(size: int, classes: int = 3, kernel3: tuple[int, int, int, int] = (1, 1, 0, 0)) -> BagNet:
    """Windows of 9 pixels every 8, lively random weights, for images of one size as they are."""
    model = randomised(create(kernel3=kernel3, layers=(1, 1, 1, 1), width=4, num_classes=classes)).eval()
    assert model.card is not None
    model.card = replace(model.card, preprocessing=plain(size))
    return model


def images_of(path: Path, images: np.ndarray, labels: Sequence[int]) -> Path:  # type: ignore[type-arg]
    """A .npz file with a `val` split. (N, H, W, 3) uint8."""
    np.savez(path, val_images=images, val_labels=np.array(labels))
    return path


def noise(count: int, size: int, seed: int = 0) -> np.ndarray:  # type: ignore[type-arg]
    """(N, H, W, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
