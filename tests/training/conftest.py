"""Small images of three textures, which any window tells apart, and networks that learn them in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bagnet.architecture import Architecture
from bagnet.data.transforms import Preprocessing
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
