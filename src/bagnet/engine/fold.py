"""The same function with less arithmetic: exact rewrites of a BagNet's features for inference.

Each rewrite is one function, equal to what it replaces up to rounding whatever the input:
batch normalisation goes into the convolution before it, the 1x1 stem into the 3x3 after it (nothing stands between), the
shortcut is cropped and thinned before its convolution rather than after, and channels that carry a constant become a bias.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..model import BagNet, Bottleneck
from .program import Program


class FoldedFeatures(Program):
    """The bag of features of a BagNet after all rewrites: (B, in_channels, H, W) -> (B, C, h, w), equal to `model.features`.

    Args:
        model: copied, not changed.
    """

    def __init__(self, model: BagNet) -> None:
        super().__init__()
        with torch.no_grad():
            first = model.conv1 if model.architecture.padded else merge_pointwise(model.conv1, model.conv2)
            self.stem = fold_norm(first, model.bn1)
            blocks = []
            for stage in model.stages:
                for block in stage:
                    assert isinstance(block, Bottleneck)
                    blocks.append(FoldedBottleneck(block))
            self.blocks = nn.Sequential(*blocks)
        self.geometry = model.geometry

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.blocks(torch.relu(self.stem(x)))
        return features

    @property
    def example(self) -> Tensor:
        """Of a few cells a side."""
        side = self.geometry.smallest_input + 4 * self.geometry.stride
        return torch.zeros(2, self.stem.in_channels, side, side + self.geometry.stride)

    def split(self, share: float) -> tuple[nn.Sequential, nn.Sequential]:
        """Between two blocks, as `Program.split`."""
        places = 1.0  # where a convolution is computed, per pixel of the image
        costs = [float(self.stem.weight.numel())]
        for block in self.blocks:
            assert isinstance(block, FoldedBottleneck)
            before, places = places, places / block.stride**2
            costs.append(block.first.weight.numel() * before + block.places_cost * places)
        count = 0
        while sum(costs[: count + 2]) <= share * sum(costs):
            count += 1
        return nn.Sequential(self.stem, nn.ReLU(), *self.blocks[:count]), nn.Sequential(*self.blocks[count:])


class FoldedBottleneck(nn.Module):
    """A bottleneck without batch normalisation, without dead channels, and with a shortcut cropped before its convolution.

    Args:
        block: copied, not changed.
    """

    def __init__(self, block: Bottleneck) -> None:
        super().__init__()
        first, middle = fold_norm(block.conv1, block.bn1), fold_norm(block.conv2, block.bn2)
        last = fold_norm(block.conv3, block.bn3)
        self.stride = middle.stride[0]
        self.margin = middle.dilation[0] * (middle.kernel_size[0] - 1) - 2 * _padding(middle)  # pixels lost at the end
        first, middle = prune_constant_channels(first, middle)
        middle, last = prune_constant_channels(middle, last)
        self.first, self.middle, self.last = first, middle, last
        self.shortcut: nn.Conv2d | None = None
        if block.downsample is not None:
            projection = fold_norm(block.downsample[0], block.downsample[1])  # type: ignore[arg-type]
            self.shortcut = _convolution(projection.weight, projection.bias)

    def forward(self, x: Tensor) -> Tensor:
        out = self.last(torch.relu(self.middle(torch.relu(self.first(x)))))
        shortcut = self.kept(x)
        if self.shortcut is not None:
            shortcut = self.shortcut(shortcut)
        return torch.relu(out + shortcut)

    @property
    def places_cost(self) -> int:
        """Multiply-adds for each place of the result, without the first convolution, which runs before the stride."""
        later = (self.middle, self.last, self.shortcut)
        return sum(conv.weight.numel() for conv in later if conv is not None)

    def kept(self, x: Tensor) -> Tensor:
        """The pixels of the shortcut that meet an output: every stride-th, without what the 3x3 loses at the end."""
        end = -self.margin or None
        return x[..., : end : self.stride, : end : self.stride] if self.margin or self.stride > 1 else x


def fold_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """A convolution and the batch normalisation after it, in eval mode, as one convolution with a bias."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    weight = conv.weight * scale[:, None, None, None]
    return _convolution(weight, norm.bias - norm.running_mean * scale, conv)


def merge_pointwise(first: nn.Conv2d, second: nn.Conv2d) -> nn.Conv2d:
    """A 1x1 convolution without bias and the k x k convolution right after it, as one k x k convolution."""
    weight = torch.einsum("omyx,mi->oiyx", second.weight, first.weight[:, :, 0, 0])
    return _convolution(weight, second.bias, second)


def prune_constant_channels(first: nn.Conv2d, second: nn.Conv2d) -> tuple[nn.Conv2d, nn.Conv2d]:
    """Take out channels between two convolutions (with a ReLU between) whose weights are all zero.

    Such a channel carries relu(its bias); what the second convolution makes of that goes into its bias. Where the second
    one pads with zeros, a constant other than zero is no constant at the border, and the channel stays.
    """
    assert first.bias is not None
    assert second.bias is not None
    constant = torch.relu(first.bias)
    dead = (first.weight == 0).flatten(1).all(1)
    if _padding(second):
        dead &= constant == 0
    if not dead.any():
        return first, second
    if dead.all():
        dead[0] = False  # a convolution needs a channel; its weights are zero all the same
    bias = second.bias + second.weight[:, dead].sum((2, 3)) @ constant[dead]
    return (
        _convolution(first.weight[~dead], first.bias[~dead], first),
        _convolution(second.weight[:, ~dead], bias, second),
    )


def _padding(conv: nn.Conv2d) -> int:
    assert not isinstance(conv.padding, str)  # torch also knows "same" and "valid"; no network here does
    return conv.padding[0]


def _convolution(weight: Tensor, bias: Tensor | None, like: nn.Conv2d | None = None) -> nn.Conv2d:
    """With the stride, padding and dilation of another; at every pixel, without padding, where there is none."""
    out_channels, in_channels, kernel, _ = weight.shape
    with torch.device("meta"):
        conv = nn.Conv2d(in_channels, out_channels, kernel, bias=bias is not None)
    if like is not None:
        conv.stride, conv.padding, conv.dilation = like.stride, like.padding, like.dilation
    conv.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    if bias is not None:
        conv.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return conv
