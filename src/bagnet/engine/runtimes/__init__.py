"""Who executes a network's features, and in which precision: a file for each runtime, and the one list of them.

The list can be read without torch, as `bagnet --help` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

    from .runner import Options, Runner

_IN_WORDS = {"cpu": "the CPU", "cuda": "CUDA"}
PRECISIONS = ("float32", "tf32", "mixed", "bf16", "int8")


@dataclass(frozen=True, slots=True)
class Runtime:
    """What is known of a runtime before its package is imported.

    Args:
        name: by which it is asked for.
        runner: file in this folder and class in it, as "file:Class"; called with (network, precision, options).
        precisions: "cpu" or "cuda" -> precisions that it runs there, where the processor has them.
        options: fields of `Options` that it heeds.
    """

    name: str
    runner: str
    precisions: Mapping[str, tuple[str, ...]]
    options: tuple[str, ...] = ()

    def run(self, network: nn.Module, precision: str, options: Options) -> Runner:
        """Have it execute a network.

        Raises:
            CannotRun: not in that precision, not on that device or processor, or not with these options.
            ImportError: its package is missing; the message has the pip command.
        """
        from ..program import CannotRun

        device = options.device.split(":", maxsplit=1)[0]
        if precision not in self.precisions.get(device, ()):
            able = [runtime.name for runtime in RUNTIMES.values() if precision in runtime.precisions.get(device, ())]
            hint = f"; {' and '.join(able)} can" if able else ""
            runs = f"runs {', '.join(self.precisions[device])}" if device in self.precisions else "does not run"
            raise CannotRun(f"{self.name} on {_IN_WORDS.get(device, device)} {runs}, not {precision}{hint}")
        file, _, name = self.runner.partition(":")
        runner: Runner = getattr(import_module(f".{file}", __name__), name)(network, precision, options)
        return runner


RUNTIMES: Mapping[str, Runtime] = MappingProxyType(
    {
        runtime.name: runtime
        for runtime in (
            Runtime(
                "torch",
                "pytorch:TorchRunner",
                {"cpu": ("float32", "mixed", "bf16"), "cuda": ("float32", "tf32", "mixed", "bf16")},
                ("compile",),
            ),
            Runtime("onnxruntime", "onnx_runtime:OnnxRunner", {"cpu": ("float32",)}, ("threads",)),
            Runtime(
                "openvino",
                "openvino:OpenVINORunner",
                {"cpu": ("float32", "mixed", "bf16", "int8")},
                ("threads", "calibration"),
            ),
        )
    }
)


def ways_to_run(device: str) -> list[tuple[str, str]]:
    """(runtime, precision) of all that can be asked for on a device."""
    return [(name, precision) for name, runtime in RUNTIMES.items() for precision in runtime.precisions.get(device, ())]
