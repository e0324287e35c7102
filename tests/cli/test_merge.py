"""bagnet merge, of what --shard did: the same as without."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

import bagnet
from bagnet import cluster
from bagnet.data.transforms import Preprocessing
from bagnet.model import BagNet

from ..evaluation.colours import folder_of
from .conftest import Run, assert_refused


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = folder_of(tmp_path / "photos", {"dog": ["red", "green", "blue"], "house": ["blue"], "n02123045": ["green"]}, side=70)
    random = np.random.default_rng(0)
    for path in folder.rglob("*.png"):
        Image.fromarray(random.integers(0, 256, (70, 90, 3), np.uint8)).save(path)
    return folder


def test_predictions(run: Run, weights: Path, photos: Path, tmp_path: Path) -> None:
    words = ("predict", photos, "--model", weights, "--workers", 0)
    for part in (1, 2):
        result = run(*words, "--shard", f"{part}/2", "--out", tmp_path / f"part{part}")
        assert result.code == 0, result.err
        assert result.out.strip().endswith(f"-> {tmp_path / f'part{part}'}; bagnet merge joins all parts")
    assert run(*words, "--out", tmp_path / "whole.parquet").code == 0
    merged = run("merge", tmp_path / "part2", tmp_path / "part1", "--out", tmp_path / "merged.parquet")
    assert (merged.code, merged.out.strip()) == (0, f"5 of 5 images predicted, 0 bad -> {tmp_path / 'merged.parquet'}")
    whole, table = (parquet.read_table(tmp_path / f"{name}.parquet") for name in ("whole", "merged"))
    assert table.column("image").equals(whole.column("image"))
    assert np.allclose(table.column("logit_1"), whole.column("logit_1"), atol=1e-4)
    assert table.schema.metadata == whole.schema.metadata
    assert_refused(run("merge", tmp_path / "part1", "--out", tmp_path / "other.csv"), "there are the parts 1/2", "1/2 to 2/2")
    assert_refused(run("merge", tmp_path / "part1", tmp_path / "part2", "--out", tmp_path / "merged.parquet"), "is there already")
    assert_refused(run("merge", tmp_path / "part1", tmp_path / "part2", "--out", tmp_path / "x.txt"), "tables end in")
    assert_refused(run("merge", photos), "photos: holds no part of anything")
    assert_refused(run(*words, "--shard", "3/2", "--out", tmp_path / "o"), "there is no part 3 of 2")
    assert_refused(run(*words, "--shard", "1/2", "--maps", tmp_path / "m", "--out", tmp_path / "o"), "maps are of whole runs")
    assert_refused(run("merge", tmp_path / "part1", tmp_path / "part2", "--also", "cog"), "--also is for maps of slides")


def test_an_evaluation(run: Run, weights: Path, photos: Path, tmp_path: Path) -> None:
    words = ("evaluate", photos, "--model", weights, "--workers", 0)
    for part in (1, 2):
        result = run(*words, "--shard", f"{part}/2", "--out", tmp_path / f"part{part}", "--json")
        assert (result.code, json.loads(result.out)) == (0, {"shard": f"{part}/2", "folder": str(tmp_path / f"part{part}")})
    merged = json.loads(run("merge", tmp_path / "part2", tmp_path / "part1", "--out", tmp_path / "report", "--json").out)
    whole = json.loads(run(*words, "--json").out)
    for key in ("model", "data", "images", "balanced_accuracy", "top1", "confused", "by_class", "window"):
        assert merged["models"][0][key] == whole["models"][0][key]
    assert merged["models"][0]["calibration_error"] == pytest.approx(whole["models"][0]["calibration_error"], abs=1e-5)
    assert (tmp_path / "report" / "by_class.csv").exists()
    assert run("merge", tmp_path / "part1", tmp_path / "part2").out.startswith("photos val: 5 images of 3 classes")
    assert_refused(run("merge", tmp_path / "part2"), "there are the parts 2/2")
    assert_refused(run(*words, "--shard", "1/2"), "--out FOLDER: name it")


def test_what_needs_all_answers_is_told_by_merge(run: Run, small: Callable[..., BagNet], tmp_path: Path) -> None:
    """Groups, a specificity and a temperature, as without parts."""
    data, model = wrong_in_four(small, tmp_path)
    words = ("evaluate", data, "--model", model, "--workers", 0, "--group", "patient")
    parts = [tmp_path / "part1", tmp_path / "part2"]
    for number, part in enumerate(parts, 1):
        assert run(*words, "--shard", f"{number}/2", "--out", part).code == 0
    told = ("--specificity", 0.75, "--fit-temperature")
    (whole,) = json.loads(run(*words, *told, tmp_path / "whole.safetensors", "--json").out)["models"]
    result = run("merge", *parts, *told, tmp_path / "merged.safetensors", "--model", model, "--json")
    assert result.code == 0, result.err
    (merged,) = json.loads(result.out)["models"]
    assert (merged["group"], merged["groups"]) == ("patient", 20)
    assert merged["calibration"]["temperature"] == pytest.approx(whole["calibration"]["temperature"], rel=1e-4)
    assert bagnet.load(tmp_path / "merged.safetensors").card.temperature == pytest.approx(merged["calibration"]["temperature"])
    for key in ("balanced_accuracy", "top1", "intervals", "confused"):
        assert merged[key] == whole[key]
    assert [entry["sensitivity_interval"] for entry in merged["by_class"]] == [
        pytest.approx(entry["sensitivity_interval"]) for entry in whole["by_class"]
    ]
    assert "temperature " in run("merge", *parts, *told, tmp_path / "merged.safetensors", "--model", model).out
    other = ("--fit-temperature", tmp_path / "other.safetensors")
    assert_refused(run("merge", *parts, *other), "part1: holds answers of bagnet17.test, and ", "name the model that was asked")
    assert_refused(run("merge", *parts, "--fit-temperature", tmp_path / "a.onnx", "--model", model), "that ends in .safetensors")
    assert_refused(run("merge", *parts, "--model", model), "--model is for --fit-temperature: leave it out")
    assert_refused(run("merge", *parts, "--specificity", 95), "a specificity lies between 0 and 1")
    assert not (tmp_path / "other.safetensors").exists()


def wrong_in_four(small: Callable[..., BagNet], folder: Path) -> tuple[Path, Path]:
    """40 images of two classes, of 20 patients, and a model that is right about three of four."""
    model = small(kernel3=(1, 1, 1, 0), classes=["a", "b"], num_classes=2)
    assert model.card is not None
    model.card = replace(model.card, name="bagnet17.test", preprocessing=Preprocessing(24, 24))
    model.save(folder / "model.safetensors")
    random, rows = np.random.default_rng(0), ["image,patient"]
    for number in range(40):
        pixels = np.full((24, 24, 3), random.integers(0, 256, 3), np.uint8)
        answer = int(bagnet.explain(model, pixels).logits.argmax())
        path = folder / "set" / "val" / "ab"[answer ^ (number % 4 == 0)] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        rows.append(f"{path.name},{number // 2}")
    (folder / "set.csv").write_text("\n".join(rows))
    return folder / "set", folder / "model.safetensors"


def test_a_cluster_tells_it_at_once(
    run: Run, small: Callable[..., BagNet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose workers are this process here."""

    def inline(
        address: str,
        build: Any,
        work: Any,
        count: int,
        home: Path,
        cpus: float,
        progress: Any,
    ) -> list[Path]:
        folders = {(number, count): home / str(number) for number in range(1, count + 1)}
        for shard, folder in folders.items():
            pickle.loads(pickle.dumps(work))(build(), shard, folder)  # as it is sent to workers
        return list(folders.values())

    monkeypatch.setattr(cluster, "_on_cluster", inline)
    monkeypatch.setattr(cluster, "IMAGES", 15)
    data, model = wrong_in_four(small, tmp_path)
    words = ("evaluate", data, "--model", model, "--workers", 0, "--group", "patient", "--specificity", 0.75, "--json")
    (whole,) = json.loads(run(*words).out)["models"]
    on_cluster = ("--ray", "auto", "--out", tmp_path / "report", "--fit-temperature", tmp_path / "fitted.safetensors")
    result = run(*words, *on_cluster)
    assert result.code == 0, result.err
    (record,) = json.loads(result.out)["models"]
    for key in ("group", "groups", "balanced_accuracy", "intervals", "confused"):
        assert record[key] == whole[key]
    assert bagnet.load(tmp_path / "fitted.safetensors").card.temperature == pytest.approx(record["calibration"]["temperature"])
    assert_refused(run(*words[:-3], *on_cluster, "--group", "part"), "no CSV says what the images belong to in a column 'part'")


def test_work_is_shared_in_one_way(run: Run, weights: Path, photos: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", np.zeros((120, 200, 3), np.uint8))
    shared = ("--model", weights, "--out", tmp_path / "out", "--ray", "auto", "--shard", "1/2")
    for words in (("slide", tmp_path / "scan.npy", "--class", "dog"), ("predict", photos), ("evaluate", photos)):
        assert_refused(run(*words, *shared), "--ray makes parts of its own: leave --shard out")
    assert_refused(run("predict", photos, "--model", weights, "--ray", "auto", "--maps", tmp_path), "--maps is for one machine")
    assert_refused(run("evaluate", photos, "--model", weights, "--ray", "auto"), "--out FOLDER: name it")
    assert not (tmp_path / "out").exists()
