"""What every runner is given: options that ask for nothing, and an example that is small, whatever the network."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from bagnet.engine.fold import FoldedFeatures
from bagnet.engine.runtimes.runner import Options
from bagnet.model import BagNet


def test_by_default_nothing_is_asked_for() -> None:
    assert Options() == Options("cpu", compile=False, threads=None, calibration=None)


@pytest.mark.parametrize(
    ("shape", "stride", "example"),
    [
        ({"kernel3": (1, 1, 1, 0)}, 8, (2, 3, 17 + 32, 17 + 40)),
        ({"kernel3": (1, 1, 1, 0)}, 1, (2, 3, 17 + 4, 17 + 5)),
        ({"kernel3": (1, 1, 0, 0), "in_channels": 1}, 8, (2, 1, 9 + 32, 9 + 40)),
        ({"kernel3": (1, 1, 1, 0), "padded": True}, 8, (2, 3, 1 + 32, 1 + 40)),
    ],
)
@torch.inference_mode()
def test_the_example_is_five_by_six_windows(
    small: Callable[..., BagNet], shape: dict[str, object], stride: int, example: tuple[int, ...]
) -> None:
    network = FoldedFeatures(small(**shape).at_stride(stride))
    x = network.example
    assert tuple(x.shape) == example
    assert network(x).shape[2:] == network.geometry.grid(*example[2:]) == (5, 6)
