"""bagnet merge, of what --shard did: the same as without."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

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


def test_work_is_shared_in_one_way(run: Run, weights: Path, photos: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", np.zeros((120, 200, 3), np.uint8))
    shared = ("--model", weights, "--out", tmp_path / "out", "--ray", "auto", "--shard", "1/2")
    for words in (("slide", tmp_path / "scan.npy", "--class", "dog"), ("predict", photos), ("evaluate", photos)):
        assert_refused(run(*words, *shared), "--ray makes parts of its own: leave --shard out")
    assert_refused(run("predict", photos, "--model", weights, "--ray", "auto", "--maps", tmp_path), "--maps is for one machine")
    assert_refused(run("evaluate", photos, "--model", weights, "--ray", "auto"), "--out FOLDER: name it")
    assert not (tmp_path / "out").exists()
