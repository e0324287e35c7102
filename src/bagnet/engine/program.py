"""Program: what a runtime is given to execute."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn


class CannotRun(ValueError):
    """A runtime or precision that does not exist, or not on this machine. The message says which ones do."""


class Program(nn.Module):
    """A module from prepared pixels to features, (B, C_in, H, W) -> (B, C, h, w), and what a runtime has to know of it."""

    any_size = True  # height and width may differ from the example's

    @property
    @abstractmethod
    def example(self) -> Tensor:
        """The smallest input worth tracing: a network that computes at every pixel takes minutes for a whole image."""

    @abstractmethod
    def split(self, share: float) -> tuple[nn.Module, nn.Module]:
        """The program in two parts, to be run one after the other.

        Args:
            share: of the multiply-adds of a large image that the first part may need at most.

        Raises:
            CannotRun: it has no such parts.
        """
