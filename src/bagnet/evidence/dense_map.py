"""DenseMap: logits of windows closer together than those of the decision."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class DenseMap:
    """Logits of windows closer together than the decision grid's. Their mean is not the logit: it claims no sum.

    Args:
        values: (B, K, h, w) logits; (r, c) is the window whose first pixel is (origin + stride * r, origin + stride * c).
        origin: of the first window, in pixels of the network's input; negative where the input was padded.
        stride: between neighbouring windows, in pixels of the network's input.
    """

    values: Tensor
    origin: int
    stride: int
