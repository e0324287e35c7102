"""PyTorch as a runtime: what it computes, in which precision, and where it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bagnet.engine.prepare import prepare
from bagnet.engine.program import CannotRun
from bagnet.engine.runtimes import pytorch
from bagnet.engine.runtimes.pytorch import TorchRunner, compile_mode, cpu_has_bf16
from bagnet.engine.runtimes.runner import Options
from bagnet.model import BagNet

X = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])


@pytest.fixture
def model(small: Callable[..., BagNet]) -> BagNet:
    return small(kernel3=(1, 1, 1, 0), width=8)


def close(values: Tensor, expected: Tensor, tolerance: float = 1e-5) -> bool:
    return bool((values - expected).abs().max() <= tolerance * expected.abs().max())


def doubling() -> nn.Module:
    """2x + 1 at every pixel."""
    network = nn.Conv2d(1, 1, 1)
    nn.init.constant_(network.weight, 2.0)
    nn.init.constant_(network.bias, 1.0)  # type: ignore[arg-type]
    return network


def test_features_and_their_mean() -> None:
    runner = TorchRunner(doubling(), "float32", Options())
    assert runner.executed == "float32"
    assert runner.apply(X, Tensor.tolist) == [[[[3.0, 5.0], [7.0, 9.0]]]]
    assert runner.pooled(X).tolist() == [[6.0]]
    assert runner.apply(X.double(), torch.clone).dtype == torch.float32


def test_bf16_rounds_weights_and_features_and_averages_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pytorch, "cpu_has_bf16", lambda: True)  # slow where it has not, and as right
    network = doubling()
    nn.init.constant_(network.weight, 2 + 2**-8)  # type: ignore[arg-type]
    runner = TorchRunner(network, "bf16", Options())
    assert runner.apply(X, torch.clone).dtype == torch.bfloat16
    assert runner.apply(X, Tensor.tolist) == [[[[3.0, 5.0], [7.0, 9.0]]]]
    pooled = runner.pooled(torch.tensor([[[[64.0, 64.0], [64.0, 64.5]]]]))  # 129, 129, 129 and 130
    assert pooled.dtype == torch.float32
    assert pooled.tolist() == [[129.25]]


class Setting(nn.Module):
    """Notes how products may round while it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(torch.get_float32_matmul_precision())
        return x


@pytest.mark.parametrize(("precision", "inside"), [("float32", "highest"), ("tf32", "high")])
def test_tf32_only_where_it_is_asked_for(precision: str, inside: str) -> None:
    network = Setting()
    before = torch.get_float32_matmul_precision()
    TorchRunner(network, precision, Options()).pooled(X)
    assert network.seen == [inside]
    assert torch.get_float32_matmul_precision() == before


def test_a_processor_without_bf16_does_not_pass_as_one(model: BagNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pytorch, "cpu_has_bf16", lambda: False)
    for precision in ("bf16", "mixed"):
        with pytest.raises(CannotRun, match=r"^this processor has no bf16 instructions: take float32$"):
            prepare(model, "torch", precision)


def test_bf16_is_not_used_where_torch_is_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert not cpu_has_bf16()


def test_compiled_only_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[str] = []

    def noted(network: nn.Module, mode: str) -> Any:
        modes.append(mode)
        return network

    monkeypatch.setattr(torch, "compile", noted)
    TorchRunner(doubling(), "float32", Options())
    assert modes == []
    runner = TorchRunner(doubling(), "float32", Options(compile=True))
    assert modes == ["default"]
    assert runner.pooled(X).tolist() == [[6.0]]


def test_cuda_compiles_to_graphs() -> None:
    assert compile_mode(torch.device("cuda")) == "reduce-overhead"
    assert compile_mode(torch.device("cpu")) == "default"


@pytest.mark.slow
def test_torch_compile(model: BagNet) -> None:
    x = torch.randn(2, 3, 40, 40)
    assert close(prepare(model, compile=True)(x), model(x))


@pytest.mark.gpu
@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("tf32", 1e-2), ("bf16", 5e-2)])
def test_on_a_gpu(model: BagNet, precision: str, tolerance: float, compile: bool) -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    x = torch.randn(2, 3, 64, 64)
    assert close(prepare(model.cuda(), "torch", precision, compile=compile)(x).cpu(), model.cpu()(x), tolerance)
