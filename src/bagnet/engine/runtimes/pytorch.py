"""PyTorch as a runtime, on the CPU and on CUDA."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..inference import tf32_products
from ..program import CannotRun, Program
from .runner import FLOAT32_SHARE, Options, Result


class TorchRunner:
    """PyTorch, channels last.

    Args:
        network: float32; any module from a batch to a tensor will do, unless it is to be split for "mixed".
        precision: "float32", "mixed", "bf16", or on CUDA "tf32".
        options: `device` and `compile`.

    Raises:
        CannotRun: not on this processor.
    """

    def __init__(self, network: nn.Module, precision: str, options: Options) -> None:
        self.device = torch.device(options.device)
        if precision in ("mixed", "bf16") and self.device.type == "cpu" and not cpu_has_bf16():
            raise CannotRun("this processor has no bf16 instructions: take float32")
        self.executed = precision
        if precision == "mixed":
            assert isinstance(network, Program)
            first, rest = network.split(FLOAT32_SHARE)
            parts: list[tuple[nn.Module, torch.dtype]] = [(first, torch.float32), (rest, torch.bfloat16)]
        else:
            parts = [(network, torch.bfloat16 if precision == "bf16" else torch.float32)]
        self._parts: list[tuple[Callable[[Tensor], Tensor], torch.dtype]] = []
        for part, kind in parts:
            moved = part.to(self.device, kind, memory_format=torch.channels_last)  # type: ignore[call-overload]
            self._parts.append((torch.compile(moved, mode=compile_mode(self.device)) if options.compile else moved, kind))

    def apply(self, x: Tensor, use: Callable[[Tensor], Result]) -> Result:
        return use(self._run(x))

    def pooled(self, x: Tensor) -> Tensor:
        return self._run(x).mean((2, 3), dtype=torch.float32)

    def _run(self, x: Tensor) -> Tensor:
        with torch.inference_mode(), tf32_products(self.executed == "tf32"):
            for run, kind in self._parts:
                x = run(x.to(self.device, kind, memory_format=torch.channels_last))
        return x


def compile_mode(device: torch.device) -> str:
    """How to compile for a device: on CUDA with CUDA graphs, as most of a small batch's time is launching kernels."""
    return "reduce-overhead" if device.type == "cuda" else "default"


def cpu_has_bf16() -> bool:
    """Whether bf16 products are hardware's here; torch computes them without, ten times slower."""
    held_back = not torch.backends.cpu.get_cpu_capability().startswith("AVX512")  # ATEN_CPU_CAPABILITY can say so
    return not held_back and bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
