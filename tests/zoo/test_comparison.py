"""The small networks to compare with have the layout of the well-known ones, at half the width."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from bagnet.zoo.comparison import small_resnet, small_vgg


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("network", "body"), [(small_resnet, 2_795_040), (small_vgg, 2_307_616)])
@pytest.mark.parametrize("channels", [1, 3])
def test_small_networks_for_comparison(network: Any, body: int, channels: int) -> None:
    """Half the width of ResNet-18 and VGG-11: the sizes of their convolutions and batch norms, counted by hand."""
    built = network(num_classes=7, in_channels=channels)
    first = 32 * 9 * (3 - channels)
    assert parameters(built) == body - first + 7 * 257
    assert built.eval()(torch.zeros(2, channels, 61, 53)).shape == (2, 7)
    assert built(torch.zeros(1, channels, 5, 5)).shape == (1, 7)


def test_small_networks_have_the_layout_of_the_well_known_ones() -> None:
    def convolutions(network: nn.Module, kernel: int) -> list[tuple[int, int]]:
        convs = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
        return [(conv.in_channels, conv.out_channels) for conv in convs if conv.kernel_size == (kernel, kernel)]

    with torch.device("meta"):  # VGG's linear layers are large
        theirs = torchvision.models.vgg11_bn(), torchvision.models.resnet18()
    for ours, wide, stem in zip((small_vgg(), small_resnet()), theirs, (0, 1), strict=True):  # ResNet's stem is 7x7
        halves = [(a // 2 if a != 3 else 3, b // 2) for a, b in convolutions(wide, 3)]
        assert convolutions(ours, 3)[stem:] == halves
