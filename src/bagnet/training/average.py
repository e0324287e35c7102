"""The moving average of a network's weights, which a run is for."""

from __future__ import annotations

from copy import deepcopy
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

_Pairs = tuple[list[Tensor], list[Tensor]]  # of the average, of the network


class MovingAverage(nn.Module):
    """A network's weights and statistics, averaged over the steps of a run; counts are copied.

    As `torch.optim.swa_utils.AveragedModel`, which looks up every tensor anew at each step, for as long as a GPU takes for one.

    Args:
        network: copied; always the same one is averaged.
        decay: share of the average that each update keeps.

    Attributes:
        module: the copy.
        updates: how many there have been.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.module = deepcopy(network).requires_grad_(False).eval()
        self.decay, self.updates = decay, 0
        self._weights: _Pairs | None = None
        self._counts: _Pairs = [], []

    def train(self, mode: bool = True) -> MovingAverage:  # noqa: ARG002
        """It is never trained."""
        return super().train(False)

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move towards a network's weights: at first nearly a plain mean, so that short runs do not keep random weights.

        With n updates behind it the decay is (1 + n) / (10 + n) at most, which weighs the last ninth of them.
        """
        if self._weights is None:
            self._weights, self._counts = (
                _pairs(self.module, network, floating=True),
                _pairs(self.module, network, floating=False),
            )
        share = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.updates else 1.0
        torch._foreach_lerp_(*self._weights, share)
        if self._counts[0]:
            torch._foreach_copy_(*self._counts)
        self.updates += 1

    def get_extra_state(self) -> int:
        return self.updates

    def set_extra_state(self, state: Any) -> None:
        self.updates = int(state)


def _pairs(averaged: nn.Module, network: nn.Module, *, floating: bool) -> _Pairs:
    mine, theirs = (
        [tensor for tensor in chain(each.parameters(), each.buffers()) if tensor.is_floating_point() is floating]
        for each in (averaged, network)
    )
    return mine, theirs
