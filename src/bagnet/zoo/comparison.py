"""Networks to compare BagNets with at the scale of small images: same blocks as the well-known ones, a whole image in view."""

from __future__ import annotations

from torch import nn
from torchvision.models.resnet import BasicBlock
from torchvision.ops import Conv2dNormActivation

_RESNET = (32, 64, 128, 256)
_VGG = ((32,), (64,), (128, 128), (256, 256), (256, 256))


def small_resnet(num_classes: int = 1000, in_channels: int = 3) -> nn.Module:
    """ResNet-18's layout (He et al. 2016) at half its width, with a 3x3 stem for small images: 2.8 M parameters and the head."""
    stages: list[nn.Module] = []
    before = _RESNET[0]
    for channels in _RESNET:
        stride = 1 if channels == before else 2
        shortcut = Conv2dNormActivation(before, channels, 1, stride, activation_layer=None) if stride == 2 else None
        stages += [BasicBlock(before, channels, stride, shortcut), BasicBlock(channels, channels)]
        before = channels
    stem = Conv2dNormActivation(in_channels, _RESNET[0], 3, 2)
    return nn.Sequential(stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(_RESNET[-1], num_classes))


def small_vgg(num_classes: int = 1000, in_channels: int = 3) -> nn.Module:
    """VGG-11's layout (Simonyan & Zisserman 2015) at half its width, with batch normalisation and one linear layer.

    2.3 M parameters and the head.
    """
    layers: list[nn.Module] = []
    before = in_channels
    for stage in _VGG:
        for channels in stage:
            layers.append(Conv2dNormActivation(before, channels, 3))
            before = channels
        layers.append(nn.MaxPool2d(2, ceil_mode=True))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, num_classes))
