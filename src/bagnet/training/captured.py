"""On a GPU the training passes of a BagNet are CUDA graphs: its several hundred kernels, forwards and backwards, start at once.

At 64 px each kernel is shorter than the processor takes to start it, so that a GPU waits for most of a step. What is computed is
the same. A graph is for batches of one size: there is one for each, which the first such batch captures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..model import BagNet
from .processes import ranks

_Features = Callable[[Tensor], Tensor]


@contextmanager
def captured(network: nn.Module) -> Iterator[None]:
    """Within it a BagNet that trains as a whole, in one process on a GPU, replays its passes; its weights are as ever.

    Others, and passes without gradients, are computed as without.
    """
    if not isinstance(network, BagNet) or not torch.cuda.is_available() or ranks() > 1:
        yield
        return
    graphs: dict[tuple[torch.Size, torch.dtype], _Features] = {}

    def features(x: Tensor) -> Tensor:
        if not (x.is_cuda and torch.is_grad_enabled() and network.training and _trains_as_a_whole(network)):
            return BagNet.features(network, x)
        key = x.shape, x.dtype
        if key not in graphs:
            network.check(x)
            graphs[key] = _graphed(network, x)
        return graphs[key](x)

    network.features = features  # type: ignore[method-assign]
    try:
        yield
    finally:
        del network.features


def _trains_as_a_whole(network: nn.Module) -> bool:
    return all(parameter.requires_grad for parameter in network.parameters())


def _graphed(network: BagNet, x: Tensor) -> _Features:
    """The features of batches like x, as a graph of the forward pass and one of the backward pass."""
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    with torch.autocast("cuda", torch.get_autocast_dtype("cuda"), torch.is_autocast_enabled("cuda"), cache_enabled=False):
        graphed: Any = torch.cuda.make_graphed_callables(_AsModule(network), (x.clone(),), allow_unused_input=True)
    with torch.no_grad():
        for name, buffer in network.named_buffers():
            buffer.copy_(buffers[name])  # the passes that warmed up have moved the running statistics
    features: _Features = graphed
    return features


class _AsModule(nn.Module):
    """A network's features as a module, of whose parameters gradients are computed."""

    def __init__(self, network: BagNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return BagNet.features(self.network, x)
