"""bagnet paper: what it prints and writes, and how it refuses."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from bagnet.studies.paper.catalogue import NAMES
from bagnet.weights import storable, write
from bagnet.zoo.load import load

from ..evaluation.colours import folder_of, reader
from .conftest import Run, assert_refused

TRUST = ("--trust", "tests.evaluation.colours:network")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three of the five classes of `weights`."""
    return folder_of(tmp_path / "photos", {"dog": ["red", "green"], "house": ["blue"], "n02123045": ["green"]}, side=70)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A network that is no BagNet, in a file."""
    path = tmp_path / "network.safetensors"
    write(path, *storable(reader(["dog", "n02123045", "house"])))
    return path


def test_one_experiment(run: Run, weights: Path, network: Path, photos: Path, tmp_path: Path) -> None:
    words = ("paper", "errors", photos, "--model", weights, "--model", network, *TRUST, "--out", tmp_path / "out")
    result = run(*words, "--set", "top=1")
    assert result.code == 0, result.err
    assert "bagnet17.test and reader.colours" in result.out
    assert result.out.splitlines()[-1] == f"-> {tmp_path / 'out/errors'}"
    left = {path.name for path in (tmp_path / "out/errors").iterdir()}
    assert left == {"errors.png", "errors.svg", "errors.csv", "result.json"}
    again = run(*words, "--set", "top=1", "--json")
    (record,) = json.loads(again.out)["results"]
    assert record == json.loads((tmp_path / "out/errors/result.json").read_text())
    assert record["settings"]["top"] == 1
    assert record["command"].startswith(f"bagnet paper errors {photos} --model {weights} --model {network} --trust ")
    repeated = run(*shlex.split(record["command"])[1:], "--json")
    assert json.loads(repeated.out)["results"] == [record], "its command asks for the same, which is there already"


def test_all_on_one_page(run: Run, weights: Path, photos: Path, tmp_path: Path) -> None:
    words = ("paper", "all", photos, "--model", weights, "--out", tmp_path / "out", "--images", "interactions=3")
    skipped = [word for name in NAMES if name not in ("interactions", "errors") for word in ("--skip", name)]
    result = run(*words, "--set", "interactions.sides=8,16", *skipped)
    assert result.code == 0, result.err
    page = (tmp_path / "out/paper.html").read_text()
    assert page.count("<section id=") == 1, "of two, one does not suit"
    assert "errors compares models: name two at least" in page, "what does not suit is left out, with the reason"
    assert "--set sides=8,16" in page
    assert "3 images" in page
    assert page.count("data:image/png;base64,") == 2
    assert "http" not in page.replace("http://www.w3.org", ""), "it needs nothing from elsewhere"


def test_what_is_refused(run: Run, weights: Path, network: Path, photos: Path, tmp_path: Path) -> None:
    start = ("paper", "errors", photos, "--model", weights, "--out", tmp_path / "out")
    assert_refused(run("paper", "eror", *start[2:]), "no experiment 'eror'", "did you mean errors")
    assert_refused(run(*start), "name two at least")
    assert_refused(run(*start, "--model", weights), "given twice")
    assert_refused(run(*start, "--set", "bottom=1"), "no option 'bottom'", "top")
    assert_refused(run(*start, "--set", "top=some"), "not a number")
    assert_refused(run(*start, "--set", "top"), "option=value")
    assert_refused(run(*start, "--images", "many"), "a number")
    assert_refused(run("paper", "all", *start[2:], "--set", "top=1"), "EXPERIMENT.option=value")
    assert_refused(run("paper", "all", *start[2:], "--skip", "nothing"), "--skip nothing", "accuracy")
    assert_refused(run(*start, "--skip", "errors"), "only `all`")
    (tmp_path / "file").touch()
    assert_refused(run(*start[:-1], tmp_path / "file"), "is a file")
    assert_refused(run(*start[:2], tmp_path / "nowhere", *start[3:]), "nowhere")


def test_other_label_spaces(run: Run, weights: Path, tmp_path: Path) -> None:
    data = folder_of(tmp_path / "set", {"dog": ["red"], "unicorn": ["green"]}, side=70)
    words = ("paper", "accuracy", data, "--model", weights, "--out", tmp_path / "out")
    assert_refused(run(*words), "bagnet17.test cannot be asked about set val", "unicorn")


def test_images_without_labels(run: Run, weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "some"
    folder.mkdir()
    Image.new("RGB", (70, 70), "red").save(folder / "red.png")
    words = (folder, "--model", weights, "--out", tmp_path / "out")
    assert_refused(run("paper", "accuracy", *words), "some: has no labels")
    result = run("paper", "interactions", *words)
    assert result.code == 0, result.err


def test_images_smaller_than_a_window(run: Run, weights: Path, tmp_path: Path) -> None:
    model = load(weights)
    assert model.card is not None
    model.card = replace(model.card, preprocessing=replace(model.card.preprocessing, resize=None, crop=None))
    path = tmp_path / "any.safetensors"
    write(path, *storable(model))
    data = folder_of(tmp_path / "set", {"dog": ["red"], "house": ["green"]}, side=12)
    words = (data, "--model", path, "--out", tmp_path / "out")
    for name in ("accuracy", "interactions"):
        assert_refused(run("paper", name, *words), "too small for windows of 17 pixels")
