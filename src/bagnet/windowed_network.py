"""WindowedNetwork: any classifier shown one window of an image at a time, which makes a bag of local features of it.

Its windows need not be small, nor its receptive field known: what a window says can depend on nothing outside it, because
the network is given nothing else. Neighbouring windows share no arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from math import prod

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from .architecture import Windowed
from .bag import BagOfFeatures
from .geometry import Geometry

# Of windows shown to the network at a time. What becomes of them is many times as large, and a processor's cache is small; a GPU
# waits for kernels to be started where they are few (EfficientNet-Lite0 at 128 px: 3,000 windows/s by 16, on an H200).
CHUNK_PIXELS, CUDA_CHUNK_PIXELS = 1 << 18, 1 << 22


class WindowedNetwork(BagOfFeatures):
    """A classifier whose logits are the mean of what it says of each window.

    Build one with `bagnet.windowed` or `bagnet.load`, which also give it a card.

    Args:
        network: the whole classifier, (B, C, H, W) -> (B, K). It is taken over, and loses its head.
        architecture: says which of its layers is the linear head. Where it says none, the features are the logits.

    Raises:
        ValueError: the network has no such linear layer.
    """

    architecture: Windowed
    windows_apart = True

    def __init__(self, network: nn.Module, architecture: Windowed) -> None:
        super().__init__(architecture)
        self.network = network
        self.fc = nn.Identity()
        self._num_features = architecture.num_classes
        if architecture.head:
            try:
                head = self.network.get_submodule(architecture.head)
            except AttributeError:
                head = nn.Identity()
            if not isinstance(head, nn.Linear):
                raise ValueError(f"{architecture.network} has no linear layer called {architecture.head!r}")
            self.fc, self._num_features = head, head.in_features
            parent, _, name = architecture.head.rpartition(".")
            setattr(self.network.get_submodule(parent), name, nn.Identity())

    @property
    def num_features(self) -> int:
        """Channels of the bag of features; as many as classes where the network has no linear head."""
        return self._num_features

    def features(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, C, h, w): what the network makes of each window. Raises as `BagNet.features`."""
        self.check(x)
        windows = windows_of(x, self.geometry)
        grid = windows.shape[:3]
        if torch.compiler.is_compiling() or isinstance(x, fx.Proxy):  # a program for any number of windows cannot count them
            embedded = self.embed(windows.flatten(0, 2))
        else:
            embedded = torch.cat([self.embed(chunk) for chunk in chunks_of(windows)])
        return torch.unflatten(embedded, 0, grid).permute(0, 3, 1, 2)

    def features_of(self, tiles: Tensor) -> Tensor:
        """(B, N, in_channels, H, W) tiles, or windows that somebody chose -> (B, C, N h, w). Raises as `features`.

        In training all windows are one batch, whose statistics batch normalisation takes.
        """
        if not self.training:
            return super().features_of(tiles)
        every = tiles.flatten(0, 1)
        self.check(every)
        windows = windows_of(every, self.geometry)
        embedded = torch.unflatten(self.embed(windows.flatten(0, 2)), 0, windows.shape[:3])  # (B N, h, w, C)
        return torch.unflatten(embedded, 0, tiles.shape[:2]).flatten(1, 2).permute(0, 3, 1, 2)

    def embed(self, windows: Tensor) -> Tensor:
        """(N, in_channels, window, window) -> (N, C) features."""
        side = self.architecture.resize
        if side is not None and side != windows.shape[-1]:
            windows = F.interpolate(windows, (side, side), mode="bilinear", align_corners=False, antialias=True)
        features: Tensor = self.network(windows)
        return features

    def at_stride(self, stride: int) -> WindowedNetwork:
        """The same network, with the same weights, with its windows so far apart. ValueError: stride < 1.

        Every window costs a pass of the network: a stride of a half costs four times as much.
        """
        if stride < 1:
            raise ValueError(f"a stride must be at least 1 pixel, got {stride}")
        if stride % self.geometry.stride == 0:
            return self
        finer = copy(self)
        finer.geometry = Geometry(self.geometry.size, stride, self.geometry.origin)
        return finer


def windows_of(x: Tensor, geometry: Geometry) -> Tensor:
    """(B, C, H, W) -> (B, h, w, C, size, size): a view of all windows of images."""
    size, stride = geometry.size, geometry.stride
    return x.unfold(2, size, stride).unfold(3, size, stride).permute(0, 2, 3, 1, 4, 5)


def chunks_of(windows: Tensor, sizes: tuple[int, ...] = ()) -> Iterator[Tensor]:
    """(B, h, w, C, size, size) -> (N, C, size, size) copies, so few at a time that they and what becomes of them fit in memory.

    Args:
        windows: of `windows_of`.
        sizes: how many at a time at best, in falling order down to 1, for those who plan for a number; any where empty.
    """
    grid = windows.shape[:3]
    most = max(1, (CUDA_CHUNK_PIXELS if windows.is_cuda else CHUNK_PIXELS) // prod(windows.shape[4:]))
    start, total = 0, prod(grid)
    while start < total:
        left = min(most, total - start)
        count = next((size for size in sizes if size <= left), left)
        indices = torch.arange(start, start + count, device=windows.device)
        places, columns = indices // grid[2], indices % grid[2]  # torch.unravel_index takes half a second to be imported
        yield windows[places // grid[1], places % grid[1], columns]
        start += count


def linear_head(network: nn.Module, example: Tensor) -> str:
    """The name of the linear layer that turns pooled features into a network's answer; "" where nothing linear is last.

    Args:
        network: (N, C, H, W) -> (N, K).
        example: an input.

    Raises:
        ValueError: the network does not answer each image with one row of logits.
    """
    answers: list[tuple[str, Tensor, Tensor]] = []

    def listen(name: str, layer: nn.Linear) -> torch.utils.hooks.RemovableHandle:
        return layer.register_forward_hook(lambda _, inputs, output: answers.append((name, inputs[0], output)))

    hooks = [listen(name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    try:
        with torch.inference_mode():
            logits = network(example)
    finally:
        for hook in hooks:
            hook.remove()
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(example):
        raise ValueError("the network does not answer an image with one row of logits")
    last = [(name, features) for name, features, output in answers if output is logits]
    return last[0][0] if last and last[0][1].ndim == 2 else ""
