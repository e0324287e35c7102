"""The viewer page as a folder, written where people ask for it. What it does in a browser: `test_page.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from bagnet.model import BagNet
from bagnet.serve.web import CONFIGURATION, MODEL, export_web

for package in ("onnx", "onnxscript", "onnxruntime", "skimage"):
    pytest.importorskip(package)


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """As the npm package onnxruntime-web has its files."""
    package = tmp_path / "package"
    (package / "dist").mkdir(parents=True)
    for name in ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"):
        (package / "dist" / name).write_text(name)
    return package


def test_a_folder_that_is_there_keeps_its_place(
    model: BagNet, runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, link = tmp_path / "site", tmp_path / "link"
    folder.mkdir()
    link.symlink_to(folder)
    place = folder.stat().st_ino
    monkeypatch.chdir(folder)
    export_web(model, ".", runtime)
    names = {entry.name for entry in folder.iterdir()}
    assert {CONFIGURATION, MODEL, "index.html", "samples", "onnxruntime"} <= names
    (folder / "samples" / "of-another-model.jpg").touch()
    export_web(model, link, runtime)
    assert {entry.name for entry in folder.iterdir()} == names
    assert not (folder / "samples" / "of-another-model.jpg").exists()
    assert link.is_symlink()
    assert folder.stat().st_ino == place


def test_what_holds_something_else_is_left_alone(model: BagNet, runtime: Path, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match="holds something else"):
        export_web(model, runtime, runtime)
    assert [entry.name for entry in runtime.iterdir()] == ["dist"]


def test_a_page_that_cannot_be_written_leaves_nothing(model: BagNet, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in ("new", "empty"):
        with pytest.raises(ImportError, match="is no package onnxruntime-web"):
            export_web(model, tmp_path / folder, tmp_path / "nowhere.tgz")
    assert [entry.name for entry in tmp_path.iterdir()] == ["empty"]
    assert not any((tmp_path / "empty").iterdir())
