"""Evidence as attribution libraries want it: a value for every pixel, whose sum is the logit; for captum and quantus.

A window's share of the logit, its own logit divided by the number of windows, is spread evenly over the pixels that it sees. That
is one way among many to say in pixels what is known of windows, and a coarse one; `bagnet.explain` says it in windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..engine.classifier import Classifier
from ..engine.inference import exact, like_weights
from ..geometry import Geometry
from ..missing import needs


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
        chosen = _targets(target, logits)
        maps = values[torch.arange(len(x)), chosen][:, None]
        return _spread(maps, model.geometry, x.shape[2:]).expand(-1, x.shape[1], -1, -1) / x.shape[1]


def explain_func(model: Any, inputs: Any, targets: Any, **_: Any) -> NDArray[np.floating[Any]]:
    """For quantus, `metric(model=model, x_batch=x, y_batch=y, explain_func=explain_func)`; also of a model that it has wrapped.

    Args:
        model: with evidence.
        inputs: (B, C, H, W) prepared images, as an array or a tensor.
        targets: (B,) classes.

    Returns:
        (B, 1, H, W): the sum over the channels of `pixel_evidence`.
    """
    x = torch.as_tensor(np.asarray(inputs), dtype=torch.float32)
    shares: NDArray[np.floating[Any]] = (
        pixel_evidence(model, x, torch.as_tensor(np.asarray(targets))).sum(1, keepdim=True).numpy()
    )
    return shares


def captum_evidence(model: Classifier) -> Any:
    """A captum `Attribution` of a model: `attribute(inputs, target)` answers as `pixel_evidence`, and takes part in its metrics.

    ImportError: captum is missing; the message has the pip command.
    """
    attr = needs("captum.attr", "compare")

    class BagNetEvidence(attr.Attribution):  # type: ignore[misc, name-defined]  # the base class is known where it is installed
        """Evidence as an attribution, which is complete: nothing is left over."""

        def attribute(self, inputs: Any, target: Any = None, return_convergence_delta: bool = False) -> Any:
            """(B, C, H, W) -> the same shape; and by how much each image's map misses its logit, where that is asked for.

            A tuple of one such tensor gives a tuple, as captum's metrics have it.
            """
            if isinstance(inputs, tuple):
                return tuple(pixel_evidence(model, part, target) for part in inputs)
            shares = pixel_evidence(model, inputs, target)
            if not return_convergence_delta:
                return shares
            return shares, self.compute_convergence_delta(shares, inputs, target)

        def has_convergence_delta(self) -> bool:
            """It has one, of rounding alone."""
            return True

        def compute_convergence_delta(self, attributions: Tensor, inputs: Tensor, target: Any = None) -> Tensor:
            """(B,) the sum of a map less the logit."""
            with exact(model), torch.inference_mode():
                logits = model(like_weights(inputs, model))
            return attributions.sum((1, 2, 3)) - logits[torch.arange(len(inputs)), _targets(target, logits)]

    return BagNetEvidence(model)


def _targets(target: int | Sequence[int] | Tensor | None, logits: Tensor) -> Tensor:
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
