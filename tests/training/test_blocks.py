"""The blocks of networks, in the order of their layers."""

from __future__ import annotations

import timm
from torch import nn

from bagnet.training.blocks import blocks_of

from ..engine.classifiers import small_bagnet, small_windowed


def kinds(network: nn.Module) -> list[str]:
    return [
        "+".join(type(part).__name__ for part in block) if isinstance(block, nn.ModuleList) else type(block).__name__
        for block in blocks_of(network)
    ]


def test_blocks_of_known_networks() -> None:
    assert kinds(small_windowed()) == ["Conv2d+BatchNorm2d", "Conv2d"]
    assert kinds(small_bagnet()) == ["Conv2d", "Conv2d+BatchNorm2d", *["Bottleneck"] * 4]
    assert kinds(timm.create_model("test_vit", num_classes=3))[0] == "PatchEmbed"
    assert kinds(timm.create_model("test_resnet", num_classes=3))[-1] == "BasicBlock"


def test_all_weights_but_the_head_are_in_one_block() -> None:
    network = timm.create_model("test_efficientnet", num_classes=3)
    inside = [id(parameter) for block in blocks_of(network) for parameter in block.parameters()]
    assert len(inside) == len(set(inside))
    assert {id(parameter) for name, parameter in network.named_parameters() if "classifier" not in name} == set(inside)
