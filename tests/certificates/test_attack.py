from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from bagnet.certificates.attack import _lead, attack
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
@pytest.mark.parametrize("restarts", [1, 2])
def test_what_is_not_certified_falls(bright: WindowedNetwork, grey: int, certified: bool, restarts: int) -> None:
    """Of dark images no patch of one window in sixteen makes bright ones; of those near the middle it does."""
    image = torch.full((3, 16, 16), grey, dtype=torch.uint8)
    seen = take(bright, image, bright.transform)
    (evidence,) = explain_batch(bright, [seen])
    again = partial(certificate_of, patch=Patch(4, 4, frame="input"), method="margin")
    certificate = again(evidence)
    assert (certificate.name, certificate.certified) == ("dark", certified)
    found = attack(bright, seen, certificate, again, places=3, restarts=restarts, steps=10)
    assert found.broken == (not certified)
    assert (found.place is None) == certified
    assert found.tried == (3 * restarts if certified else 1)


def test_what_an_attack_on_a_vote_lowers_is_the_lead_outside_every_mask(bright: WindowedNetwork) -> None:
    """Against NumPy's means of the same masks, and it stops where a rival leads by enough."""
    image = torch.full((3, 16, 16), 100, dtype=torch.uint8)
    (evidence,) = explain_batch(bright, [take(bright, image, bright.transform)])
    certificate = certificate_of(evidence, Patch(2, 2, frame="input"), "voting")
    values = np.random.default_rng(0).normal(0, 3, evidence.values.shape)
    expected = []
    for row in certificate.rows:
        for column in certificate.columns:
            left = np.ones(values.shape[1:], bool)
            left[row.start : row.stop, column.start : column.stop] = False
            means = values[:, left].mean(1)
            expected.append(max(-1.0, means[certificate.label] - means[1 - certificate.label]))
    assert float(_lead(certificate, None)(torch.tensor(values))) == pytest.approx(np.mean(expected))
    seen = take(bright, image, bright.transform)
    of_two = certificate_of([evidence, evidence], Patch(2, 2, frame="input"), "voting")
    with pytest.raises(ValueError, match="an attack is on one model"):
        attack(bright, seen, of_two, lambda _: certificate)
