"""ONNX Runtime as a runtime, on the CPU."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ...missing import needs
from ..program import Program
from .runner import Options, Result


class SessionRunner:
    """An ONNX program on the CPU, float32.

    Args:
        program: from `x` to `features` and `pooled`.
        threads: how many; all cores where None.
    """

    executed = "float32"

    def __init__(self, program: bytes, threads: int | None = None) -> None:
        self._session = session(program, threads)

    def apply(self, x: Tensor, use: Callable[[Tensor], Result]) -> Result:
        return use(self._run("features", x))

    def pooled(self, x: Tensor) -> Tensor:
        return self._run("pooled", x)

    def _run(self, kind: str, x: Tensor) -> Tensor:
        (out,) = self._session.run([kind], {"x": x.float().numpy()})
        return torch.from_numpy(out)


class OnnxRunner(SessionRunner):
    """ONNX Runtime on the CPU, float32.

    Args:
        network: on the CPU, float32.
        precision: "float32".
        options: `threads`.
    """

    def __init__(self, network: Program, precision: str, options: Options) -> None:
        needs("onnxruntime", "export")
        super().__init__(_onnx_bytes(network.cpu()), options.threads)
        self.executed = precision


def session(program: bytes, threads: int | None = None) -> Any:
    """An ONNX program, ready to run on the CPU, that says nothing but errors."""
    runtime = needs("onnxruntime", "export")
    settings = runtime.SessionOptions()
    settings.log_severity_level = 3
    if threads is not None:
        settings.intra_op_num_threads = threads
    return runtime.InferenceSession(program, settings, providers=["CPUExecutionProvider"])


class _WithMean(nn.Module):
    """The features and their mean over the grid."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features: Tensor = self.network(x)
        return features, features.mean((2, 3))


def _onnx_bytes(network: Program) -> bytes:
    needs("onnx", "export")
    needs("onnxscript", "export")
    dynamic = dict.fromkeys((0, 2, 3) if network.any_size else (0,), torch.export.Dim.DYNAMIC)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _WithMean(network),
            (network.example,),
            dynamo=True,
            dynamic_shapes=(dynamic,),
            input_names=["x"],
            output_names=["features", "pooled"],
            verbose=False,
        )
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    return content
