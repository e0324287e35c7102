"""Exported: what is loaded from an ONNX file explains as the network does. The contract is in test_classifier.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import bagnet
from bagnet.engine.exported import Exported, Statement
from bagnet.engine.prepare import prepare
from bagnet.engine.program import CannotRun
from bagnet.engine.runtimes.runner import Result
from bagnet.geometry import Box
from bagnet.weights import BadCheckpoint

from .classifiers import exported_file, small_bagnet, small_exported, small_windowed


@pytest.mark.parametrize("build", [small_bagnet, small_windowed])
def test_it_explains_a_photograph_as_the_network_does(build: Callable[[], bagnet.BagNet], photograph: Path) -> None:
    loaded, model = bagnet.load(exported_file(build)), build()
    evidence, right = bagnet.explain(loaded, photograph), bagnet.explain(model, photograph)
    assert np.allclose(evidence.values, right.values, atol=1e-5 * np.abs(right.values).max())
    assert [top.name for top in evidence.top(3)] == [top.name for top in right.top(3)]
    assert evidence.model == right.model


def test_edits_and_finer_maps_too() -> None:
    loaded, model, x = small_exported(small_bagnet), small_bagnet(), torch.randn(1, 3, 41, 49)
    boxes = [Box(3, 4, 20, 21), Box(30, 20, 44, 36)]
    assert torch.allclose(bagnet.occlude(loaded, x, boxes), bagnet.occlude(model, x, boxes), atol=1e-5)
    tiles = torch.randn(2, 3, 3, 41, 49)
    assert torch.allclose(loaded(tiles), model(tiles), atol=1e-5)
    for stride in (1, 2, 4):
        finer = bagnet.dense(loaded, x, classes=[1], stride=stride).values
        assert torch.allclose(finer, bagnet.dense(model, x, classes=[1], stride=stride).values, atol=1e-5)


class _Fake:
    executed = "float32"

    def apply(self, x: Tensor, use: Callable[[Tensor], Result]) -> Result:
        return use(x)

    def pooled(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def test_windows_that_stick_out_of_the_image_have_one_stride() -> None:
    model = small_bagnet(padded=True)
    assert model.card is not None
    statement = Statement(model.card, model.geometry, model.num_features, False, "0" * 64)
    with pytest.raises(ValueError, match="has windows every 8 pixels alone: load the weights"):
        Exported(statement, _Fake(), None).at_stride(1)


def test_what_it_says_is_read_back() -> None:
    model = small_windowed()
    assert model.card is not None
    statement = Statement(model.card, model.geometry, model.num_features, True, model.weights_digest)
    assert Statement.from_metadata(statement.to_metadata()) == statement


def test_it_is_run_as_it_is() -> None:
    path = exported_file(small_bagnet)
    with pytest.raises(CannotRun, match="runs on onnxruntime already: prepare the network"):
        prepare(small_exported(small_bagnet))
    with pytest.raises(ValueError, match="an exported network stays as it is"):
        bagnet.load(path, num_classes=2)
    with pytest.raises(BadCheckpoint, match="can be run, but not trained or changed; name the weights"):
        bagnet.windowed(path, 17)


def test_files_of_others_are_refused_in_one_line(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    content = exported_file(small_bagnet).read_bytes()
    cut, foreign, program = tmp_path / "cut.onnx", tmp_path / "foreign.onnx", tmp_path / "model.pt2"
    cut.write_bytes(content[: len(content) // 2])
    model = onnx.load_from_string(content)
    del model.metadata_props[:]
    foreign.write_bytes(model.SerializeToString())
    program.write_bytes(b"")
    broken = tmp_path / "broken.onnx"
    model = onnx.load_from_string(content)
    del model.graph.node[5:]
    broken.write_bytes(model.SerializeToString())
    for path, words in (
        (cut, "no ONNX file, or incomplete"),
        (foreign, "bagnet.export did not write"),
        (broken, "cannot be run"),
        (program, "bagnet reads .onnx alone; name the weights"),
    ):
        with pytest.raises(BadCheckpoint, match=words) as caught:
            bagnet.load(path)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)
