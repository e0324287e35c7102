"""export: each kind of file answers as the network does, says what it is, and is written wholly or not at all."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import bagnet
from bagnet.card import Card
from bagnet.data.transforms import Preprocessing
from bagnet.engine import export as module
from bagnet.engine.export import FORMATS, export
from bagnet.engine.program import CannotRun
from bagnet.files import NotWritten
from bagnet.model import BagNet
from bagnet.windowed_network import WindowedNetwork

from .classifiers import exported_file, small_bagnet, small_external, small_prepared, small_windowed

SIZES = [(1, 41, 57), (3, 17, 30), (1, 17, 17)]
Network = Callable[[], BagNet | WindowedNetwork]


def pixels(*size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)


def expected(model: BagNet | WindowedNetwork, image: np.ndarray[Any, np.dtype[np.uint8]]) -> tuple[Tensor, Tensor]:
    with torch.inference_mode():
        x = model.transform.normalise(torch.from_numpy(image).permute(0, 3, 1, 2))
        return model.logits_and_evidence(x.to(next(model.parameters()).dtype))


def metadata_of(path: Path) -> dict[str, str]:
    onnx = pytest.importorskip("onnx")
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


@pytest.mark.parametrize(
    ("build", "ending"),
    [
        (small_bagnet, ".onnx"),
        (small_windowed, ".onnx"),
        (small_windowed, ".pt2"),
        (small_bagnet, ".pt2"),
        (small_bagnet, ".xml"),
    ],
)
def test_pixels_of_any_size_give_the_logits_and_the_evidence(build: Network, ending: str) -> None:
    answers = FORMATS[ending].open(exported_file(build, ending))
    for size in SIZES[:-1] if (build, ending) == (small_windowed, ".pt2") else SIZES:
        image = pixels(*size)
        logits, evidence = answers(image)
        right = expected(build(), image)
        largest = float(right[0].abs().max())
        assert evidence.shape == right[1].shape
        assert np.abs(logits - right[0].numpy()).max() <= 1e-5 * largest
        assert np.abs(evidence - right[1].numpy()).max() <= 1e-5 * float(right[1].abs().max())
        assert np.abs(evidence.mean((2, 3)) - logits).max() <= 1e-5 * largest


def test_the_file_says_what_it_is_and_how_to_try_it() -> None:
    path, model = exported_file(small_bagnet), small_bagnet()
    metadata = metadata_of(path)
    assert Card.from_json(metadata["bagnet.card"]) == model.card
    assert json.loads(metadata["bagnet.geometry"]) == {"size": 17, "stride": 8, "origin": 0}
    assert json.loads(metadata["bagnet.classes"]) == ["ape", "bee", "cow", "dog", "elk"]
    assert json.loads(metadata["bagnet.input"])["preprocessing"] == model.transform.to_dict()
    test = json.loads(metadata["bagnet.test"])
    image = np.array(Image.open(BytesIO(base64.b64decode(test["png"]))))[None]
    logits, _ = FORMATS[".onnx"].open(path)(image)
    assert np.allclose(logits[0], test["logits"], atol=1e-5)


def test_other_files_have_the_same_words() -> None:
    openvino = pytest.importorskip("openvino")
    info = openvino.Core().read_model(exported_file(small_bagnet, ".xml")).get_rt_info(["bagnet", "card"])
    text: dict[str, Any] = {"bagnet.card": ""}
    torch.export.load(exported_file(small_bagnet, ".pt2"), extra_files=text)
    cards = [info.astype(str), text["bagnet.card"]]
    assert [Card.from_json(card) for card in cards] == [small_bagnet().card] * 2


@pytest.mark.parametrize("ending", [".onnx", ".pt2"])
def test_no_file_of_this_machine_is_named(ending: str) -> None:
    content = exported_file(small_bagnet, ending).read_bytes()
    assert b"engine/export.py" not in content
    assert str(Path(bagnet.__file__).parent).encode() not in content


def test_the_matrix_of_the_head_is_in_the_file_once() -> None:
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(exported_file(small_bagnet)).graph
    assert sum(np.prod(tensor.dims) == 5 * 256 for tensor in graph.initializer) == 1
    assert [out.name for out in graph.output] == ["logits", "evidence"]


def test_features_without_a_head_are_the_evidence(tmp_path: Path) -> None:
    """A network whose last step is not linear: its logits are averaged."""
    pytest.importorskip("onnxscript")
    layers = nn.Sequential(nn.Conv2d(3, 4, 5), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Tanh())
    model = bagnet.windowed(layers.eval(), 9, 4, preprocessing=Preprocessing(20, None))
    path = export(model, tmp_path / "model.onnx").files[0]
    image = pixels(1, 20, 24)
    _, evidence = FORMATS[".onnx"].open(path)(image)
    assert np.allclose(evidence, expected(model, image)[1].numpy(), atol=1e-6)
    x = torch.randn(1, 3, 20, 24)
    assert torch.allclose(bagnet.load(path).evidence(x, [2]), model.evidence(x, [2]), atol=1e-6)


def test_openvino_weights_in_fp16(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("onnxscript")
    report = export(small_bagnet(), tmp_path / "half.xml", "fp16")
    assert report.precision == "fp16"
    assert 1e-6 < report.largest_error < 0.05, "rounded, and not more"
    assert report.files[1].stat().st_size < 0.6 * exported_file(small_bagnet, ".xml").with_suffix(".bin").stat().st_size


class _Branching(nn.Module):
    """Code that depends on what is in an image cannot be written as a graph."""

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean((2, 3))
        return pooled if pooled.sum() > 0 else -pooled


def _branching() -> WindowedNetwork:
    return bagnet.windowed(_Branching(), 9, 4, preprocessing=Preprocessing(20, None))


def test_a_network_that_cannot_be_traced_is_refused_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    for ending in (".onnx", ".pt2"):
        with pytest.raises(CannotRun, match="cannot be traced, and so not exported: ") as caught:
            export(_branching(), tmp_path / f"model{ending}")
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_what_answers_otherwise_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answers(image: np.ndarray[Any, np.dtype[np.uint8]]) -> Any:
        logits, evidence = expected(small_bagnet(), image)
        return logits.numpy() * 1.0001, evidence.numpy() * 1.0001

    fake = replace(FORMATS[".pt2"], write=lambda _, metadata, path, *more: path.write_bytes(b"new"), open=lambda _: answers)
    monkeypatch.setattr(module, "FORMATS", {".pt2": fake})
    target = tmp_path / "model.pt2"
    target.write_bytes(b"old")
    with pytest.raises(
        CannotRun,
        match=r"otherwise than the network: of an image of 33 x 41 by 1\.0e-04 .*; nothing was written",
    ):
        export(small_bagnet(), target)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_head_whose_terms_cancel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What float32 costs in any program is no reason to refuse a file; more than that is."""
    network = deepcopy(small_bagnet())
    test_image = module._check_images(FORMATS[".pt2"], network)[0]
    network.fc.weight.data.mul_(1e4)
    network.fc.bias.data.sub_(expected(network, test_image)[0][0] - 1e-2)  # a hundredth is left of thousands
    precise, factor = deepcopy(network).double(), 1.0

    def answers(image: np.ndarray[Any, np.dtype[np.uint8]]) -> Any:
        logits, evidence = expected(precise, image)
        return logits.numpy() * factor, evidence.numpy() * factor

    def write(_: Any, metadata: Any, path: Path, *more: Any) -> None:
        path.write_bytes(b"new")

    monkeypatch.setattr(module, "FORMATS", {".pt2": replace(FORMATS[".pt2"], write=write, open=lambda _: answers)})
    assert 1e-5 < export(network, tmp_path / "model.pt2").largest_error < 1
    factor = 1.01
    with pytest.raises(CannotRun, match="otherwise than the network"):
        export(network, tmp_path / "other.pt2")


