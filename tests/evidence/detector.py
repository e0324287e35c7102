"""A network with hand-set weights: each window's logit is how much magenta it holds."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from bagnet.data.transforms import Preprocessing
from bagnet.model import BagNet, Bottleneck
from bagnet.zoo.load import create


def magenta_detector(size: int = 33) -> BagNet:
    """Classes "nothing" and "magenta". One channel carries (red + blue) / 2 - green, averaged over the window."""
    kernel3 = {9: (1, 1, 0, 0), 33: (1, 1, 1, 1)}[size]
    model = create(kernel3=kernel3, layers=(1, 1, 1, 1), width=1, classes=["nothing", "magenta"])
    plain = Preprocessing(256, 224, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    assert model.card is not None
    model.card = replace(model.card, preprocessing=plain)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.zero_()
                module.weight[0, 0] = 1 / module.weight[0, 0].numel()
            elif isinstance(module, nn.BatchNorm2d):
                module.eps = 1e-30  # 1 + it is 1, and torch 2.10 takes no 0
        for module in model.modules():
            if isinstance(module, Bottleneck) and module.downsample is not None:
                module.downsample[0].weight.zero_()  # type: ignore[union-attr,operator]
        model.conv1.weight[0, :, 0, 0] = torch.tensor([0.5, -1.0, 0.5])
        model.fc.weight.zero_()
        model.fc.bias.zero_()
        model.fc.weight[1, 0] = 10.0
    return model
