"""Small classifiers with whatever hides a nonlinearity or a sum from hooks; in float64, with lively batch norms."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import DenseNet
from torchvision.models.resnet import BasicBlock
from torchvision.ops import Conv2dNormActivation

from bagnet.architecture import Architecture
from bagnet.model import BagNet


def residual() -> nn.Module:
    """One in-place ReLU for three places in each block, sums, and a max pooling whose windows overlap."""
    shortcut = Conv2dNormActivation(6, 8, 1, 2, activation_layer=None)
    return nn.Sequential(
        Conv2dNormActivation(3, 6, 3),
        nn.MaxPool2d(3, 2, 1),
        BasicBlock(6, 6),
        BasicBlock(6, 8, 2, shortcut),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )


def plain() -> nn.Module:
    """Biases without normalisation, a max pooling with a rest at the border, dropout, two linear layers."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.Conv2d(6, 8, 3),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 8),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(8, 4),
    )


def dense() -> nn.Module:
    """Normalisation before activation, concatenations."""
    return DenseNet(4, (2, 2), 6, num_classes=4)


def bagnet() -> nn.Module:
    """Shortcuts that are cropped."""
    return BagNet(Architecture((1, 1, 0, 0), (2, 2, 1, 1), (1, 2, 1, 1), 2, num_classes=4))


def bagnet_padded() -> nn.Module:
    """The other family, as a part of something."""
    return nn.Sequential(BagNet(Architecture((1, 1, 0, 0), (2, 2, 1, 1), (1, 1, 1, 1), 2, padded=True, num_classes=4)))


class Functional(nn.Module):
    """Everything written as functions and methods; a convolution used twice; an activation whose input is used again."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.twice, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3, padding=1), nn.Linear(6, 4)
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(torch.relu(self.first(x)), 3, stride=1)
        y = self.twice(x) - 0.1
        y += x[..., :1]
        z = F.relu(y, inplace=False) + y * self.scale
        z = F.dropout(self.twice(z).relu_(), 0.5, self.training)
        z = torch.cat([z[:, :3], F.avg_pool2d(F.pad(z[:, 3:], (1, 1, 1, 1)), 3, 1)], 1)
        logits: Tensor = self.head(z.mean((2, 3)).view(z.size(0), -1))
        return logits


class Clipped(nn.Module):
    """ReLU6, as in networks for telephones, with weights that reach its upper bend."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 1), nn.Linear(6, 4)
        self.act = nn.ReLU6(inplace=True)
        nn.init.normal_(self.first.weight, 0, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.first(x))
        x = self.act(self.second(x)) + x
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "residual": residual,
    "plain": plain,
    "dense": dense,
    "bagnet": bagnet,
    "bagnet_padded": bagnet_padded,
    "functional": Functional,
    "clipped": Clipped,
}


def lively(network: nn.Module) -> nn.Module:
    """In float64 and eval mode, with batch norms and biases as a trained network has them."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return network.double().eval()


def images(count: int = 2, height: int = 19, width: int = 22) -> Tensor:
    """(B, 3, H, W) in float64."""
    return torch.randn(count, 3, height, width, dtype=torch.float64)
