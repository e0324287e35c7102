"""bagnet evaluate: what it prints and writes, and how it refuses."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import bagnet
from bagnet.data.transforms import Preprocessing
from bagnet.engine.runtimes import pytorch
from bagnet.model import BagNet
from bagnet.runs.store import alone
from bagnet.weights import storable, write
from bagnet.zoo.names import DEFAULT

from ..evaluation.colours import arrays_of, folder_of, reader
from .conftest import Run, assert_refused

TRUST = ("--trust", "tests.evaluation.colours:network")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three of the five classes of `weights`."""
    return folder_of(tmp_path / "photos", {"dog": ["red", "green"], "house": ["blue"], "n02123045": ["green"]}, side=70)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A network that is no BagNet, in a file: right about all photos but one dog."""
    path = tmp_path / "network.safetensors"
    write(path, *storable(reader(["dog", "n02123045", "house"])))
    return path


def test_one_model(run: Run, weights: Path, photos: Path) -> None:
    result = run("evaluate", photos, "--model", weights, "--workers", 0)
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert lines[0] == "photos val: 4 images of 3 classes"
    titles = "model balanced accuracy top-1 calibration error images/s"
    assert lines[1].split() == titles.split()  # of three classes top-5 says nothing
    assert lines[2].split()[0] == "bagnet17.test"
    assert re.fullmatch(r"(\[\d+\.\d, \d+\.\d\]\s*){2}", lines[3].strip()), "how sure the two are"
    assert lines[6] == "each class"
    assert [line.split()[:2] for line in lines[8:11]] == [["dog", "2"], ["house", "1"], ["tabby", "1"]]
    assert lines[11].split()[0] == "mean"
    assert lines[13] == "most often confused"
    assert "of 2" in result.out or "of 1" in result.out


def test_a_report_that_another_run_is_writing(run: Run, weights: Path, photos: Path, tmp_path: Path) -> None:
    words = ("evaluate", photos, "--model", weights, "--workers", 0, "--out", tmp_path / "report")
    with alone(tmp_path / "report"):
        assert_refused(run(*words), "report: another run is writing it (process ")
    assert run(*words).code == 0
    assert not list(tmp_path.glob(".*"))


def test_two_classes(run: Run, weights: Path, network: Path, tmp_path: Path) -> None:
    """The area under the ROC curve comes with them, and of several models a column each with their recall."""
    data = folder_of(tmp_path / "set", {"dog": ["red", "red", "green"], "n02123045": ["green"]}, side=70)
    result = run("evaluate", data, "--model", network, "--model", weights, *TRUST, "--workers", 0)
    assert "ROC AUC" in result.out
    assert "83.33 %" in result.out  # of balanced accuracy: two of three dogs and the cat
    assert result.out.splitlines()[-2].split()[:4] == ["dog", "3", "66.7", "%"]
    (record,) = json.loads(run("evaluate", data, "--model", network, *TRUST, "--workers", 0, "--json").out)["models"]
    assert record["roc_auc"] == pytest.approx((1 + 1 + 0.5) / 3, abs=1e-6)
    assert record["balanced_accuracy"] == pytest.approx(5 / 6, abs=1e-6)


def test_groups_and_a_specificity(run: Run, network: Path, tmp_path: Path) -> None:
    data = folder_of(tmp_path / "set", {"dog": ["red", "red", "green"], "n02123045": ["green"]}, side=70)
    (tmp_path / "set.csv").write_text("image,patient\n" + "".join(f"dog/{n}.png,a\n" for n in range(3)) + "n02123045/0.png,b\n")
    words = ("evaluate", data, "--model", network, *TRUST, "--workers", 0, "--group", "patient", "--specificity", 0.9)
    result = run(*words)
    assert "95 % intervals over the 2 groups (patient)." in result.out
    assert "sensitivity at 90 % specificity" in result.out
    (record,) = json.loads(run(*words, "--json").out)["models"]
    assert (record["group"], record["groups"]) == ("patient", 2)
    assert record["by_class"][0]["sensitivity"] == pytest.approx(2 / 3, abs=1e-6)
    assert record["by_class"][0]["threshold_probability"] == pytest.approx(1, abs=1e-3)
    assert_refused(run(*words[:-3], "part"), "no CSV says what the images belong to in a column 'part'")
    assert_refused(run(*words[:-1], 95), "a specificity lies between 0 and 1, such as 0.95; got 95")
    part = ("--shard", "1/2", "--out", tmp_path / "part")
    assert_refused(run(*words, *part), "--specificity and --fit-temperature are of the answers of all parts", "bagnet merge")
    assert_refused(run(*words[:-2], *part, "--sparseness"), "--sparseness is measured on one machine: leave it out")
    assert_refused(run(*words[:-2], *part, "--model", "a"), "parts are the logits of one model: name one --model")
    assert not (tmp_path / "part").exists()


def test_a_temperature_is_fitted_and_kept(run: Run, small: Callable[..., BagNet], tmp_path: Path) -> None:
    """A model is told that it is right about three images of four; afterwards explain and predict say so."""
    model = small(kernel3=(1, 1, 1, 0), classes=["a", "b"], num_classes=2)
    assert model.card is not None
    model.card = replace(model.card, name="bagnet17.test", preprocessing=Preprocessing(24, 24))
    model.save(tmp_path / "model.safetensors")
    random = np.random.default_rng(0)
    for number in range(40):
        pixels = np.full((24, 24, 3), random.integers(0, 256, 3), np.uint8)
        answer = int(bagnet.explain(model, pixels).logits.argmax())
        folder = tmp_path / "set" / "val" / "ab"[answer ^ (number % 4 == 0)]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    words = ("evaluate", tmp_path / "set", "--model", tmp_path / "model.safetensors", "--workers", 0)
    fitted = tmp_path / "fitted.safetensors"
    result = run(*words, "--fit-temperature", fitted)
    assert result.code == 0, result.err
    assert result.out.splitlines()[-1] == f"-> {fitted}"
    assert "calibration error " in result.out.splitlines()[-2]
    (record,) = json.loads(run(*words, "--fit-temperature", fitted, "--json").out)["models"]
    temperature = record["calibration"]["temperature"]
    assert bagnet.load(fitted).card.temperature == pytest.approx(temperature, abs=1e-6)
    assert record["calibration"]["model"] == str(fitted)
    photo = next((tmp_path / "set").rglob("0.png"))
    in_words = f"probabilities at temperature {temperature:.3g}"
    plain, warm = (
        run("explain", photo, "--model", path, "--out", tmp_path / "a.png") for path in (tmp_path / "model.safetensors", fitted)
    )
    assert in_words not in plain.out
    assert in_words in warm.out
    logits = [[line.split()[2] for line in said.out.splitlines()[1:3]] for said in (plain, warm)]
    assert logits[0] == logits[1]
    assert in_words in run("predict", photo, "--model", fitted, "--out", tmp_path / "a.csv").out
    assert in_words.capitalize() in run("evaluate", tmp_path / "set", "--model", fitted, "--workers", 0).out
    assert f"{temperature:.4g}, of probabilities" in run("models", "info", fitted).out


def test_temperatures_that_cannot_be_fitted(run: Run, weights: Path, network: Path, photos: Path, tmp_path: Path) -> None:
    words = ("evaluate", photos, "--workers", 0, "--fit-temperature")
    out = tmp_path / "a.safetensors"
    assert_refused(run(*words, tmp_path / "a.onnx", "--model", weights), "a.onnx: weights with their card go into a file")
    assert_refused(run(*words, out, "--model", weights, "--model", network, *TRUST), "--fit-temperature is for one model")
    assert_refused(run(*words, out, "--model", weights), "bagnet17.test has 5 classes, and photos val 3 of them")
    assert_refused(run(*words, out, "--model", network, *TRUST), "has 4 images, too few to fit a temperature")
    assert not out.exists()


def test_the_bundled_model_knows_its_classes(run: Run, tmp_path: Path) -> None:
    data = folder_of(tmp_path / "set", {"n01443537": ["red"], "n02123045": ["green"]}, side=64)
    result = run("evaluate", data, "--workers", 0, "--json")
    (record,) = json.loads(result.out)["models"]
    assert record["model"] == DEFAULT
    assert [entry["class"] for entry in record["by_class"]] == ["goldfish", "tabby"]


def test_json_of_several_models(run: Run, weights: Path, network: Path, photos: Path) -> None:
    result = run("evaluate", photos, "--model", weights, "--model", network, *TRUST, "--workers", 0, "--json", "--sparseness")
    assert result.code == 0, result.err
    first, second = json.loads(result.out)["models"]
    assert (first["model"], first["window"], first["images"]) == ("bagnet17.test", 17, 4)
    assert (second["model"], second["window"], second["top1"]) == ("reader.colours", None, 0.75)
    assert "ahead_of_first" not in first
    assert second["ahead_of_first"]["value"] == pytest.approx(0.75 - first["top1"])
    assert second["confused"] == [{"true": "dog", "taken_for": "tabby", "images": 1}]
    assert "sparseness" not in second
    assert first["sparseness"]["mean"]["shown"] > 0
    assert [entry["images"] for entry in first["sparseness"]["by_class"]] == [2, 1, 1]


def test_a_report(run: Run, weights: Path, network: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "report"
    result = run("evaluate", photos, "--model", weights, "--model", network, *TRUST, "--workers", 0, "--out", out, "--sparseness")
    assert result.code == 0, result.err
    assert result.out.splitlines()[-1] == f"-> {out}"
    assert sorted(path.name for path in out.iterdir()) == [
        "bagnet17.test.json",
        "bagnet17.test.png",
        "bagnet17.test.suspicious_labels.csv",
        "by_class.csv",
        "compare.png",
        "reader.colours.json",
        "reader.colours.png",
        "reader.colours.suspicious_labels.csv",
    ]
    assert f"1 label looks wrong to reader.colours: {out / 'reader.colours.suspicious_labels.csv'}" in result.out
    assert "quiet windows" in result.out
    with (out / "by_class.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["class", "wnid", "images", "bagnet17.test", "reader.colours"]
    assert [row[4] for row in rows[1:]] == ["0.500000", "1.000000", "1.000000"]
    assert json.loads((out / "bagnet17.test.json").read_text())["sparseness"]["by_class"]
    assert Image.open(out / "compare.png").width > 500


def test_models_of_one_name_go_by_their_files(run: Run, weights: Path, photos: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin.safetensors"
    twin.write_bytes(weights.read_bytes())
    result = run("evaluate", photos, "--model", weights, "--model", twin, "--workers", 0, "--json")
    assert [record["model"] for record in json.loads(result.out)["models"]] == [str(weights), str(twin)]
    assert_refused(run("evaluate", photos, "--model", twin, "--model", twin), "given twice")


def test_another_size_and_precision(
    run: Run, weights: Path, photos: Path, photograph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.open(photograph).save(photos / "val" / "dog" / "1.png")  # a plain colour is the same at any size
    words = ("evaluate", photos, "--model", weights, "--workers", 0, "--json")
    (whole,) = json.loads(run(*words).out)["models"]
    (smaller,) = json.loads(run(*words, "--size", 33).out)["models"]
    assert smaller["calibration_error"] != whole["calibration_error"]
    monkeypatch.setattr(pytorch, "cpu_has_bf16", lambda: True)  # slow without, but this network is small
    (rough,) = json.loads(run(*words, "--precision", "bf16").out)["models"]
    assert (rough["runtime"], rough["precision"]) == ("torch", "bf16")
    assert rough["calibration_error"] == pytest.approx(whole["calibration_error"], abs=0.02)
    assert "bagnet17.test (torch bf16)" in run(*words[:-1], "--precision", "bf16").out


def test_several_labels(run: Run, tmp_path: Path) -> None:
    classes = ["class 0", "class 1"]
    write(tmp_path / "yes-no.safetensors", *storable(reader(classes, multilabel=True)))
    write(tmp_path / "choice.safetensors", *storable(reader(classes)))
    data = arrays_of(tmp_path / "set.npz", ["red", "green", "blue"], [[1, 0], [1, 1], [0, 0]])
    result = run(
        "evaluate", data, "--model", tmp_path / "yes-no.safetensors", *TRUST, "--workers", 0, "--out", tmp_path / "report"
    )
    assert result.code == 0, result.err
    title, values = result.out.splitlines()[1:3]
    assert title.split() == ["model", "mean", "average", "precision", "calibration", "error", "images/s"]
    assert values.split()[1:3] == ["91.67", "%"]  # class 0: (1 + 2/3) / 2, class 1: 1
    assert (tmp_path / "report" / "reader.colours.png").exists()
    both = (*TRUST, "--model", tmp_path / "yes-no.safetensors", "--model", tmp_path / "choice.safetensors")
    assert run("evaluate", data, *both, "--workers", 0).code == 0
    one_label = arrays_of(tmp_path / "one.npz", ["red", "green", "blue"], [0, 1, 1])
    assert_refused(run("evaluate", one_label, *both, "--workers", 0), "measure them one by one")


def test_bad_images_are_named_once(run: Run, weights: Path, network: Path, photos: Path) -> None:
    (photos / "val" / "dog" / "1.png").write_bytes(b"no image")
    result = run("evaluate", photos, "--model", weights, "--model", network, *TRUST, "--workers", 0)
    assert_refused(result, "1.png")
    assert result.out.startswith("photos val: 3 images")


def test_a_missing_class_and_missing_labels(run: Run, weights: Path, network: Path, photos: Path, tmp_path: Path) -> None:
    folder_of(photos, {"zebra": ["red"]})
    assert_refused(run("evaluate", photos, "--model", weights, "--workers", 0), "bagnet17.test", "zebra")
    assert_refused(run("evaluate", tmp_path / "nowhere"), "nowhere")
    (tmp_path / "plain").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "plain" / "photo.png")
    assert_refused(run("evaluate", tmp_path / "plain", "--split", "train"), "plain")
    assert_refused(run("evaluate", tmp_path / "plain"), "plain", "val")


def test_unknown_models(run: Run, photos: Path, tmp_path: Path) -> None:
    assert_refused(run("evaluate", photos, "--model", "bagnet34"), "no model is called 'bagnet34'")
    assert_refused(run("evaluate", photos, "--model", "keras:resnet50"), "no module keras", "timm:NAME")
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pth")
    assert_refused(run("evaluate", photos, "--model", tmp_path / "a.pth"), "a.pth")


def test_what_only_bagnets_can(run: Run, network: Path, photos: Path) -> None:
    words = ("evaluate", photos, "--model", network, *TRUST, "--workers", 0)
    assert_refused(run(*words, "--runtime", "openvino"), "not a bag of windows", "float32 alone")
    assert_refused(run(*words, "--precision", "bf16"), "not a bag of windows", "float32 alone")
    assert_refused(run(*words, "--sparseness"), "not a bag of windows", "--sparseness")


def test_a_report_that_cannot_be_written(run: Run, weights: Path, photos: Path) -> None:
    assert_refused(run("evaluate", photos, "--model", weights, "--out", weights), "is a file")


def test_images_too_small_for_a_window(run: Run, weights: Path, photos: Path) -> None:
    assert_refused(run("evaluate", photos, "--model", weights, "--workers", 0, "--size", 9), "17")
