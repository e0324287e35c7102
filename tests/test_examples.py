"""The programs in examples/, run as they stand."""

from __future__ import annotations

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
