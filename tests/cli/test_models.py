"""bagnet models: list, info, convert, verify, and how they refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bagnet.card import Score
from bagnet.data.transforms import Preprocessing
from bagnet.weights import storable, write
from bagnet.zoo.load import create, load
from bagnet.zoo.names import DEFAULT, bundled, model_names

from ..evaluation.colours import reader
from .conftest import Run, assert_refused


def test_list_names_what_is_published(run: Run) -> None:
    rows = {row["name"]: row for row in json.loads(run("models", "list", "--json").out)}
    assert rows["bagnet33.orig_in1k"]["window"] == 33
    assert rows["bagnet33.orig_in1k"]["top1"] == 66.66
    assert rows["bagnet17_padded.v2_in1k"]["classes"] == 1000
    assert [row["name"] for row in rows.values() if row["default"]]
    assert rows["bagnet25s4.tiny_in200"]["weights"] == "bundled"


def test_the_list_fits_into_narrow_terminals(run: Run) -> None:
    lines = run("models", "list").out.splitlines()
    assert max(map(len, lines)) <= 79
    rows = [line.split() for line in lines if line.startswith("  ")]
    assert sorted(row[0] for row in rows) == sorted(model_names()), "a line each"
    trained = [row[0] for row in rows if row[0].startswith("bagnet") and row[0].endswith("s4.tiny_in200")]
    assert trained == [f"bagnet{side}s4.tiny_in200" for side in (9, 17, 25, 33)]
    (marked,) = [row for row in rows if "*" in row]
    assert marked == [DEFAULT, "*", "128/64", "81.60", "95.60", "bundled"]
    assert lines.index("200 classes, measured on tiny-imagenet val") < lines.index("1,000 classes, measured on ImageNet val")


def test_models_measured_on_the_same_images_are_listed_together(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["bagnet9.orig_in1k", "bagnet25s4.tiny_in200", "bagnet33.orig_in1k"]
    monkeypatch.setattr("bagnet.zoo.names.model_names", lambda: names)
    lines = [line.split()[0] for line in run("models", "list").out.splitlines()]
    assert lines == ["model", "1,000", names[0], names[2], "200", names[1], "window:"]


def test_pull(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAGNET_CACHE", str(tmp_path))
    printed = json.loads(run("models", "pull", "bagnet9s4.tiny_in200", "--json").out)
    assert printed == {
        "model": "bagnet9s4.tiny_in200",
        "file": str(bundled()["bagnet9s4.tiny_in200"]),
        "check": "in the package",
    }
    assert "(in the package)" in run("models", "pull", "bagnet9s4.tiny_in200").out


def test_info(run: Run, weights: Path) -> None:
    text = run("models", "info", "bagnet9.orig_in1k").out
    assert "only the first 32 bits" in text
    assert "accuracy      46.39 % top-1" in text
    assert "shorter side 256 px, bilinear, the middle 224 x 224 px of it" in text
    card = json.loads(run("models", "info", weights, "--json").out)
    assert card["classes"][2] == "n02123045"
    assert run("models", "info", "default").out.split()[1] == DEFAULT
    assert_refused(run("models", "info", "nothing"), "no model is called 'nothing'")


def test_accuracy_is_told_as_fits_the_classes(run: Run, tmp_path: Path) -> None:
    """Of five, what counts each class alike comes first, and the best five say nothing."""
    model = create(kernel3=(1, 1, 0, 0), width=2, layers=(1, 1, 1, 1), num_classes=5).eval()
    assert model.card is not None
    model.card = replace(model.card, scores=(Score("val", 71.25, 100.0, "here", 80, 62.5),))
    model.card = replace(model.card, preprocessing=Preprocessing(96, None, "bicubic"))
    model.save(tmp_path / "five.safetensors")
    assert "the whole image, shorter side 96 px, bicubic" in run("models", "info", tmp_path / "five.safetensors").out
    assert "62.50 % balanced, 71.25 % top-1 on val (80 images), here" in run("models", "info", tmp_path / "five.safetensors").out
    assert "46.39 % top-1, 70.39 % top-5 on ImageNet val" in run("models", "info", "bagnet9.orig_in1k").out


def test_convert_and_verify(run: Run, tmp_path: Path) -> None:
    model = create(kernel3=(1, 1, 0, 0), width=2, layers=(1, 1, 1, 1), num_classes=3).eval()
    torch.save(model.state_dict(), tmp_path / "mine.pth")
    command = ("models", "convert", tmp_path / "mine.pth", "--out", tmp_path / "mine.safetensors")
    assert_refused(run(*command), "mine.pth", "say which, strides=")
    assert_refused(run(*command, "--strides", "2,2"), "2,2", "four whole numbers")
    result = run(*command, "--strides", "2,2,2,1")
    assert result.code == 0, result.err
    x = torch.randn(1, 3, 40, 40)
    assert torch.equal(load(tmp_path / "mine.safetensors")(x), model(x))
    verified = json.loads(run("models", "verify", tmp_path / "mine.safetensors", "--json").out)
    assert verified["digest"] == load(tmp_path / "mine.safetensors").card.digest  # type: ignore[union-attr]
    content = bytearray((tmp_path / "mine.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "bent.safetensors").write_bytes(content)
    assert_refused(run("models", "verify", tmp_path / "bent.safetensors"), "bent.safetensors", "digest")


def test_files_of_other_networks(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    write(path, *storable(reader(["dog", "n02123045", "house"])))
    text = run("models", "info", path).out
    assert "network       tests.evaluation.colours:network" in text
    assert "window" not in text
    assert_refused(run("models", "verify", path), "tests.evaluation.colours:network", "trust")
    result = run("models", "verify", path, "--trust", "tests.evaluation.colours:network")
    assert "network: network, strict loading of 2 tensors" in result.out


def test_a_full_disk_is_said_of_the_file_that_was_asked_for(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    result = run("models", "convert", "bagnet9s4.tiny_in200", "--out", tmp_path / "m.safetensors")
    assert_refused(result, f"bagnet: {tmp_path / 'm.safetensors'}: cannot be written (No space left on device)")
    assert not list(tmp_path.iterdir())


def test_convert_diagnoses_and_repairs(run: Run, weights: Path, photograph: Path, tmp_path: Path) -> None:
    out = tmp_path / "mended.safetensors"
    command = ("models", "convert", weights, "--out", out, "--diagnose", "--repair", "--photo", photograph)
    text = run(*command).out
    assert "layer4.0.conv3" in text
    assert "dead channels removed" in text
    report = json.loads(run(*command, "--json").out)
    assert report["repair"]["error"] <= 1e-5
    assert set(report["diagnosis"]["whole"]) == {"tf32", "bf16", "fp16"}
    assert report["diagnosis"]["images"] == 1


def test_refusals(run: Run, weights: Path, tmp_path: Path) -> None:
    assert_refused(run("models", "convert", weights, "--out", tmp_path / "out.pth"), "ends in .safetensors")
    (tmp_path / "file").touch()
    assert_refused(run("models", "convert", weights, "--out", tmp_path / "file" / "out.safetensors"), "cannot be written")
    assert_refused(run("models", "verify", tmp_path / "none.pth"), "none.pth")
    assert_refused(run("models", "pull", "nothing"), "no model is called")
