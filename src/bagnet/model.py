"""BagNet: one module for both published families and every smaller, wider or finer sibling.

Brendel & Bethge, "Approximating CNNs with Bag-of-local-Features models works surprisingly well on ImageNet", ICLR 2019:
a ResNet-50 in which all but a few 3x3 convolutions are 1x1, so that each place of its last map sees only a small window.
State-dict names and numbers are those of the published code, so published checkpoints load strictly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .geometry import Geometry

if TYPE_CHECKING:  # a model carries its card and what the card knows, without depending on those rooms
    from .card import Card
    from .data.names import ClassNames
    from .data.transforms import Preprocessing

EXPANSION = 4


@dataclass(frozen=True, slots=True)
class Architecture:
    """The shape of a BagNet, in the published code's terms. The defaults are BagNet-33's.

    Args:
        kernel3: per stage, how many of its leading blocks have a 3x3 convolution; the others have only 1x1.
        strides: stride of each stage's first block.
        layers: blocks per stage.
        width: channels of the stem; stage i has width * 2**i inside its blocks and four times that after them.
        padded: zero-pad every 3x3 convolution to keep the size (the bagnetsv2 family) instead of not at all (the paper's).
        in_channels: channels of the input image.
        num_classes: logits.

    Raises:
        ValueError: a field is out of range; the message says which.
    """

    kernel3: tuple[int, int, int, int] = (1, 1, 1, 1)
    strides: tuple[int, int, int, int] = (2, 2, 2, 1)
    layers: tuple[int, int, int, int] = (3, 4, 6, 3)
    width: int = 64
    padded: bool = False
    in_channels: int = 3
    num_classes: int = 1000

    def __post_init__(self) -> None:
        for field, least in (("kernel3", 0), ("strides", 1), ("layers", 1)):
            numbers = getattr(self, field)
            if len(numbers) != 4 or any(not isinstance(n, int) or n < least for n in numbers):
                raise ValueError(f"{field} must be four whole numbers >= {least}, one per stage, got {numbers}")
            object.__setattr__(self, field, tuple(numbers))  # a list read from JSON is welcome
        for field in ("width", "in_channels", "num_classes"):
            if not isinstance(getattr(self, field), int) or getattr(self, field) < 1:
                raise ValueError(f"{field} must be a whole number >= 1, got {getattr(self, field)}")
        if any(k > n for k, n in zip(self.kernel3, self.layers, strict=True)):
            raise ValueError(f"kernel3={self.kernel3} asks for more 3x3 blocks than layers={self.layers} has")

    @property
    def geometry(self) -> Geometry:
        """Window, stride and origin of the evidence grid, by receptive-field arithmetic over the 3x3 convolutions."""
        size, stride = 3, 1
        for blocks, stage_stride in zip(self.kernel3, self.strides, strict=True):
            for block in range(blocks):
                size += 2 * stride
                stride *= stage_stride if block == 0 else 1
            stride *= stage_stride if blocks == 0 else 1
        return Geometry(size, stride, origin=-(size - 1) // 2 if self.padded else 0)

    @property
    def name(self) -> str:
        """`bagnet<window>`, with `s<stride>` where that is not the published 8 and `_padded` for the padded family."""
        geometry = self.geometry
        stride = "" if geometry.stride == 8 else f"s{geometry.stride}"
        return f"bagnet{geometry.size}{stride}{'_padded' if self.padded else ''}"

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them; `Architecture(**fields)` reads them back."""
        return {field: list(value) if isinstance(value, tuple) else value for field, value in asdict(self).items()}


class Bottleneck(nn.Module):
    """1x1 - kernel x kernel - 1x1 convolution with a shortcut, the stride on the middle one. (B, in, H, W) -> (B, 4 width, h, w).

    Without padding the middle convolution shortens the map. The shortcut is then cropped at the bottom and right, as the
    published weights demand: it carries the top left pixel of a 3x3 window, not its centre.
    """

    def __init__(self, in_channels: int, width: int, stride: int, kernel: int, padded: bool, project: bool) -> None:
        super().__init__()
        out_channels = width * EXPANSION
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel, stride, kernel // 2 if padded else 0, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = (
            nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))
            if project
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        shortcut: Tensor = x if self.downsample is None else self.downsample(x)
        out += self._cropped(shortcut, out.shape[-2], out.shape[-1])
        activated: Tensor = self.relu(out)
        return activated

    def _cropped(self, shortcut: Tensor, rows: int, columns: int) -> Tensor:
        if (
            self.training
        ):  # a slice's gradient has another memory layout, which makes the normalisation behind it ten times slower
            return F.pad(shortcut, (0, columns - shortcut.shape[-1], 0, rows - shortcut.shape[-2]))
        return shortcut[..., :rows, :columns]


class BagNet(nn.Module):
    """An image classifier whose logits are the mean of the logits of small windows.

    Build one with `bagnet.create` or `bagnet.load`, which also give it a card.

    Args:
        architecture: the shape of the network.
    """

    card: Card | None

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
        self.relu = nn.ReLU(inplace=True)
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

    def check(self, x: Tensor) -> None:
        """See that x is a batch this network takes.

        Raises:
            ValueError: x has another shape, or is smaller than one window.
        """
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

    def head(self, features: Tensor, classes: Sequence[int] | None = None) -> Tensor:
        """The linear classifier on features of shape (B, C) or (B, C, h, w), in the head's own precision always."""
        rows = slice(None) if classes is None else self.rows(classes)
        weight, bias = self.fc.weight[rows], self.fc.bias[rows]
        with torch.autocast(features.device.type, enabled=False):
            features = features.to(weight.dtype)
            if features.ndim == 2:
                return F.linear(features, weight, bias)
            return F.conv2d(features, weight[:, :, None, None], bias)

    def rows(self, classes: Sequence[int]) -> list[int]:
        """Class indices as the head's rows. Raises IndexError where one is out of range, ValueError where there is none."""
        rows = list(classes)
        if not rows:
            raise ValueError("no classes are asked for: name some, or leave the argument out for all")
        for row in rows:
            if not 0 <= row < self.architecture.num_classes:
                raise IndexError(f"there is no class {row}: the indices are 0 to {self.architecture.num_classes - 1}")
        return rows

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
        return self.head(_pooled(self.features(x)))

    def logits_and_evidence(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, K) logits by pooling before the head and (B, K, h, w) evidence, from one pass. Raises as `features`."""
        features = self.features(x)
        return self.head(_pooled(features)), self.head(features)


def _pooled(features: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, C), the mean over windows; by way of (B, h w, C), so that its gradient, too, is channels last."""
    return features.permute(0, 2, 3, 1).flatten(1, 2).mean(1)
