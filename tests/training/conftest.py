"""Small images of three textures, which any window tells apart, and networks that learn them in seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from bagnet.architecture import Architecture
from bagnet.data.arrays import ArrayImages
from bagnet.data.labels import LabelledImages
from bagnet.data.names import ClassNames
from bagnet.data.transforms import Preprocessing
from bagnet.model import BagNet
from bagnet.training.fitting import Fitted, fit
from bagnet.training.recipe import Recipe, recipe

SMALL = Architecture(kernel3=(1, 1, 0, 0), strides=(2, 2, 1, 1), layers=(1, 1, 1, 1), width=4)
PREPROCESSING = Preprocessing(None, 17, mean=(0.5,) * 3, std=(0.25,) * 3)


def textures(count: int, seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(count, 20, 20, 3) uint8 of noise, some with stripes, some with a grid, and their labels 0, 1, 2."""
    random = np.random.default_rng(seed)
    images = random.integers(60, 120, (count, 20, 20, 3))
    labels = np.arange(count) % 3
    images[labels == 1, :, ::2] += 100
    images[labels == 2, ::3, ::3] += 130
    return images.astype(np.uint8), labels


def labelled(images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> LabelledImages:
    """As a file of them is read: (N,) labels, or (N, K) of which several may be true."""
    targets = torch.from_numpy(labels)
    several = targets.ndim == 2
    classes = ClassNames.numbered(targets.shape[1] if several else int(targets.max()) + 1)
    return LabelledImages(ArrayImages(images, "textures"), targets.bool() if several else targets, classes)


def plain(num_classes: int = 3, in_channels: int = 3) -> nn.Module:
    """A network that is no BagNet, built by its import path."""
    return nn.Sequential(
        nn.Conv2d(in_channels, 16, 3, 2, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, num_classes),
    )


def fresh(images: LabelledImages, channels: int = 3, seed: int = 0) -> BagNet:
    """A network for some images, with random weights."""
    torch.manual_seed(seed)
    return BagNet(replace(SMALL, num_classes=len(images.classes), in_channels=channels))


def fitted(
    images: LabelledImages,
    recipe: Recipe,
    folder: Path,
    preprocessing: Preprocessing = PREPROCESSING,
    network: nn.Module | None = None,
    **keywords: Any,
) -> Fitted:
    """A fresh network trained on 95 % of the images."""
    training, select = images.hold_out()
    network = fresh(images, len(preprocessing.mean)) if network is None else network
    return fit(network, training, select, preprocessing, recipe, folder, **keywords)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 240 images to train on and 60 to measure on."""
    path = tmp_path_factory.mktemp("textures") / "textures.npz"
    train, val = textures(240, 0), textures(60, 1)
    np.savez(path, train_images=train[0], train_labels=train[1], val_images=val[0], val_labels=val[1])
    return path


@pytest.fixture
def quick() -> Recipe:
    """A recipe for them."""
    return recipe("modern", epochs=4, batch_size=24, select=0.05, learning_rate=0.02, augment="none")


@pytest.fixture(scope="session")
def few() -> LabelledImages:
    """Of which 77 are trained on, in six steps of twelve an epoch."""
    return labelled(*textures(80, 0))


@pytest.fixture
def short(quick: Recipe) -> Recipe:
    return quick.changed(epochs=2, batch_size=12)