def test_wrong_words_are_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_written", lambda *_: pytest.fail("work was begun"))
    (tmp_path / "file").write_text("")
    uncarded = BagNet(small_bagnet().architecture)
    for model, name, precision, kind, words in (
        (small_bagnet(), "model.tflite", "float32", CannotRun, "ends in .onnx, .xml, .pt2"),
        (small_bagnet(), "model.onnx", "fp16", CannotRun, "onnxruntime files are float32, not fp16"),
        (small_bagnet(), "model.onnx", "int8", CannotRun, "onnxruntime files are float32, not int8"),
        (small_bagnet(), "model.xml", "bf16", CannotRun, "float32 or fp16 or int8, not bf16; in bf16 a runtime computes"),
        (small_bagnet(), "model.xml", "int8", CannotRun, "int8 needs calibration images"),
        (small_windowed(), "model.xml", "int8", CannotRun, "int8 files are of BagNets alone"),
        (small_bagnet(), "file/model.onnx", "float32", NotWritten, "model.onnx: cannot be written"),
        (small_external(), "model.onnx", "float32", CannotRun, "bagnet.windowed makes it local"),
        (small_prepared("torch"), "model.onnx", "float32", CannotRun, "is not a bag of windows"),
        (uncarded, "model.onnx", "float32", ValueError, "no card to export"),
    ):
        with pytest.raises(kind, match=words):
            export(model, tmp_path / name, precision)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(CannotRun, match="calibration images are for int8, not for float32"):
        export(small_bagnet(), tmp_path / "model.xml", calibration=torch.zeros(1, 3, 17, 17))
    with pytest.raises(ValueError, match="is too small for windows of 17 pixels"):
        export(small_bagnet(), tmp_path / "model.xml", "int8", calibration=torch.zeros(1, 3, 9, 9))


@pytest.mark.slow
def test_in_int8_the_map_still_adds_up(tmp_path: Path) -> None:
    for package in ("onnx", "openvino", "nncf"):
        pytest.importorskip(package)
    model = small_bagnet()
    typical = [model.transform.normalise(torch.from_numpy(pixels(1, 57, 41)).permute(0, 3, 1, 2)) for _ in range(4)]
    written = export(model, tmp_path / "model.xml", "int8", calibration=typical)
    assert written.precision == "int8"
    assert 0 < written.largest_error < 0.2
    logits, evidence = FORMATS[".xml"].open(tmp_path / "model.xml")(pixels(2, 41, 57))
    assert np.abs(evidence.mean((2, 3)) - logits).max() < 1e-5 * np.abs(logits).max()
