"""BagNet: one module for both published families and every smaller, wider or finer sibling.

Brendel & Bethge, "Approximating CNNs with Bag-of-local-Features models works surprisingly well on ImageNet", ICLR 2019:
a ResNet-50 in which all but a few 3x3 convolutions are 1x1, so that each place of its last map sees only a small window.
State-dict names and numbers are those of the published code, so published checkpoints load strictly.
"""

from __future__ import annotations

from copy import deepcopy
from math import prod, sqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .architecture import EXPANSION, Architecture
from .bag import BagOfFeatures
from .geometry import Geometry


class Bottleneck(nn.Module):
    """1x1 - kernel x kernel - 1x1 convolution with a shortcut, the stride on the middle one. (B, in, H, W) -> (B, 4 width, h, w).

    Without padding the middle convolution shortens the map. The shortcut is then cropped at the bottom and right, as the
    published weights demand: it carries the top left pixel of a 3x3 window, not its centre.

    Each rectifier is a module of its own, and nothing is changed in place: attribution methods and graph tracers need that.
    """

    def __init__(self, in_channels: int, width: int, stride: int, kernel: int, padded: bool, project: bool) -> None:
        super().__init__()
        out_channels = width * EXPANSION
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, kernel, stride, kernel // 2 if padded else 0, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu3 = nn.ReLU()
        self.downsample = (
            nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))
            if project
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.relu2(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        shortcut: Tensor = x if self.downsample is None else self.downsample(x)
        activated: Tensor = self.relu3(out + self._cropped(shortcut, out.shape[-2], out.shape[-1]))
        return activated

    def dilate(self, dilation: int) -> int:
        """Compute at every place instead of every stride-th, on a map whose own places are `dilation` apart.

        Returns:
            The stride that it had, by which places are further apart behind this block.
        """
        stride = self.conv2.stride[0]
        assert not isinstance(self.conv2.padding, str)
        self.conv2.stride, self.conv2.dilation = (1, 1), (dilation, dilation)
        self.conv2.padding = (self.conv2.padding[0] * dilation,) * 2
        if self.downsample is not None:
            projection = self.downsample[0]
            assert isinstance(projection, nn.Conv2d)
            projection.stride = (1, 1)
        return stride

    def _cropped(self, shortcut: Tensor, rows: int, columns: int) -> Tensor:
        if self.training:
            # A slice's gradient has another memory layout, which makes the normalisation behind it ten times slower.
            return F.pad(shortcut, (0, columns - shortcut.shape[-1], 0, rows - shortcut.shape[-2]))
        return shortcut[..., :rows, :columns]


class BagNet(BagOfFeatures):
    """An image classifier whose logits are the mean of the logits of small windows.

    Build one with `bagnet.create` or `bagnet.load`, which also give it a card.

    Args:
        architecture: the shape of the network.
    """

    architecture: Architecture
    first_conv = "conv1"

    def __init__(self, architecture: Architecture) -> None:
        super().__init__(architecture)
        width = architecture.width
        if architecture.padded:
            self.conv1 = nn.Conv2d(architecture.in_channels, width, 3, padding=1, bias=False)
        else:
            self.conv1 = nn.Conv2d(architecture.in_channels, width, 1, bias=False)
            self.conv2 = nn.Conv2d(width, width, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width, momentum=0.1 if architecture.padded else 0.001)  # both as published
        self.relu = nn.ReLU()
        channels = width
        for stage in range(4):
            blocks = self._stage(stage, channels)
            self.add_module(f"layer{stage + 1}", blocks)
            channels = width * 2**stage * EXPANSION
        self.fc = nn.Linear(channels, architecture.num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
                nn.init.normal_(module.weight, 0.0, sqrt(2.0 / fan_out))

    def _stage(self, stage: int, in_channels: int) -> nn.Sequential:
        shape = self.architecture
        width = shape.width * 2**stage
        blocks = []
        for block in range(shape.layers[stage]):
            kernel = 3 if block < shape.kernel3[stage] else 1
            stride = shape.strides[stage] if block == 0 else 1
            project = block == 0 and (stride != 1 or in_channels != width * EXPANSION)
            blocks.append(Bottleneck(in_channels, width, stride, kernel, shape.padded, project))
            in_channels = width * EXPANSION
        return nn.Sequential(*blocks)

    @property
    def num_features(self) -> int:
        """Channels of the bag of features."""
        return self.architecture.num_features

    @property
    def stages(self) -> tuple[nn.Sequential, ...]:
        """The four stages, in order."""
        return tuple(self.get_submodule(f"layer{stage}") for stage in range(1, 5))  # type: ignore[misc]

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """What timm's `features_only` asks of the stages: channels, pixels from one place to the next, name."""
        width, strides = self.architecture.width, self.architecture.strides
        return [
            {"num_chs": width * 2**stage * EXPANSION, "reduction": prod(strides[: stage + 1]), "module": f"layer{stage + 1}"}
            for stage in range(4)
        ]

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Which parameters lie how deep, for timm's layer-wise learning rates: stem, then block by block or stage by stage."""
        return {"stem": r"^(?:conv1|conv2|bn1)\.", "blocks": r"^layer(\d+)" if coarse else r"^layer(\d+)\.(\d+)"}

    def features(self, x: Tensor) -> Tensor:
        """The bag of features: what each window is turned into before the linear head.

        Args:
            x: (B, in_channels, H, W) prepared images.

        Returns:
            (B, C, h, w), where (h, w) is `geometry.grid(H, W)`.

        Raises:
            ValueError: x has another shape, or is smaller than one window.
        """
        self.check(x)
        x = self.relu(self.bn1(self._stem(x)))
        for stage in self.stages:
            x = stage(x)
        return x

    def _stem(self, x: Tensor) -> Tensor:
        if self.architecture.padded:
            stem: Tensor = self.conv1(x)
        elif self.training:  # nothing is between the two: one convolution with the product of their weights does for less
            stem = F.conv2d(x, torch.einsum("omhw,mi->oihw", self.conv2.weight, self.conv1.weight[..., 0, 0]))
        else:
            stem = self.conv2(self.conv1(x))
        return stem

    def at_stride(self, stride: int) -> BagNet:
        """The same network with its windows closer together, for maps finer than the decision grid.

        Strides become dilations (the "a trous" algorithm): every value of the finer grid is a whole window's, and none is
        computed twice. The mean over the finer grid is not the logit.

        Args:
            stride: in pixels, that the result's stride is to divide.

        Returns:
            A copy whose `geometry.stride` is the largest product of this network's first few strides that divides `stride`;
            this network itself where that is its own stride.

        Raises:
            ValueError: stride < 1.
        """
        if stride < 1:
            raise ValueError(f"a stride must be at least 1 pixel, got {stride}")
        if stride % self.geometry.stride == 0:
            return self
        finer = deepcopy(self)
        reached, dilation = 1, 1
        for blocks, step in zip(finer.stages, self.architecture.strides, strict=True):
            if dilation == 1 and stride % (reached * step) == 0:
                reached *= step
                continue
            for block in blocks:
                assert isinstance(block, Bottleneck)
                dilation *= block.dilate(dilation)
        finer.geometry = Geometry(self.geometry.size, reached, self.geometry.origin)
        return finer
