"""Each of the small networks, for the tests of this room."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from .networks import NETWORKS, lively


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(1)
    return lively(NETWORKS[request.param]())
