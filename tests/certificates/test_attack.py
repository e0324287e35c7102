from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from bagnet.certificates.attack import _lead, _prepared, attack
from bagnet.certificates.certify import certificate_of
from bagnet.certificates.patch import Patch
from bagnet.data.transforms import Preprocessing
from bagnet.evidence import explain
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
    certificate = again([evidence])
    assert (certificate.name, certificate.certified) == ("dark", certified)
    found = attack(bright, image, certificate, again, places=3, restarts=restarts, steps=10)
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
    assert float(_lead(certificate, None)([torch.tensor(values)])) == pytest.approx(np.mean(expected))
    of_two = certificate_of([evidence, evidence], Patch(2, 2, frame="input"), "voting")
    with pytest.raises(ValueError, match="is of 2 models, got 1"):
        attack(bright, image, of_two, lambda _: certificate)


@pytest.mark.parametrize(("edge", "certified"), [(40, True), (22, False)])
def test_windows_of_two_sizes_fall_together(bright: WindowedNetwork, edge: int, certified: bool) -> None:
    """Through the resize of the photograph, dark up to an edge, from 40 pixels to 16 and to 20."""
    finer = windowed(bright, 4, 4, scale=20)
    coarse = windowed(bright, 4, 4, scale=16)
    image = np.full((40, 40, 3), 150, np.uint8)
    image[:, :edge] = 100
    again = partial(certificate_of, patch=Patch(6, 6), method="voting")
    certificate = again([explain(model, image) for model in (coarse, finer)])
    assert (certificate.name, certificate.certified) == ("dark", certified)
    found = attack([coarse, finer], image, certificate, again, places=2, steps=10)
    assert found.broken == (not certified)


def test_an_image_is_prepared_as_pillow_does_it() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 41, 3), dtype=np.uint8)
    image = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
    for transform in (Preprocessing(30, 24, "bicubic"), Preprocessing(20, 28, "bilinear"), Preprocessing(None, None)):
        expected = transform(pixels)
        assert (
            _prepared(transform, image) - expected
        ).abs().max() < 0.1  # Pillow rounds and clips noise between its two passes, too
