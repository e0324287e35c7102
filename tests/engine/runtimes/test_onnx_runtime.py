"""ONNX Runtime as a runtime: one program for inputs of any shape and type, on as many threads as asked for."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from bagnet.engine.prepare import Prepared, prepare
from bagnet.model import BagNet

from ..classifiers import small_bagnet, small_prepared


@pytest.fixture
def fast() -> Prepared:
    return small_prepared("onnxruntime")


def close(values: Tensor, expected: Tensor) -> bool:
    assert values.shape == expected.shape
    return bool((values - expected).abs().max() <= 1e-5 * expected.abs().max())


@pytest.mark.parametrize("shape", [(1, 3, 17, 17), (3, 3, 30, 90), (2, 3, 65, 41)])
@torch.inference_mode()
def test_one_program_runs_any_shape(fast: Prepared, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    assert close(fast.features(x), small_bagnet().features(x))
    assert close(fast(x), small_bagnet()(x)), "pooled by the same program"


@torch.inference_mode()
def test_other_floats_are_taken_as_float32(fast: Prepared) -> None:
    x = torch.randn(1, 3, 33, 41)
    assert torch.equal(fast(x.double()), fast(x))
    assert fast(x.double()).dtype == torch.float32
    channels_last = x.to(memory_format=torch.channels_last)
    assert torch.equal(fast(channels_last), fast(x))


@pytest.mark.parametrize(("threads", "used"), [(3, 3), (None, 0)])
def test_threads(small: Callable[..., BagNet], monkeypatch: pytest.MonkeyPatch, threads: int | None, used: int) -> None:
    """0 is onnxruntime's word for all cores."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    sessions: list[tuple[bytes, Any, list[str]]] = []
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda program, settings, providers: sessions.append((program, settings, providers))
    )
    program = SimpleNamespace(model_proto=SimpleNamespace(SerializeToString=lambda: b"program"))
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: program)
    prepare(small(), "onnxruntime", threads=threads)
    ((content, settings, providers),) = sessions
    assert content == b"program"
    assert settings.intra_op_num_threads == used
    assert providers == ["CPUExecutionProvider"]
