"""BagNet: one module for both published families and every smaller, wider or finer sibling.

Brendel & Bethge, "Approximating CNNs with Bag-of-local-Features models works surprisingly well on ImageNet", ICLR 2019:
a ResNet-50 in which all but a few 3x3 convolutions are 1x1, so that each place of its last map sees only a small window.
State-dict names and numbers are those of the published code, so published checkpoints load strictly.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from math import floor, sqrt
from os import PathLike
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from .architecture import EXPANSION, Architecture
from .card import Card, digest
from .data.names import ClassNames, check_classes
from .data.transforms import Preprocessing
from .geometry import Geometry
from .weights import save


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


class BagNet(nn.Module):
    """An image classifier whose logits are the mean of the logits of small windows.

    Build one with `bagnet.create` or `bagnet.load`, which also give it a card.

    Args:
        architecture: the shape of the network.
    """

    card: Card | None
    runtime = "torch"

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.geometry = architecture.geometry
        self.card = None
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
    def name(self) -> str:
        """The architecture's name, which states the true window and stride."""
        return self.architecture.name

    @property
    def num_classes(self) -> int:
        """Length of the logits."""
        return self.architecture.num_classes

    @property
    def num_features(self) -> int:
        """Channels of the bag of features."""
        return self.architecture.num_features

    @property
    def head_hidden_size(self) -> int:
        """As timm calls `num_features` where a head follows."""
        return self.num_features

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """What timm's tools ask of a model: how images are prepared, by `timm.data.resolve_model_data_config(model)`."""
        transform = self.transform
        side = transform.crop or transform.resize or 224
        return {
            "architecture": self.name,
            "tag": "" if self.card is None else self.card.name.partition(".")[2],
            "num_classes": self.num_classes,
            "input_size": (self.architecture.in_channels, side, side),
            "fixed_input_size": False,
            "interpolation": transform.interpolation,
            "crop_pct": _crop_share(transform.resize, side),
            "crop_mode": "center",
            "mean": transform.mean,
            "std": transform.std,
            "first_conv": "conv1",
            "classifier": "fc",
        }

    @property
    def default_cfg(self) -> dict[str, Any]:
        """The older name of `pretrained_cfg`."""
        return self.pretrained_cfg

    @property
    def precision(self) -> str:
        """Of the weights: "float32", "float64", "bfloat16" or "float16"."""
        return str(self.conv1.weight.dtype).removeprefix("torch.")

    @property
    def weights_digest(self) -> str:
        """`digest` of the weights as they are now, by which the same model is known again."""
        return digest(self.state_dict())

    @property
    def stages(self) -> tuple[nn.Sequential, ...]:
        """The four stages, in order."""
        return tuple(self.get_submodule(f"layer{stage}") for stage in range(1, 5))  # type: ignore[misc]

    @property
    def classes(self) -> ClassNames:
        """What the logits stand for, as the card says."""
        return self._card().classes

    @property
    def transform(self) -> Preprocessing:
        """Callable PIL image -> (3, H, W) float32 tensor, prepared as the card says."""
        return self._card().preprocessing

    def _card(self) -> Card:
        if self.card is None:
            raise ValueError("this network has no card yet: build it with bagnet.create or bagnet.load")
        return self.card

    def save(self, path: str | PathLike[str]) -> None:
        """Write the weights as safetensors with the card inside; `bagnet.load(path)` gives the same network back.

        Raises:
            ValueError: the network has no card, or the name does not end in .safetensors.
            OSError: the file cannot be written; an older one stays as it was.
        """
        save(self, path)

    def check(self, x: Tensor) -> None:
        """See that x is a batch this network takes.

        Raises:
            ValueError: x has another shape, or is smaller than one window.
        """
        if isinstance(x, fx.Proxy) or torch.compiler.is_compiling():
            return  # a graph is made for inputs of any size
        if x.ndim != 4 or x.shape[1] != self.architecture.in_channels:
            raise ValueError(
                f"{self.name} takes a batch of shape (B, {self.architecture.in_channels}, H, W), got {tuple(x.shape)}"
            )
        self.geometry.grid(x.shape[2], x.shape[3])

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

    def forward_features(self, x: Tensor) -> Tensor:
        """Timm's name of `features`."""
        return self.features(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, C, h, w) features -> (B, K) logits, or (B, C) where `pre_logits`, as timm's tools ask for them."""
        pooled = self._pooled(x)
        return pooled if pre_logits else self._classified(pooled)

    def get_classifier(self) -> nn.Module:
        """The linear head."""
        return self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new random head for so many classes; the card says so.

        Raises:
            ValueError: num_classes < 1, or another pooling than the mean over windows is asked for.
        """
        if global_pool not in (None, "avg"):
            raise ValueError(f"a bag of windows is averaged: global_pool={global_pool!r} would be another network")
        architecture = replace(self.architecture, num_classes=num_classes)
        like = self.conv1.weight
        self.fc = nn.Linear(self.num_features, num_classes).to(like.device, like.dtype)
        self.architecture = architecture
        if self.card is not None:
            self.card = self.card.adapted(architecture, ClassNames.numbered(num_classes), new_head=True)

    def head(self, features: Tensor, classes: Sequence[int] | None = None) -> Tensor:
        """The linear classifier, in its own precision always.

        Args:
            features: (B, C) or (B, C, h, w).
            classes: indices of the wanted classes, in the wanted order; all where None.

        Returns:
            (B, K) or (B, K, h, w) logits.

        Raises:
            IndexError: a class index is out of range.
        """
        if features.ndim == 2:
            return self._classified(features, classes)
        return self._classified(features.permute(0, 2, 3, 1), classes).permute(0, 3, 1, 2)

    def _classified(self, features: Tensor, classes: Sequence[int] | None = None) -> Tensor:
        """(..., C) -> (..., K): by the module `fc`, whatever has taken its place, with its hooks."""
        parameter = next(self.fc.parameters(), None)
        if parameter is not None:
            features = features.to(parameter.dtype)
        with torch.autocast("cpu" if parameter is None or parameter.is_meta else parameter.device.type, enabled=False):
            if classes is None:
                every: Tensor = self.fc(features)
                return every
            rows = check_classes(classes, self.num_classes)
            if type(self.fc) is nn.Linear and not self.fc._forward_hooks and not self.fc._forward_pre_hooks:
                return F.linear(features, self.fc.weight[rows], self.fc.bias[rows])  # the same numbers, and no others
            chosen: Tensor = self.fc(features)[..., rows]
            return chosen

    def evidence(self, x: Tensor, classes: Sequence[int] | None = None) -> Tensor:
        """The logits of every window; their mean over the grid is `self(x)`.

        Args:
            x: (B, in_channels, H, W) prepared images.
            classes: indices of the wanted classes, in the wanted order; all where None.

        Returns:
            (B, K, h, w) logits.

        Raises:
            ValueError: as `features`.
            IndexError: a class index is out of range.
        """
        return self.head(self.features(x), classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, num_classes) of prepared images (B, in_channels, H, W). Raises as `features`."""
        return self._classified(self._pooled(self.features(x)))

    def logits_and_evidence(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, K) logits by pooling before the head and (B, K, h, w) evidence, from one pass. Raises as `features`."""
        features = self.features(x)
        return self.head(self._pooled(features)), self.head(features)

    def _pooled(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C), the mean over windows."""
        if self.training:  # by way of (B, h w, C), so that the gradient, too, is channels last
            return features.permute(0, 2, 3, 1).flatten(1, 2).mean(1)
        return features.mean((2, 3))

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


def _crop_share(resize: int | None, crop: int) -> float:
    """`crop / resize` so that timm, which rounds `crop / share` down, gets the resize back."""
    if resize is None:
        return 1.0
    share = crop / resize
    return share if floor(crop / share) == resize else crop / (resize + 0.5)
