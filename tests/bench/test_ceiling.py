"""The ceiling is the fastest product of all shapes, on a clock that is known."""

from __future__ import annotations

import sys
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bagnet.bench import ceiling
from bagnet.bench.ceiling import ceilings


@pytest.fixture(autouse=True)
def _a_second_a_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two small shapes, and a clock on which every product takes one second."""
    monkeypatch.setattr(ceiling, "_SHAPES", [(2, 3, 4), (3, 4, 5)])
    monkeypatch.setattr(ceiling, "time", SimpleNamespace(perf_counter=count().__next__))
    monkeypatch.setattr(ceiling, "cpu_has_bf16", lambda: True)


def test_multiply_adds_a_second_of_the_best_shape() -> None:
    pytest.importorskip("openvino")
    assert ceilings("cpu") == dict.fromkeys(("torch float32", "torch bf16", "openvino float32", "openvino bf16"), 60.0)


def test_without_openvino_and_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(ceiling, "cpu_has_bf16", lambda: False)
    assert ceilings("cpu") == {"torch float32": 60.0}


def test_on_cuda_each_precision_goes_by_the_name_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the processor, for want of a device; TF32 is allowed for the one product alone."""
    random, product = torch.randn, torch.matmul
    settings: list[str] = []

    def noted(left: torch.Tensor, right: torch.Tensor) -> Any:
        settings.append(f"{torch.get_float32_matmul_precision()} {left.dtype}")
        return product(left, right)

    def on_the_processor(*shape: int, device: str) -> torch.Tensor:
        assert device == "cuda"
        return random(*shape)

    monkeypatch.setattr(torch, "randn", on_the_processor)
    monkeypatch.setattr(torch, "matmul", noted)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    assert ceilings("cuda") == {"torch float32": 60.0, "torch tf32": 60.0, "torch bf16": 60.0}
    assert list(dict.fromkeys(settings)) == ["highest torch.float32", "high torch.float32", "highest torch.bfloat16"]
