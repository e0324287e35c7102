"""Windowed networks on a runtime: the network runs there, a batch of windows at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..geometry import BATCH_SIZES, Geometry
from ..windowed_network import WindowedNetwork, chunks_of, windows_of
from .program import CannotRun, Program
from .runtimes.runner import Result, Runner

_TYPICAL_WINDOWS = 4  # of each image to calibrate on


class WindowProgram(Program):
    """What a windowed network makes of windows: (N, C_in, window, window) -> (N, C, 1, 1).

    Args:
        model: in eval mode.
    """

    any_size = False

    def __init__(self, model: WindowedNetwork) -> None:
        super().__init__()
        self.model = model

    def forward(self, windows: Tensor) -> Tensor:
        return self.model.embed(windows)[:, :, None, None]

    @property
    def example(self) -> Tensor:
        shape = self.model.architecture
        return torch.zeros(2, shape.in_channels, shape.window, shape.window)

    def split(self, share: float) -> tuple[nn.Module, nn.Module]:  # noqa: ARG002
        raise CannotRun(f"{self.model.name} cannot run in two precisions: take float32, bf16 or int8 instead of mixed")


class WindowRunner:
    """Executes a windowed network: gathers the windows and has another runner execute the network on them.

    Args:
        runner: of a `WindowProgram`.
        geometry: where the windows lie.
    """

    def __init__(self, runner: Runner, geometry: Geometry) -> None:
        self._runner, self._geometry = runner, geometry

    @property
    def executed(self) -> str:
        """In which precision the network really runs."""
        return self._runner.executed

    def apply(self, x: Tensor, use: Callable[[Tensor], Result]) -> Result:
        windows = windows_of(x, self._geometry)
        features = torch.cat([self._runner.pooled(chunk) for chunk in chunks_of(windows, BATCH_SIZES)])
        return use(features.reshape(*windows.shape[:3], -1).permute(0, 3, 1, 2))

    def pooled(self, x: Tensor) -> Tensor:
        return self.apply(x, lambda features: features.mean((2, 3)))


def typical_windows(batches: Sequence[Tensor], geometry: Geometry) -> list[Tensor]:
    """Windows of images, at random: (N, C, size, size) of each batch."""
    random = torch.Generator().manual_seed(0)
    chosen = []
    for batch in batches:
        windows = windows_of(batch, geometry).flatten(1, 2)
        count = min(_TYPICAL_WINDOWS, windows.shape[1])
        rows = torch.arange(len(batch)).repeat_interleave(count)
        cells = torch.cat([torch.randperm(windows.shape[1], generator=random)[:count] for _ in batch])
        chosen.append(windows[rows, cells])
    return chosen
