"""Folded normalisation trains the same weights: same loss, same gradients, same running statistics, to rounding."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from bagnet.architecture import Architecture
from bagnet.model import BagNet
from bagnet.training.folding import folded

SHAPES = [
    Architecture((1, 1, 1, 1), (2, 2, 1, 1), (1, 2, 1, 1), 4, num_classes=5),
    Architecture((1, 1, 1, 2), (2, 2, 1, 1), (1, 1, 1, 2), 4, num_classes=5),  # a shortcut that is cropped but not projected
    Architecture((1, 1, 0, 0), (2, 2, 2, 1), (1, 1, 1, 1), 4, num_classes=5),  # strides without 3x3
    Architecture((1, 1, 1, 1), (2, 2, 1, 1), (1, 1, 1, 1), 4, padded=True, num_classes=5),
]


def batch(layout: torch.memory_format) -> Tensor:
    x = torch.randn(6, 3, 45, 41, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x.contiguous(memory_format=layout)


def step(network: nn.Module, x: Tensor) -> list[Tensor]:
    """Loss, gradients and buffers after a training pass."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    loss = network(x).square().mean()
    loss.backward()
    assert x.grad is not None
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    return [loss.detach(), x.grad, *gradients, *(value.double() for value in network.buffers())]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.name}-{shape.kernel3}")
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=["channels_last", "contiguous"])
def test_a_folded_step_is_the_same_step(shape: Architecture, layout: torch.memory_format) -> None:
    torch.manual_seed(1)
    plain = BagNet(shape).double().to(memory_format=layout).train()
    network = copy.deepcopy(plain)
    expected = step(plain, batch(layout))
    with folded(network):
        results = step(network, batch(layout))
    assert len(results) == len(expected)
    for result, plain_result in zip(results, expected, strict=True):
        assert (result - plain_result).abs().max() <= 1e-9 * plain_result.abs().max().clamp(min=1e-6)


def test_nothing_else_changes() -> None:
    """In eval mode, with frozen statistics and afterwards the network is what it was; its state dict has the same names."""
    torch.manual_seed(1)
    network = BagNet(SHAPES[0]).double().to(memory_format=torch.channels_last).eval()
    x = batch(torch.channels_last)
    names, logits = list(network.state_dict()), network(x)
    with folded(network):
        assert torch.equal(network(x), logits)
        assert list(network.state_dict()) == names
    assert all("forward" not in vars(module) for module in network.modules())
    assert torch.equal(network(x), logits)


def test_a_folded_shortcut_gives_its_gradient_in_the_layout_of_the_map() -> None:
    network = BagNet(SHAPES[0]).double().to(memory_format=torch.channels_last).train()
    seen: list[bool] = []

    def watch(_: nn.Module, given: tuple[Tensor]) -> None:
        given[0].register_hook(lambda gradient: seen.append(gradient.is_contiguous(memory_format=torch.channels_last)))

    for stage in network.stages:
        stage[0].register_forward_pre_hook(watch)
    with folded(network):
        network(batch(torch.channels_last)).sum().backward()
    assert seen == [True] * 4
