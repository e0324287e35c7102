"""Predictions for a folder equal those one by one, survive interruption and name what is bad."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import bagnet
from bagnet.data.transforms import Preprocessing
from bagnet.model import BagNet
from bagnet.progress import Progress
from bagnet.runs import loader
from bagnet.runs.predict import merge_predictions, predict
from bagnet.runs.store import OtherRun


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
    import pyarrow as arrow
    from pyarrow import parquet

    files = sorted(folder.glob("*/*.png"))
    content = [{"bytes": path.read_bytes(), "path": path.name} for path in files] + [{"bytes": b"broken", "path": "x"}]
    parquet.write_table(arrow.table({"image": content}), tmp_path / "set.parquet", row_group_size=3)
    summary = predict(model, tmp_path / "set.parquet", tmp_path / "out.parquet", top=1, batch_size=2)
    assert (summary.images, summary.predicted) == (8, 7)
    rows = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["image"] for row in rows] == [f"set.parquet:{number}" for number in range(8)]
    assert rows[7]["error"].startswith("set.parquet:7: not an image")
    for row, path in zip(rows[:7], files, strict=True):
        assert row["logit_1"] == pytest.approx(bagnet.explain(model, path).top(1)[0].logit, abs=1e-4)


@pytest.mark.slow
def test_rows_are_the_same_whoever_reads_and_however_many_at_a_time(model: BagNet, folder: Path, tmp_path: Path) -> None:
    """To the last digit for any number of workers; batches of another size add up in another order."""
    tables = {}
    for workers in (0, 1, 2):
        for batch_size in (3, 16):
            out = tmp_path / f"{workers}-{batch_size}.jsonl"
            predict(model, folder, out, workers=workers, batch_size=batch_size)
            tables[workers, batch_size] = out.read_text()
    for batch_size in (3, 16):
        assert tables[0, batch_size] == tables[1, batch_size] == tables[2, batch_size]
    for line, other in zip(tables[0, 3].splitlines(), tables[0, 16].splitlines(), strict=True):
        row, other_row = json.loads(line), json.loads(other)
        numbers = [name for name, value in row.items() if isinstance(value, float)]
        assert [row.pop(name) for name in numbers] == pytest.approx([other_row.pop(name) for name in numbers], abs=3e-6)
        assert row == other_row


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_rows_are_what_explain_says(model: BagNet, folder: Path, tmp_path: Path, workers: int) -> None:
    out = tmp_path / "out.csv"
    summary = predict(model, folder, out, top=2, batch_size=3, workers=workers)
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

    def stop_after_two_batches(progress: Progress) -> None:
        seen.append(progress)
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
    def stop(_: Progress) -> None:
        raise StopHere

    with pytest.raises(StopHere):
        predict(model, folder, tmp_path / "out.csv", workers=0, batch_size=2, progress=stop)
    with torch.no_grad():
        model.fc.bias += 1
    with pytest.raises(OtherRun, match="other weights"):
        predict(model, folder, tmp_path / "out.csv", workers=0)


def stopped(model: BagNet, source: Path, out: Path, **options: object) -> None:
    """A run that ends after its first batch of two."""

    def stop(_: Progress) -> None:
        raise StopHere

    with pytest.raises(StopHere):
        predict(model, source, out, workers=0, batch_size=2, progress=stop, **options)  # type: ignore[arg-type]


def test_other_images_of_the_same_names_are_another_run(model: BagNet, folder: Path, tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    shutil.copytree(folder, twin)
    stopped(model, folder, tmp_path / "out.csv")
    with pytest.raises(OtherRun, match="other images"):
        predict(model, twin, tmp_path / "out.csv", workers=0)
    (folder / "class 1" / "5.png").write_bytes((folder / "class 1" / "3.png").read_bytes() + b" ")
    with pytest.raises(OtherRun, match="other images"):
        predict(model, folder, tmp_path / "out.csv", workers=0)


def test_another_calibration_is_another_run(model: BagNet, folder: Path, tmp_path: Path) -> None:
    stopped(model, folder, tmp_path / "out.csv", calibration="days")
    with pytest.raises(OtherRun):
        predict(model, folder, tmp_path / "out.csv", workers=0, calibration="nights")


def test_another_folder_for_maps_is_another_run(model: BagNet, folder: Path, tmp_path: Path) -> None:
    stopped(model, folder, tmp_path / "out.csv", maps=tmp_path / "maps")
    with pytest.raises(OtherRun, match="other maps"):
        predict(model, folder, tmp_path / "out.csv", workers=0, maps=tmp_path / "others")
    predict(model, folder, tmp_path / "out.csv", workers=0, maps=tmp_path / "maps")
    named = [row["map"] for row in table(tmp_path / "out.csv") if row["map"]]
    assert sorted(path.name for path in (tmp_path / "maps").glob("*.npz")) == sorted(named)


def test_maps_of_two_tables_do_not_mix(model: BagNet, folder: Path, tmp_path: Path) -> None:
    predict(model, folder, tmp_path / "first.csv", workers=0, maps=tmp_path / "maps")
    before = {path: path.read_bytes() for path in (tmp_path / "maps").iterdir()}
    with pytest.raises(OtherRun, match=r"maps: holds a run with (other maps of|maps of .*first\.csv)"):
        predict(model, folder, tmp_path / "second.csv", workers=0, maps=tmp_path / "maps")
    assert {path: path.read_bytes() for path in (tmp_path / "maps").iterdir()} == before
    predict(model, folder, tmp_path / "first.csv", workers=0, maps=tmp_path / "maps", overwrite=True)


def test_a_failed_start_leaves_nothing_in_the_way(model: BagNet, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    (tmp_path / "file").touch()
    (tmp_path / "is-folder.csv").mkdir()
    reads: list[int] = []
    with pytest.raises(ValueError, match="too small for windows of 17"):
        predict(model, folder, out, workers=0, transform=model.transform.with_crop(10), progress=lambda *_: reads.append(1))
    with pytest.raises(ValueError, match=r"shape \(B, 3, H, W\)"):
        predict(model, folder, out, workers=0, transform=Preprocessing(40, 40, mean=(0.5,), std=(0.5,)))
    for maps in (tmp_path / "file", tmp_path / "file" / "maps"):
        with pytest.raises(OSError, match=r"file.*cannot be written"):
            predict(model, folder, out, workers=0, maps=maps, progress=lambda *_: reads.append(1))
    with pytest.raises(OSError, match=r"is-folder\.csv: is a folder"):
        predict(model, folder, tmp_path / "is-folder.csv", workers=0, progress=lambda *_: reads.append(1))
    assert not reads
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "is-folder.csv", "photos"]
    assert predict(model, folder, out, workers=0).predicted == 7


def test_an_image_smaller_than_a_window_is_bad_and_the_rest_is_kept(model: BagNet, tmp_path: Path) -> None:
    for side in (8, 30):
        Image.new("RGB", (side, side), "red").save(tmp_path / f"{side}.png")
    summary = predict(model, tmp_path, tmp_path / "out.csv", workers=0, transform=Preprocessing(None, None))
    assert summary.predicted == 1
    assert [name for name, _ in summary.bad] == ["8.png"]
    assert summary.bad[0][1].startswith("8.png: an image of 8 x 8 pixels")


def test_names_that_are_no_text(model: BagNet, folder: Path, tmp_path: Path) -> None:
    try:
        shutil.copy(folder / "class 1" / "3.png", os.fsencode(folder) + b"/\xff.png")
        shutil.copy(folder / "broken.jpg", os.fsencode(folder) + b"/\xfe.png")
    except OSError:
        pytest.skip("this file system takes text only")
    stopped(model, folder, tmp_path / "out.csv")
    summary = predict(model, folder, tmp_path / "out.csv", workers=0)
    assert (summary.images, summary.predicted) == (10, 8)
    rows = {row["image"]: row for row in table(tmp_path / "out.csv")}
    assert rows["\\udcff.png"]["logit_1"] == rows["class 1/3.png"]["logit_1"]
    assert "\\udcfe.png: " in rows["\\udcfe.png"]["error"]


def test_workers_by_default_for_many_images_only(
    model: BagNet, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    data_loader = loader.DataLoader

    def counted(*words: object, num_workers: int, **options: object) -> object:
        asked.append(num_workers)
        return data_loader(*words, **{**options, "multiprocessing_context": None})  # type: ignore[arg-type]

    monkeypatch.setattr(loader, "DataLoader", counted)
    monkeypatch.setattr(loader.os, "cpu_count", lambda: 5)
    predict(model, folder, tmp_path / "few.csv", batch_size=1)
    monkeypatch.setattr(loader, "_WORTH_WORKERS", 8)
    predict(model, folder, tmp_path / "many.csv", batch_size=1)
    predict(model, folder, tmp_path / "large.csv", batch_size=4)
    assert asked == [0, 3, 2]


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
    with pytest.raises(ValueError, match="the list of image files is empty"):
        predict(model, [], tmp_path / "o.csv")
    assert not list(tmp_path.glob("*o.csv*"))


def test_parts_are_one_table_to_the_byte(model: BagNet, folder: Path, tmp_path: Path) -> None:
    """Parts of many images begin where batches do; here the batches are of one image."""
    whole = predict(model, folder, tmp_path / "whole.csv", batch_size=1)
    parts = [tmp_path / f"part{number}" for number in (1, 2, 3)]
    counts = [predict(model, folder, part, shard=(number, 3), batch_size=1).images for number, part in enumerate(parts, 1)]
    assert sum(counts) == whole.images == 8
    assert predict(model, folder, parts[0], shard=(1, 3), batch_size=1).resumed == counts[0]
    merged = merge_predictions(parts[::-1], tmp_path / "merged.csv")
    assert (merged.images, merged.predicted, merged.bad) == (whole.images, whole.predicted, whole.bad)
    assert (tmp_path / "merged.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    predict(model, folder, tmp_path / "all", shard=(1, 1), batch_size=1)
    merge_predictions([tmp_path / "all"], tmp_path / "merged of one.csv")
    assert (tmp_path / "merged of one.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    with pytest.raises(FileExistsError, match=r"merged\.csv: is there already"):
        merge_predictions(parts, tmp_path / "merged.csv")
    with pytest.raises(OtherRun, match="top 5 instead of 1"):
        predict(model, folder, parts[0], shard=(1, 3), top=1)
    (folder / "class 0" / "9.png").write_bytes((folder / "class 0" / "0.png").read_bytes())
    predict(model, folder, parts[2], shard=(3, 3), overwrite=True)
    with pytest.raises(ValueError, match="part3: is of another run"):
        merge_predictions(parts, tmp_path / "other.csv")
