"""bagnet export, and the file in other commands."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from .conftest import Run, assert_refused


def test_a_model_is_written_and_runs_in_other_commands(run: Run, weights: Path, photograph: Path, tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    path = tmp_path / "model.onnx"
    report = json.loads(run("export", "--model", weights, "--out", path, "--json").out)
    assert report["files"] == [str(path)]
    assert report["bytes"] == path.stat().st_size
    assert report["runtime"] == "onnxruntime"
    assert report["largest_error"] <= 1e-5
    rows = []
    for model in (weights, path):
        table = tmp_path / f"{model.stem}.csv"
        result = run("predict", photograph, "--model", model, "--out", table)
        assert result.code == 0, result.err
        rows.append(next(iter(csv.reader(table.read_text().splitlines()[1:]))))
    assert rows[0][:2] == rows[1][:2], "the same photograph, the same class"
    assert_refused(run("predict", photograph, "--model", path, "--runtime", "openvino", "--out", tmp_path / "x.csv"), "already")
    assert_refused(
        run("export", "--model", path, "--out", tmp_path / "again.onnx"),
        "an exported network can be run, but not trained or changed",
    )
    assert_refused(run("export", "--model", weights), "say what to write")


def test_what_cannot_be_written_is_said_in_one_line(run: Run, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert_refused(run("export", "--model", weights, "--out", tmp_path / "model.h5"), "model.h5", ".onnx, .xml, .pt2")
    assert_refused(run("export", "--model", weights, "--out", tmp_path / "file" / "model.onnx"), "model.onnx: cannot be written")
    assert_refused(
        run("export", "--model", weights, "--out", tmp_path / "model.onnx", "--precision", "bf16"), "are float32, not bf16"
    )


def test_options_that_would_change_nothing_are_refused(run: Run, weights: Path, photograph: Path, tmp_path: Path) -> None:
    file = ("export", "--model", weights, "--out", tmp_path / "model.onnx")
    page = ("export", "--model", weights, "--web", tmp_path / "site")
    assert_refused(run(*file, "--onnxruntime-web", tmp_path), "--onnxruntime-web is for a page")
    assert_refused(run(*page, "--calibration", photograph.parent), "leave out --calibration")
    assert_refused(run(*page, "--precision", "int8"), "leave out --precision")
    assert not (tmp_path / "model.onnx").exists()
    assert not (tmp_path / "site").exists()
