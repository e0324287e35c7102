"""Predictions for a folder equal those one by one, survive interruption and name what is bad."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import bagnet
from bagnet.batch.journal import OtherRun
from bagnet.batch.predict import predict
from bagnet.data.transforms import Preprocessing
from bagnet.model import BagNet


@pytest.fixture
def model(small: Callable[..., BagNet]) -> BagNet:
    model = small(kernel3=(1, 1, 1, 0))
    assert model.card is not None
    model.card = replace(model.card, preprocessing=Preprocessing(40, 40))
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven photographs in two folders, a broken one and a text."""
    random = np.random.default_rng(0)
    for number in range(7):
        path = tmp_path / "photos" / f"class {number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (50, 60, 3), dtype=np.uint8)).save(path)
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no image")
    (tmp_path / "photos" / "notes.txt").write_text("not looked at")
    return tmp_path / "photos"


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_table_of_images_and_a_table_of_answers(model: BagNet, folder: Path, tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    files = sorted(folder.glob("*/*.png"))
    content = [{"bytes": path.read_bytes(), "path": path.name} for path in files] + [{"bytes": b"broken", "path": "x"}]
    parquet.write_table(arrow.table({"image": content}), tmp_path / "set.parquet", row_group_size=3)
    summary = predict(model, tmp_path / "set.parquet", tmp_path / "out.parquet", top=1, batch_size=2)
    assert (summary.images, summary.predicted) == (8, 7)
    rows = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["image"] for row in rows] == [f"set.parquet:{number}" for number in range(8)]
    assert "not an image" in rows[7]["error"]
    for row, path in zip(rows[:7], files, strict=True):
        assert row["logit_1"] == pytest.approx(bagnet.explain(model, path).top(1)[0].logit, abs=1e-4)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_rows_are_what_explain_says(model: BagNet, folder: Path, tmp_path: Path, workers: int) -> None:
    out = tmp_path / "out.csv"
    batch_size = 1 if workers else 3  # few images would not be given to workers in large batches
    summary = predict(model, folder, out, top=2, batch_size=batch_size, workers=workers)
    assert (summary.images, summary.predicted, summary.resumed) == (8, 7, 0)
    assert [name for name, _ in summary.bad] == ["broken.jpg"]
    rows = {row["image"]: row for row in table(out)}
    assert len(rows) == 8
    assert "not an image" in rows["broken.jpg"]["error"]
    for name in ("class 0/4.png", "class 1/5.png"):
        first, second = bagnet.explain(model, folder / name).top(2)
        row = rows[name]
        assert (int(row["index_1"]), row["name_1"]) == (first.index, first.name)
        assert float(row["logit_2"]) == pytest.approx(second.logit, rel=1e-4)
        assert float(row["probability_1"]) == pytest.approx(first.probability, rel=1e-4)


class StopHere(Exception):
    pass


def test_interrupted_and_resumed_nothing_is_done_twice(model: BagNet, folder: Path, tmp_path: Path) -> None:
    out, seen = tmp_path / "out.csv", []

    def stop_after_two_batches(done: int, total: int) -> None:
        seen.append((done, total))
        if len(seen) == 2:
            raise StopHere

    with pytest.raises(StopHere):
        predict(model, folder, out, batch_size=2, workers=0, progress=stop_after_two_batches)
    assert not out.exists()
    calls: list[int] = []
    model.register_forward_pre_hook(lambda module, x: calls.append(len(x[0])))
    summary = predict(model, folder, out, batch_size=2, workers=0)
    assert summary.resumed == 4
    assert sum(calls) == 7 - 3  # the broken image was among the first four
    whole = tmp_path / "whole.csv"
    predict(model, folder, whole, batch_size=2, workers=0)
    assert out.read_text() == whole.read_text()


def test_a_run_with_other_settings_is_not_continued(model: BagNet, folder: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise StopHere

    with pytest.raises(StopHere):
        predict(model, folder, tmp_path / "out.csv", workers=0, batch_size=2, progress=stop)
    with torch.no_grad():
        model.fc.bias += 1
    with pytest.raises(OtherRun, match="another model"):
        predict(model, folder, tmp_path / "out.csv", workers=0)


def test_maps(model: BagNet, folder: Path, tmp_path: Path) -> None:
    predict(model, folder, tmp_path / "out.csv", top=2, maps=tmp_path / "maps", workers=0)
    row = next(row for row in table(tmp_path / "out.csv") if row["image"] == "class 1/3.png")
    evidence = bagnet.explain(model, folder / "class 1" / "3.png")
    with np.load(tmp_path / "maps" / row["map"]) as stored:
        assert stored["classes"].tolist() == [int(row["index_1"]), int(row["index_2"])]
        assert np.allclose(stored["values"], evidence.values[stored["classes"]], atol=1e-4)


def test_images_of_several_sizes(model: BagNet, tmp_path: Path) -> None:
    for width in (30, 45):
        Image.new("RGB", (width, 30), "red").save(tmp_path / f"{width}.png")
    summary = predict(
        model, [tmp_path / "30.png", tmp_path / "45.png"], tmp_path / "o.csv", workers=0, transform=Preprocessing(30, None)
    )
    assert summary.predicted == 2


def test_bad_requests(model: BagNet, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        predict(model, tmp_path / "none", tmp_path / "o.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no images"):
        predict(model, tmp_path / "empty", tmp_path / "o.csv")
