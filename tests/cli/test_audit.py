"""bagnet audit: what it prints and writes, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from bagnet.weights import storable, write

from ..evaluation.colours import reader
from ..studies.audit.colours import colour_bagnet, folder
from .conftest import Run, assert_refused


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "colours.safetensors"
    write(path, *storable(colour_bagnet()))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return folder(tmp_path / "data")


def test_the_report(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "report"
    result = run("audit", data, "--model", model, "--out", out, "--workers", 0)
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert "classifies 17 of 20 images of data val correctly (85.0 %)." in result.out
    assert lines[-1] == f"-> {out / 'audit.html'}"
    place = lines.index("patterns that predictions depend on")
    assert lines[place + 1].split() == ["margin", "drop", "flips"]
    assert lines[place + 3].startswith("fish   at the bottom right ")
    assert "64 % (9 %)" in lines[place + 3]
    assert sorted(path.name for path in out.iterdir()) == ["audit.html", "audit.json", "windows.csv"]
    words = ("audit", data, "--model", model, "--out", out, "--workers", 0, "--json")
    assert_refused(run(*words), "holds an audit already", "--overwrite")
    again = run(*words, "--overwrite")
    printed, written = json.loads(again.out), json.loads((out / "audit.json").read_text())
    assert printed == written
    assert printed["classes"][0]["patterns"][0]["flips"] == 7


def test_bad_images_are_named(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    (data / "val" / "leaf" / "broken.png").write_bytes(b"no image")
    result = run("audit", data, "--model", model, "--out", tmp_path / "out", "--workers", 0)
    assert_refused(result, "broken.png")
    assert "17 of 20 images" in result.out


def test_what_is_refused(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    network = tmp_path / "network.safetensors"
    write(network, *storable(reader(["fish", "leaf"])))
    assert_refused(run("audit", data, "--model", network, "--out", tmp_path / "out"), "reader.colours", "not a bag of windows")
    assert_refused(run("audit", data, "--model", "torchvision:resnet50", "--out", tmp_path / "out"), "torchvision:resnet50")
    assert_refused(run("audit", data, "--model", model, "--out", model), "is a file")
    assert_refused(run("audit", tmp_path / "nowhere", "--model", model, "--out", tmp_path / "out"), "nowhere")
    (data / "val" / "zebra").mkdir()
    (data / "val" / "leaf" / "00.png").rename(data / "val" / "zebra" / "00.png")
    assert_refused(run("audit", data, "--model", model, "--out", tmp_path / "out"), "zebra")
    assert not (tmp_path / "out").exists()


def test_another_model_does_not_go_on(run: Run, model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bagnet.studies.audit import run as room

    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(room, "mask_all", stop)
        assert run("audit", data, "--model", model, "--out", tmp_path / "out", "--workers", 0).code == 130
    changed = colour_bagnet()
    with torch.no_grad():
        changed.fc.bias += 1
    write(tmp_path / "changed.safetensors", *storable(changed))
    assert_refused(
        run("audit", data, "--model", tmp_path / "changed.safetensors", "--out", tmp_path / "out", "--workers", 0),
        "other weights",
    )
