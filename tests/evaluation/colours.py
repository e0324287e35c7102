"""A classifier with hand-set weights: the logits are how red, green and blue an image is; and images of plain colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from bagnet.architecture import ExternalArchitecture
from bagnet.card import Card
from bagnet.data.names import ClassNames
from bagnet.data.transforms import Preprocessing
from bagnet.zoo.external import ExternalNetwork

PLAIN = Preprocessing(8, 8, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def network(num_classes: int = 3, in_channels: int = 3) -> nn.Module:
    """(B, C, H, W) -> (B, K): the mean of each channel times ten, zeros where there are more classes."""
    head = nn.Linear(in_channels, num_classes)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.zero_()
        head.weight.fill_diagonal_(10.0)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


def reader(classes: Sequence[str] = tuple(COLOURS), multilabel: bool = False) -> ExternalNetwork:
    """A model of these classes; the first three are how red, green and blue an image is."""
    shape = ExternalArchitecture("tests.evaluation.colours:network", len(classes))
    card = Card("reader.colours", shape, ClassNames.from_words(classes), PLAIN, multilabel=multilabel)
    return ExternalNetwork(network(len(classes)), card).eval()


def folder_of(root: Path, images: Mapping[str, Sequence[str]], side: int = 12) -> Path:
    """A data set with a `val` split: {class: colours of its images}."""
    for title, colours in images.items():
        for number, colour in enumerate(colours):
            path = root / "val" / title / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (side, side), COLOURS[colour]).save(path)
    return root


def arrays_of(path: Path, colours: Sequence[str], labels: Sequence[object], side: int = 8) -> Path:
    """The same as arrays; a label is a number, or a list of 0 and 1 for each class."""
    images = np.stack([np.full((side, side, 3), COLOURS[colour], np.uint8) for colour in colours])
    np.savez(path, val_images=images, val_labels=np.array(labels))
    return path
