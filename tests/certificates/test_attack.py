from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from bagnet.certificates.attack import attack
from bagnet.certificates.certify import certificate_of
from bagnet.certificates.patch import Patch
from bagnet.data.transforms import Preprocessing
from bagnet.evidence.explain import explain_batch, take
from bagnet.windowed_network import WindowedNetwork
from bagnet.zoo.windowed import windowed


@pytest.fixture
def bright() -> WindowedNetwork:
    """Class 0 for what is dark, class 1 for what is bright, window by window."""
    head = nn.Linear(1, 2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[-40.0], [40.0]]))
        head.bias.copy_(torch.tensor([20.0, -20.0]))
    grey = nn.Conv2d(3, 1, 1, bias=False)
    nn.init.constant_(grey.weight, 1 / 3)
    network = nn.Sequential(grey, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    plain = Preprocessing(None, None, mean=(0.0,) * 3, std=(1.0,) * 3)
    return windowed(network, 4, 4, scale="native", classes=["dark", "bright"], preprocessing=plain)


@pytest.mark.parametrize(("grey", "certified"), [(0, True), (126, False)])
def test_what_is_not_certified_falls(bright: WindowedNetwork, grey: int, certified: bool) -> None:
    """Of dark images no patch of one window in sixteen makes bright ones; of those near the middle it does."""
    image = torch.full((3, 16, 16), grey, dtype=torch.uint8)
    seen = take(bright, image, bright.transform)
    (evidence,) = explain_batch(bright, [seen])
    again = partial(certificate_of, patch=Patch(4, 4, frame="input"), method="margin")
    certificate = again(evidence)
    assert (certificate.name, certificate.certified) == ("dark", certified)
    found = attack(bright, seen, certificate, again, places=3, steps=10)
    assert found.broken == (not certified)
    assert (found.place is None) == certified
    assert found.tried == (3 if certified else 1)
