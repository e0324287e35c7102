"""The network that the bench compares with is the published one."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from bagnet.architecture import Architecture
from bagnet.model import BagNet


@pytest.mark.parametrize("kernel3", [(1, 1, 0, 0), (1, 1, 1, 1)])
def test_the_kept_baseline_is_the_published_network(kernel3: tuple[int, int, int, int]) -> None:
    """`benchmarks/published.py` has the published state dict and gives the answers of `bagnet.model`."""
    path = Path(__file__).parents[2] / "benchmarks" / "published.py"
    spec = importlib.util.spec_from_file_location("published", path)
    assert spec is not None
    assert spec.loader is not None
    published = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(published)
    kept = published.PublishedBagNet(kernel3).eval()
    ours = BagNet(Architecture(kernel3)).eval()
    assert list(kept.state_dict()) == list(ours.state_dict())
    ours.load_state_dict(kept.state_dict())
    x = torch.randn(1, 3, 65, 65)
    with torch.inference_mode():
        expected = kept(x)
        assert (ours(x) - expected).abs().max() <= 1e-5 * expected.abs().max()
