"""The programs in examples/, run as they stand."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bagnet

from .engine.classifiers import exported_file, small_bagnet

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_onnx_explain_agrees_with_the_library(photograph: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    program, picture = EXAMPLES / "onnx_explain.py", tmp_path / "why.png"
    assert "bagnet" not in [line.split()[1] for line in program.read_text().splitlines() if line.startswith(("import", "from"))]
    words = [sys.executable, program, exported_file(small_bagnet), photograph, picture]
    printed = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()
    expected = bagnet.explain(small_bagnet(), photograph)
    assert [line.split() for line in printed] == [[top.name, f"{top.logit:.2f}"] for top in expected.top(5)]
    best = expected.map(expected.top(1)[0].index)
    colours = np.asarray(Image.open(picture)).astype(int)
    assert colours.shape == (224, 224, 3)
    red = colours[..., 0] - colours[..., 2]
    rows, columns = (np.clip((np.arange(224) * best.shape[axis]) // 224, 0, best.shape[axis] - 1) for axis in (0, 1))
    drawn = best[np.ix_(rows, columns)]
    strong = np.abs(drawn) > 0.8 * np.abs(drawn).max()
    assert (np.sign(red - np.median(red))[strong] == np.sign(drawn)[strong]).mean() > 0.9


def prepared(photograph: Path) -> Image.Image:
    """What the small BagNet sees of a photograph."""
    step = small_bagnet().transform
    mean, std = (np.array(values)[:, None, None] for values in (step.mean, step.std))
    pixels = step(Image.open(photograph).convert("RGB")).numpy() * std + mean
    return Image.fromarray(np.round(255 * pixels).astype(np.uint8).transpose(1, 2, 0))


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
def test_onnx_explain_in_node_agrees_with_the_library(photograph: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    modules = EXAMPLES.parent / "node_modules"
    if not all((modules / name).is_dir() for name in ("onnxruntime-web", "jpeg-js", "pngjs")):
        pytest.skip("needs npm packages: make browser")
    export_web = pytest.importorskip("bagnet.serve.web").export_web
    export_web(small_bagnet(), tmp_path / "site", modules / "onnxruntime-web")
    Image.open(photograph).convert("RGB").save(tmp_path / "photo.png")
    words = ["node", EXAMPLES / "onnx_explain.mjs", tmp_path / "site", tmp_path / "photo.png", tmp_path / "why.png"]
    printed = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()
    expected = bagnet.explain(small_bagnet(), tmp_path / "photo.png").top(5)
    assert [line.split() for line in printed] == [[*top.name.split(), f"{top.logit:.2f}"] for top in expected]
    assert Image.open(tmp_path / "why.png").size == (224, 224)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_openvino_explain_in_cpp_agrees_with_the_library(photograph: Path, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    home = Path(openvino.__file__).parent
    libraries = sorted((home / "libs").glob("libopenvino.so.*"))
    if not libraries or not (home / "include").is_dir():
        pytest.skip("this OpenVINO has no headers")
    build = ["g++", "-std=c++17", EXAMPLES / "openvino_explain.cpp", "-o", tmp_path / "explain", f"-I{home / 'include'}"]
    subprocess.run([*build, f"-Wl,-rpath,{home / 'libs'}", *libraries], check=True)
    bagnet.export(small_bagnet(), tmp_path / "model.xml")
    prepared(photograph).save(tmp_path / "photo.ppm")
    words = [tmp_path / "explain", tmp_path / "model.xml", tmp_path / "photo.ppm"]
    printed = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()
    evidence = bagnet.explain(small_bagnet(), photograph)
    for line, top in zip(printed, evidence.top(5), strict=True):
        values = evidence.map(top.index)
        row, column = np.unravel_index(int(values.argmax()), values.shape)
        assert line.split("   strongest")[0].split() == [*top.name.split(), f"{top.logit:.2f}"]
        assert line.endswith(f"strongest in row {row}, column {column}: {values.max():.2f}")
    assert subprocess.run([*words[:2], EXAMPLES / "openvino_explain.cpp"], check=False).returncode == 2
