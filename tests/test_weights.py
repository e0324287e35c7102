"""Conversion: the tensors and the card that are written belong together, at half the bytes where asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bagnet.card import digest
from bagnet.model import BagNet
from bagnet.weights import storable, write
from bagnet.zoo.checkpoint import read
from bagnet.zoo.load import load

Small = Callable[..., BagNet]


def test_card_has_the_digest_of_the_tensors(small: Small) -> None:
    model = small()
    tensors, card = storable(model)
    assert card.digest == digest(model.state_dict())
    assert tensors.keys() == model.state_dict().keys()


def test_half_convolutions_halve_the_matrices_and_nothing_else(small: Small, tmp_path: Path) -> None:
    model = small(width=8)
    whole, half = storable(model), storable(model, half=True)
    for key, value in model.state_dict().items():
        matrix = key == "fc.weight" or "conv" in key or "downsample.0" in key
        assert half[0][key].dtype == (torch.float16 if matrix else value.dtype), key
        assert half[0][key].nbytes == value.nbytes // (2 if matrix else 1), key
        assert torch.equal(half[0][key], value.half() if matrix else value), key
    write(tmp_path / "half.safetensors", *half)
    assert read(tmp_path / "half.safetensors")[1] == half[1]
    assert half[1].digest != whole[1].digest
    assert model.conv1.weight.dtype == torch.float32  # the network itself stays as it was


@torch.inference_mode()
def test_network_read_back_from_halves_computes_in_float32_with_the_rounded_weights(small: Small, tmp_path: Path) -> None:
    model = small()
    write(tmp_path / "half.safetensors", *storable(model, half=True))
    halved = load(tmp_path / "half.safetensors")
    assert {value.dtype for value in halved.parameters()} == {torch.float32}
    assert torch.equal(halved.layer1[0].conv1.weight, model.layer1[0].conv1.weight.half().float())  # type: ignore[union-attr, index]
    assert torch.equal(halved.layer1[0].bn1.weight, model.layer1[0].bn1.weight)  # type: ignore[union-attr, index]


@pytest.mark.parametrize("weight", [65_520.0, -1e6, float("nan")])
def test_weight_that_float16_cannot_hold_is_refused(small: Small, weight: float) -> None:
    model = small()
    with torch.no_grad():
        model.fc.weight[2, 3] = weight
    with pytest.raises(ValueError, match=r"fc\.weight has a weight of .*too large for float16"):
        storable(model, half=True)
    assert storable(model)[0]["fc.weight"].dtype == torch.float32


def test_largest_float16_is_kept(small: Small) -> None:
    model = small()
    with torch.no_grad():
        model.fc.weight[2, 3] = 65_504.0
    assert storable(model, half=True)[0]["fc.weight"][2, 3] == 65_504.0


def test_network_without_a_card(small: Small) -> None:
    model = small()
    model.card = None
    with pytest.raises(ValueError, match="no card to write"):
        storable(model)
