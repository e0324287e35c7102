"""What several rooms' tests share: small networks and photographs with known content."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image

from bagnet.architecture import Architecture
from bagnet.model import BagNet
from bagnet.zoo.load import create

# How long an example takes depends on what else the machine does, and says nothing about whether it is right.
settings.register_profile("bagnet", deadline=None)
settings.load_profile("bagnet")
torch.set_num_threads(1)  # the tests run side by side; more threads than cores wait for each other at every layer


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _heard() -> None:
    """Warnings reach `caplog`, though a library that another test used raised the level of all handlers, pytest's among them."""
    for handler in logging.root.handlers:
        handler.setLevel(logging.NOTSET)


def randomised(model: BagNet) -> BagNet:
    """Batch-norm statistics and biases as a trained network has them, so that nothing is zero or one by default."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
                tensor.uniform_(0.5, 1.5, generator=generator)
            elif tensor.ndim == 1:
                tensor.normal_(0, 0.1, generator=generator)
    return model


@pytest.fixture
def small() -> Callable[..., BagNet]:
    """Builds small networks with a card and lively random weights; keywords are `Architecture`'s."""

    def build(**shape: object) -> BagNet:
        fields = {"width": 4, "layers": (1, 1, 1, 1), "num_classes": 5, **shape}
        return randomised(create(**fields)).eval()  # type: ignore[arg-type]

    return build


SIBLINGS = [
    Architecture(kernel3, strides, (2, 1, 1, 1), 4, padded, num_classes=5)
    for padded in (False, True)
    for kernel3, strides in (
        ((1, 1, 0, 0), (2, 2, 2, 1)),
        ((1, 1, 1, 0), (2, 2, 2, 1)),
        ((1, 1, 1, 1), (2, 2, 2, 1)),
        ((2, 1, 1, 0), (2, 2, 1, 1)),
        ((0, 1, 0, 1), (1, 2, 2, 1)),
    )
]


@pytest.fixture(params=SIBLINGS, ids=lambda shape: shape.name)
def sibling(request: pytest.FixtureRequest) -> BagNet:
    """Each of ten small networks of both families."""
    return randomised(BagNet(request.param)).eval()


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    """A 90 x 70 JPEG of smooth noise."""
    noise = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    path = tmp_path / "photograph.jpg"
    Image.fromarray(noise).resize((90, 70), Image.Resampling.BICUBIC).save(path, quality=95)
    return path
