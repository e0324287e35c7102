"""EfficientNet-Lite0, the network that the bundled default shows its windows to.

Tan & Le, "EfficientNet: rethinking model scaling for convolutional neural networks", ICML 2019, in the variant for small devices:
no squeeze-and-excitation, ReLU6, stem and head of fixed width. timm has the same network, `tf_efficientnet_lite0`, with the same
names of tensors and the same numbers; this one needs no import that takes longer than explaining a photograph.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

# kernel, stride, expansion, channels, repeats of each stage
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_STEM, _HEAD, _EPSILON = 32, 1280, 1e-3


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding: ceil(side / stride) cells, the odd pixel of padding at the end."""

    def forward(self, input: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            return F.conv2d(input, self.weight, self.bias, 1, kernel // 2, 1, self.groups)
        down, across = kernel - 2 + input.shape[2] % 2, kernel - 2 + input.shape[3] % 2  # in all, where the stride is 2
        padded = F.pad(input, (across // 2, across - across // 2, down // 2, down - down // 2))
        return F.conv2d(padded, self.weight, self.bias, stride, 0, 1, self.groups)


class Separable(nn.Module):
    """A depthwise convolution and a 1x1 one: the first block."""

    def __init__(self, channels: int, out_channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = SameConv2d(channels, channels, kernel, stride, groups=channels, bias=False)
        self.bn1 = nn.BatchNorm2d(channels, _EPSILON)
        self.conv_pw = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels, _EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn2(self.conv_pw(F.relu6(self.bn1(self.conv_dw(x)))))
        return out


class InvertedResidual(nn.Module):
    """Widen by a 1x1 convolution, mix each channel by itself, narrow again; with a shortcut where the shape stays."""

    def __init__(self, channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        self.conv_pw = nn.Conv2d(channels, wide, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(wide, _EPSILON)
        self.conv_dw = SameConv2d(wide, wide, kernel, stride, groups=wide, bias=False)
        self.bn2 = nn.BatchNorm2d(wide, _EPSILON)
        self.conv_pwl = nn.Conv2d(wide, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels, _EPSILON)
        self.has_shortcut = stride == 1 and channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        wide = F.relu6(self.bn1(self.conv_pw(x)))
        wide = F.relu6(self.bn2(self.conv_dw(wide)))
        narrow: Tensor = self.bn3(self.conv_pwl(wide))
        return narrow + x if self.has_shortcut else narrow


class EfficientNetLite(nn.Module):
    """(B, in_channels, H, W) -> (B, num_classes) logits, for any height and width.

    Args:
        num_classes: logits.
        in_channels: of the image.
    """

    def __init__(self, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        self.conv_stem = SameConv2d(in_channels, _STEM, 3, 2, bias=False)
        self.bn1 = nn.BatchNorm2d(_STEM, _EPSILON)
        stages: list[nn.Module] = []
        channels = _STEM
        for kernel, stride, expansion, width, repeats in _STAGES:
            blocks: list[nn.Module] = []
            for repeat in range(repeats):
                step = stride if repeat == 0 else 1
                if expansion == 1:
                    blocks.append(Separable(channels, width, kernel, step))
                else:
                    blocks.append(InvertedResidual(channels, width, kernel, step, expansion))
                channels = width
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = nn.Conv2d(channels, _HEAD, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(_HEAD, _EPSILON)
        self.classifier: nn.Module = nn.Linear(_HEAD, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        out = self.blocks(F.relu6(self.bn1(self.conv_stem(x))))
        out = F.relu6(self.bn2(self.conv_head(out)))
        logits: Tensor = self.classifier(out.mean((2, 3)))
        return logits


def efficientnet_lite0(num_classes: int = 1000, in_channels: int = 3) -> nn.Module:
    """With random weights."""
    return EfficientNetLite(num_classes, in_channels)
