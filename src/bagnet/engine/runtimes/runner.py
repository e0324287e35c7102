"""Runtimes: who executes the bag of features, in which precision. The linear head is nobody's business here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from torch import Tensor

FLOAT32_SHARE = 0.28  # of the multiply-adds that "mixed" spends in float32, on the first blocks; the rest are bf16
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Options:
    """What can be chosen about a runner; each runtime heeds some of it.

    Args:
        device: where torch is to run.
        compile: hand the network to torch.compile, with CUDA graphs on CUDA; worth its minute for long runs only.
        threads: how many; all cores where None.
        calibration: for int8: (B, C, H, W) batches of typical images.
    """

    device: str = "cpu"
    compile: bool = False
    threads: int | None = None
    calibration: Sequence[Tensor] | None = None


class Runner(Protocol):
    """Executes one network's features."""

    @property
    def executed(self) -> str:
        """The precision that the convolutions really run in, as the runtime itself reports where it can."""

    def apply(self, x: Tensor, use: Callable[[Tensor], Result]) -> Result:
        """What `use` makes of the features of x: (B, C_in, H, W) float32 -> (B, C, h, w) float32 or bf16 -> anything.

        The features are lent for the call alone, in the type and memory layout in which they were computed; the next call
        may overwrite them. They are large: not copying pays.
        """

    def pooled(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) float32 -> (B, C) float32: the mean of the features over the grid, from the same program."""
