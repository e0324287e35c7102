"""The network is the published one: same tensor names in the same order, same numbers in float64.

`parity/keys.json` and `parity/expected.npz` hold the state-dict keys of both published codes and what these answered for
stand-in weights and inputs, which are made here again from the tensors' names alone.
"""

from __future__ import annotations

import json
import zlib
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from bagnet.architecture import Architecture
from bagnet.evidence.dense import dense
from bagnet.model import BagNet

FOLDER = Path(__file__).parent / "parity"
EXPECTED = np.load(FOLDER / "expected.npz")
KEYS: dict[str, list[tuple[str, list[int]]]] = json.loads((FOLDER / "keys.json").read_text())
KERNEL3 = {"9": (1, 1, 0, 0), "17": (1, 1, 1, 0), "33": (1, 1, 1, 1)}
SHAPES = {
    **{f"orig.bagnet{size}": Architecture(kernel3) for size, kernel3 in KERNEL3.items()},
    **{f"v2.bagnet{size}": Architecture(kernel3, padded=True) for size, kernel3 in KERNEL3.items()},
    "orig.variant_a": Architecture((1, 2, 1, 0), num_classes=50),
    "orig.variant_b": Architecture((1, 1, 1, 1), (2, 2, 1, 1), (2, 3, 2, 2), num_classes=50),
}


def _random(*words: object) -> np.random.Generator:
    key = zlib.crc32("/".join(str(word) for word in words).encode())
    return np.random.Generator(np.random.Philox(key=key))


def stand_in(model: str, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """The tensor of that name in the stand-in checkpoint of `model`, seed 0."""
    random = _random(0, model, name)
    vector = len(shape) == 1
    if name.endswith("num_batches_tracked"):
        return np.array(1000, np.int64)
    if name.endswith("running_var") or (vector and name.endswith("weight")):
        return random.uniform(0.5, 1.5, shape).astype(np.float32)
    spread = {4: lambda: np.sqrt(2 / (shape[0] * shape[2] * shape[3])), 2: lambda: 0.02}.get(len(shape), lambda: 0.1)()
    return (random.standard_normal(shape) * spread).astype(np.float32)


@cache
def network(model: str) -> BagNet:
    """The stand-in network in float64."""
    with torch.device("meta"):  # all of its numbers are replaced
        net = BagNet(SHAPES[model])
    state = {name: torch.tensor(stand_in(model, name, tuple(value.shape))) for name, value in net.state_dict().items()}
    net.load_state_dict(state, strict=True, assign=True)
    return net.double().eval()


def stand_in_input(size: str) -> Tensor:
    """The input of that size, `heightxwidth`."""
    height, width = map(int, size.split("x"))
    return torch.tensor(_random(0, "input", height, width).standard_normal((1, 3, height, width)).astype(np.float32)).double()


def entries(kind: str, *sizes: str) -> list[str]:
    return [name for name in EXPECTED.files if name.split("/")[1] == kind and name.split("/")[2] in sizes]


def assert_same(values: Tensor, entry: str) -> None:
    expected = EXPECTED[entry]
    assert values.shape == expected.shape
    assert np.abs(values.numpy() - expected).max() <= 1e-9 * np.abs(expected).max()


@pytest.mark.parametrize("model", [model for model in SHAPES if model in KEYS])
def test_state_dict_is_the_published_one(model: str) -> None:
    with torch.device("meta"):
        state = BagNet(SHAPES[model]).state_dict()
    assert [(name, list(value.shape)) for name, value in state.items()] == [tuple(entry) for entry in KEYS[model]]


@pytest.mark.parametrize("entry", entries("logits", "97x97"))
def test_logits(entry: str) -> None:
    with torch.inference_mode():
        assert_same(network(entry.split("/")[0])(stand_in_input("97x97"))[0], entry)


@pytest.mark.slow
@pytest.mark.parametrize("entry", entries("logits", "224x224"))
def test_logits_at_full_size(entry: str) -> None:
    with torch.inference_mode():
        assert_same(network(entry.split("/")[0])(stand_in_input("224x224"))[0], entry)


@pytest.mark.parametrize("entry", entries("map", "65x90"))
def test_evidence(entry: str) -> None:
    net = network(entry.split("/")[0])
    every37th = range(0, net.architecture.num_classes, 37)
    with torch.inference_mode():
        assert_same(net.evidence(stand_in_input("65x90"), every37th)[0], entry)


@pytest.mark.parametrize("entry", entries("heatmap", "48x48"))
def test_official_heat_map_at_some_pixels(entry: str) -> None:
    """The class-7 logit of the window centred on a pixel of the zero-padded image: corners, borders and some between."""
    net, expected = network(entry.split("/")[0]), EXPECTED[entry]
    size = net.geometry.size
    padded = F.pad(stand_in_input("48x48"), [(size - 1) // 2] * 4)
    pixels = list(product((0, 20, 47), (0, 13, 30, 47)))
    with torch.inference_mode():
        logits = net(torch.cat([padded[..., row : row + size, column : column + size] for row, column in pixels]))[:, 7]
    for (row, column), logit in zip(pixels, logits.tolist(), strict=True):
        assert abs(logit - expected[row, column]) <= 1e-9 * np.abs(expected).max()


@pytest.mark.slow
@pytest.mark.parametrize("entry", entries("heatmap", "48x48"))
def test_official_heat_map(entry: str) -> None:
    """All of it, by the dense map."""
    assert_same(dense(network(entry.split("/")[0]), stand_in_input("48x48"), [7]).values[0, 0], entry)


def test_every_entry_of_the_kit_is_tested() -> None:
    tested = {*entries("logits", "97x97", "224x224"), *entries("map", "65x90"), *entries("heatmap", "48x48")}
    assert tested == set(EXPECTED.files)
    assert len(tested) == 29
