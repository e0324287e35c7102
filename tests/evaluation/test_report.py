"""Evaluations as files: whole, under a name that any disk takes, with every class in its row."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bagnet.data.names import ClassNames
from bagnet.evaluation.evaluate import Evaluation
from bagnet.evaluation.report import write_comparison, write_model


@pytest.fixture
def evaluation() -> Evaluation:
    classes = ClassNames.from_words(["n02123045", "dog", "house"])
    scores = np.array([[2, 1, 0], [2, 1, 0], [0, 1, 2]], np.float32)
    return Evaluation("a", "photos val", classes, np.array([0, 1, 1]), scores, (), 1.0)


def test_a_model(evaluation: Evaluation, tmp_path: Path) -> None:
    figures, picture = write_model(tmp_path / "new", replace(evaluation, model="../runs/my model:x.safetensors"))
    assert (figures.name, picture.name) == ("runs_my_model_x.safetensors.json", "runs_my_model_x.safetensors.png")
    assert figures.parent == picture.parent == tmp_path / "new"
    assert json.loads(figures.read_text())["top1"] == pytest.approx(1 / 3)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_labels_that_look_wrong(evaluation: Evaluation, tmp_path: Path) -> None:
    """One dog is said to be a tabby, by more than tabbies have on average; the house has no image."""
    figures, _, table = write_model(tmp_path, replace(evaluation, names=("0.png", "1.png", "2.png")))
    assert table.name == "a.suspicious_labels.csv"
    with table.open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (row["image"], row["label"], row["suggested"]) == ("1.png", "dog", "tabby")
    assert json.loads(figures.read_text())["suspicious_labels"] == 1
    assert "suspicious_labels" not in json.loads(write_model(tmp_path, evaluation)[0].read_text())


def test_classes_and_models(evaluation: Evaluation, tmp_path: Path) -> None:
    right = replace(evaluation, model="b", scores=np.array([[2, 1, 0], [0, 1, 0], [0, 3, 2]], np.float32))
    table, picture = write_comparison(tmp_path, [evaluation, right])
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["class", "wnid", "images", "a", "b"],
        ["tabby", "n02123045", "1", "1.000000", "1.000000"],
        ["dog", "", "2", "0.000000", "1.000000"],
        ["house", "", "0", "", ""],
    ]
    assert picture.read_bytes().startswith(b"\x89PNG")
    (tmp_path / "one").mkdir()
    assert [path.name for path in write_comparison(tmp_path / "one", [evaluation])] == ["by_class.csv"]
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["by_class.csv"]


def test_a_folder_that_cannot_be_written(evaluation: Evaluation, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(OSError, match="cannot be written"):
        write_model(tmp_path / "file", evaluation)
