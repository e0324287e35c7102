"""Evidence in pixels: each window's share of the logit, spread evenly over the pixels that it sees. The sum is the logit.

A window's share is its own logit divided by the number of windows. That is one way among many to say in pixels what is known of
windows, and a coarse one; `explain` says it in windows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..engine.classifier import Classifier
from ..engine.inference import exact, like_weights
from ..geometry import Geometry


def pixel_evidence(model: Classifier, x: Tensor, target: int | Sequence[int] | Tensor | None = None) -> Tensor:
    """What each pixel's windows say of a class; the sum over an image is the logit.

    Args:
        model: with evidence.
        x: (B, C, H, W) prepared images.
        target: the class of all images, or of each; the best one of each where None.

    Returns:
        (B, C, H, W) logits, alike in all channels.

    Raises:
        ValueError: as `model.features`; or there are not as many targets as images.
        IndexError: there is no such class.
    """
    with exact(model), torch.inference_mode():
        logits, values = model.logits_and_evidence(like_weights(x, model))
        chosen = targets_of(target, logits)
        maps = values[torch.arange(len(x)), chosen][:, None]
        return _spread(maps, model.geometry, x.shape[2:]).expand(-1, x.shape[1], -1, -1) / x.shape[1]


def targets_of(target: int | Sequence[int] | Tensor | None, logits: Tensor) -> Tensor:
    """(B,) the class of each image."""
    if target is None:
        return logits.argmax(1)
    chosen = torch.as_tensor(target).flatten()
    if len(chosen) not in (1, len(logits)):
        raise ValueError(f"{len(chosen)} targets for {len(logits)} images")
    if int(chosen.min()) < 0 or int(chosen.max()) >= logits.shape[1]:
        raise IndexError(f"there are {logits.shape[1]} classes, got {chosen.tolist()}")
    return chosen.expand(len(logits))


def _spread(maps: Tensor, geometry: Geometry, size: Sequence[int]) -> Tensor:
    """(B, 1, h, w) of windows -> (B, 1, H, W) of pixels, each window's share evenly over those of its pixels that there are."""
    rows, columns = maps.shape[2:]
    kernel = maps.new_ones(1, 1, geometry.size, geometry.size)
    edge = -geometry.origin  # pixels beyond the image that the first window sees
    spans = [geometry.stride * (count - 1) + geometry.size for count in (rows, columns)]
    inside = maps.new_zeros(1, 1, *(max(span, edge + side) for span, side in zip(spans, size, strict=True)))
    inside[..., edge : edge + size[0], edge : edge + size[1]] = 1
    seen = F.conv2d(inside[..., : spans[0], : spans[1]], kernel, stride=geometry.stride)
    field = F.conv_transpose2d(maps / seen / (rows * columns), kernel, stride=geometry.stride)
    pixels = maps.new_zeros(len(maps), *inside.shape[1:])
    pixels[..., : spans[0], : spans[1]] = field
    return (pixels * inside)[..., edge : edge + size[0], edge : edge + size[1]]
