from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from bagnet.data.transforms import Preprocessing
from bagnet.model import BagNet

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient

from bagnet.serve.app import application
from bagnet.serve.limits import Limits


@pytest.fixture
def model(small: Callable[..., BagNet]) -> BagNet:
    """Windows of 17 pixels every 8, of whole images whose shorter side is scaled to 40."""
    network = small(kernel3=(1, 1, 1, 0), classes=("ape", "bee", "cow", "dog", "elk"))
    assert network.card is not None
    network.card = replace(network.card, preprocessing=Preprocessing(40, None))
    return network


@pytest.fixture
def client(model: BagNet) -> Iterator[TestClient]:
    with TestClient(
        application(model, Limits(bytes=200_000, pixels=10_000, input_pixels=20_000, seconds=5, waiting=4))
    ) as opened:
        yield opened


def picture(width: int = 60, height: int = 50, seed: int = 0, kind: str = "PNG") -> bytes:
    """An image file of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()
