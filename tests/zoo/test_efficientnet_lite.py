"""The network of the default is timm's, number for number."""

from __future__ import annotations

import pytest
import torch

from bagnet.zoo.efficientnet_lite import efficientnet_lite0

from ..conftest import randomised


@pytest.mark.parametrize("size", [(128, 128), (65, 97), (33, 40), (224, 224)])
@torch.inference_mode()
def test_it_is_timms(size: tuple[int, int]) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    expected = randomised(timm.create_model("tf_efficientnet_lite0", num_classes=11)).double().eval()
    network = efficientnet_lite0(11).double().eval()
    network.load_state_dict(expected.state_dict())
    x = torch.randn(1, 3, *size, dtype=torch.float64)
    logits = expected(x)
    assert (network(x) - logits).abs().max() <= 1e-12 * logits.abs().max()


def test_channels() -> None:
    assert efficientnet_lite0(2, 1).eval()(torch.zeros(1, 1, 40, 40)).shape == (1, 2)
