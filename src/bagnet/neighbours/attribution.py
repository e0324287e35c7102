"""Evidence as attribution libraries want it, a value for every pixel: for captum and quantus."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..engine.classifier import Classifier
from ..engine.inference import exact, like_weights
from ..evidence.pixels import pixel_evidence, targets_of
from ..missing import needs

__all__ = ["captum_evidence", "explain_func", "pixel_evidence"]


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
            return attributions.sum((1, 2, 3)) - logits[torch.arange(len(inputs)), targets_of(target, logits)]

    return BagNetEvidence(model)
