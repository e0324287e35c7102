"""Batch normalisation folded into the widening 1x1 convolutions before it, while training: exact, with fewer passes over memory.

The mean and the variance of a linear map's outputs follow from the mean and the covariance of its inputs: of y = W x they are
W m and the diagonal of W C W'. Where a convolution widens (the last one of each bottleneck does, and that of its shortcut), C is
small, and once it is known normalisation is part of the weights: the wide map is written once, as the sum of both branches,
and not read again to be measured and scaled, nor is its gradient. The shortcut's statistics are those of the whole map, as
without folding, but only the part that the crop keeps is computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..model import Bottleneck


@contextmanager
def folded(network: nn.Module) -> Iterator[None]:
    """Within it the bottlenecks of a network compute their training passes folded, where they can; its weights are as ever."""
    blocks = [module for module in network.modules() if isinstance(module, Bottleneck)]
    for block in blocks:
        block.forward = partial(_forward, block)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for block in blocks:
            del block.forward


def _forward(block: Bottleneck, x: Tensor) -> Tensor:
    """What `Bottleneck.forward` gives, to rounding, and the same running statistics."""
    if not _can_fold(block, x):
        return Bottleneck.forward(block, x)
    inner = block.relu1(block.bn1(block.conv1(x)))
    inner = block.relu2(block.bn2(block.conv2(inner)))
    height, width = inner.shape[-2:]
    rows, weight, bias = _normed(inner, block.conv3, block.bn3, height, width)
    if block.downsample is None:
        wide = _cells(x)[:, :height, :width].flatten(0, 2) + bias
    else:
        convolution, norm = block.downsample
        outer, outer_weight, outer_bias = _normed(x, convolution, norm, height, width)  # type: ignore[arg-type]
        wide = F.linear(outer, outer_weight, bias + outer_bias)
    wide = wide.addmm_(rows, weight.t()).relu_()
    return wide.view(len(x), height, width, -1).permute(0, 3, 1, 2)


def _can_fold(block: Bottleneck, x: Tensor) -> bool:
    """On CPUs in whole precision: elsewhere products are rounded too coarsely to take variances from, or kernels are fused."""
    norms = [block.bn3, *([] if block.downsample is None else [block.downsample[1]])]
    return (
        x.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and x.is_contiguous(memory_format=torch.channels_last)
        and all(norm.training and norm.momentum is not None for norm in norms)
    )


def _cells(x: Tensor) -> Tensor:
    """(B, C, H, W) channels last -> (B, H, W, C), contiguous."""
    return x.permute(0, 2, 3, 1)


def _normed(x: Tensor, convolution: nn.Conv2d, norm: nn.BatchNorm2d, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """A 1x1 convolution and the batch normalisation behind it as one linear map of rows; the running statistics move on.

    Args:
        x: (B, C, H, W) input of the convolution, channels last.
        convolution: 1x1, without a bias.
        norm: of its whole output.
        height: rows of that output which are wanted, from the top.
        width: columns, from the left.

    Returns:
        (B height width, C) rows, (K, C) weight and (K,) bias.
    """
    weight = convolution.weight.flatten(1)
    rows, inputs_mean, covariance = _Moments.apply(x, convolution.stride, height, width)
    mean = weight @ inputs_mean
    variance = ((weight @ covariance) * weight).sum(1).clamp(min=0)
    with torch.no_grad():
        down, across = convolution.stride
        count = len(x) * -(-x.shape[2] // down) * -(-x.shape[3] // across)
        norm.running_mean.lerp_(mean, norm.momentum)  # type: ignore[union-attr, arg-type]
        norm.running_var.lerp_(variance * (count / max(1, count - 1)), norm.momentum)  # type: ignore[union-attr, arg-type]
        norm.num_batches_tracked.add_(1)  # type: ignore[union-attr]
    scale = norm.weight * (variance + norm.eps).rsqrt()
    return rows, weight * scale[:, None], norm.bias - mean * scale


class _Moments(torch.autograd.Function):
    """Mean (C,) and covariance (C, C) of every stride-th cell of x, and those in the top left as rows.

    One function, as its gradient is then one map that is written once, where autograd adds up four.
    """

    @staticmethod
    def forward(context: Any, x: Tensor, stride: tuple[int, int], height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        cells = _cells(x)[:, :: stride[0], :: stride[1]]
        rows = cells.flatten(0, 2)
        mean = rows.mean(0)
        covariance = torch.addmm(torch.outer(mean, mean), rows.t(), rows, beta=-1, alpha=1 / len(rows))
        context.save_for_backward(rows, mean)
        context.places = x.shape, stride, height, width
        return cells[:, :height, :width].flatten(0, 2), mean, covariance

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        rows, mean = context.saved_tensors
        (count, channels, *size), (down, across), height, width = context.places
        by_kept, by_mean, by_covariance = gradients
        both = (by_covariance + by_covariance.t()) / len(rows)
        by_rows = torch.addmm(by_mean / len(rows) - mean @ both, rows, both)
        by_cells = by_rows.view(count, -(-size[0] // down), -(-size[1] // across), channels)
        by_cells[:, :height, :width] += by_kept.view(count, height, width, channels)
        if down * across > 1:
            whole = by_cells.new_zeros(count, *size, channels)
            whole[:, ::down, ::across] = by_cells
            by_cells = whole
        return by_cells.permute(0, 3, 1, 2), None, None, None
