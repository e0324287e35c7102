"""Parquet tables, tar shards and the hub; labels and tables that cannot be are refused."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from bagnet.data.decode import BadImage
from bagnet.data.labelled import has_split, open_labelled
from bagnet.data.labels import BadLabels

from .images import encoded, pictures, reds, words


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package, which writes nothing outside the test's folder."""
    package = pytest.importorskip("datasets")
    for name in ("HF_DATASETS_CACHE", "HF_CACHE_HOME", "DOWNLOADED_DATASETS_PATH", "EXTRACTED_DATASETS_PATH"):
        monkeypatch.setattr(package.config, name, str(tmp_path / "cache"))
    return package


def table(path: Path, columns: Mapping[str, Sequence[Any]]) -> Path:
    import pyarrow as arrow
    from pyarrow import parquet

    parquet.write_table(arrow.table(dict(columns)), path)
    return path


def test_a_table_with_class_labels(tmp_path: Path, datasets: Any) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["fish", "n02123045", "owl"])})
    rows = {"image": pictures([10, 20, 30]), "label": [1, 0, 1]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "train.parquet")
    images = open_labelled(tmp_path)
    assert images.targets.tolist() == [1, 0, 1]
    assert words(images) == ["fish", "tabby", "owl"]
    assert reds(images) == [10, 20, 30]
    assert images.images.names == [f"{tmp_path.name} train:{row}" for row in range(3)]
    assert images.images.photo(2).name == images.images.names[2]
    again = pickle.loads(pickle.dumps(images.take([2, 1])))
    assert reds(again) == [30, 20]
    assert (has_split(tmp_path, "train"), has_split(tmp_path, "val")) == (True, False)
    with pytest.raises(FileNotFoundError, match=r"has no val\.parquet and no val-0\.parquet, \.\.\."):
        open_labelled(tmp_path, "val")


def test_tables_of_several_files_with_numbers_or_names(tmp_path: Path, datasets: Any) -> None:
    table(tmp_path / "train-0.parquet", {"image": [encoded(1), encoded(2)], "label": [2, 0]})  # bytes without a structure
    table(tmp_path / "train-1.parquet", {"image": [encoded(3)], "label": [1]})
    table(tmp_path / "validation-00000-of-00001.parquet", {"img": pictures([4, 5, 6]), "label": ["owl", "n01440764", "owl"]})
    table(tmp_path / "test-0.parquet", {"image": pictures([7]), "label": [-1]})  # as the hub has them: not to be mixed in
    train, val = (open_labelled(tmp_path, split) for split in ("train", "val"))
    assert (reds(train), train.targets.tolist(), words(train)) == ([1, 2, 3], [2, 0, 1], ["class 0", "class 1", "class 2"])
    assert (reds(val), val.targets.tolist(), words(val)) == ([4, 5, 6], [1, 0, 1], ["tench", "owl"])
    assert has_split(tmp_path, "val")


def test_a_table_with_lists_of_labels(tmp_path: Path, datasets: Any) -> None:
    table(tmp_path / "train.parquet", {"image": pictures([1, 2, 3]), "labels": [[], [2, 0], [2]]})
    images = open_labelled(tmp_path)
    assert images.multilabel
    assert images.targets.tolist() == [[False] * 3, [True, False, True], [False, False, True]]
    table(tmp_path / "val.parquet", {"image": pictures([1, 2]), "labels": [["red", "blue"], ["red"]]})
    images = open_labelled(tmp_path, "val")
    assert (images.targets.tolist(), words(images)) == ([[True, True], [False, True]], ["blue", "red"])
    named = datasets.Features({"image": datasets.Image(), "labels": datasets.List(datasets.ClassLabel(names=["a", "b", "c"]))})
    rows = {"image": pictures([1, 2]), "labels": [[1], [0, 1]]}
    folder = tmp_path / "other"
    folder.mkdir()
    datasets.Dataset.from_dict(rows, features=named).to_parquet(folder / "train.parquet")
    images = open_labelled(folder)
    assert (images.targets.tolist(), words(images)) == ([[False, True, False], [True, True, False]], ["a", "b", "c"])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": [0, -1]}, r"row 1 has label -1, but the classes are numbered 0 to 0"),
        ({"label": [1, None]}, "row 1 has no label"),
        ({"label": [[0], None]}, "row 1 has no label"),
        ({"label": [[0], [1, None]]}, "row 1 has no label"),
        ({"label": [0.0, 0.5]}, r"row 1 has label 0\.5, which is neither the number of a class nor its name"),
        ({"label": [0.0, float("nan")]}, "row 1 has label nan, which is neither"),
        ({"label": [3, 3]}, r"has only one class \(class 3\); a classifier needs two or more"),
        ({"label": ["owl", "owl"]}, r"has only one class \(owl\)"),
        ({"labels": [[], []]}, "not one of its images has a label"),
        ({"labels": [[[0]], [[1]]]}, r"row 0 has label \[0\], which is neither"),
        ({"species": [0, 1]}, "has no column 'label' or 'labels', but image, species"),
    ],
    ids=str,
)
def test_labels_that_cannot_be(tmp_path: Path, datasets: Any, columns: dict[str, Any], message: str) -> None:
    path = table(tmp_path / "train.parquet", {"image": pictures([1, 2]), **columns})
    with pytest.raises(BadLabels, match=message) as caught:
        open_labelled(tmp_path)
    assert str(caught.value).startswith(str(path))


def test_tables_that_cannot_be_read(tmp_path: Path, datasets: Any) -> None:
    path = tmp_path / "train.parquet"
    path.write_bytes(b"PAR1 but no table")
    with pytest.raises(ValueError, match=r"train\.parquet: cannot be read as parquet \(.+\)$"):
        open_labelled(tmp_path)
    table(path, {"image": [1.5, 2.5], "label": [0, 1]})
    with pytest.raises(ValueError, match=r"train\.parquet: its column 'image' holds no images"):
        open_labelled(tmp_path)
    table(path, {"picture": pictures([1, 2]), "label": [0, 1]})
    with pytest.raises(BadLabels, match="has no column 'image' or 'jpg', but picture, label"):
        open_labelled(tmp_path)


def test_a_label_beyond_the_classes(tmp_path: Path, datasets: Any) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    rows = {"image": pictures([1, 2]), "label": [0, -1]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(BadLabels, match="row 1 has label -1, but the classes are numbered 0 to 1"):
        open_labelled(tmp_path)


def test_rows_of_a_table_that_hold_no_image(tmp_path: Path, datasets: Any) -> None:
    (tmp_path / "elsewhere.png").write_bytes(encoded(9))
    rows = [
        {"bytes": b"no image", "path": None},
        {"bytes": None, "path": None},
        {"bytes": b"", "path": None},
        {"bytes": None, "path": str(tmp_path / "nowhere.png")},
        {"bytes": None, "path": str(tmp_path / "elsewhere.png")},
        {"bytes": b"", "path": "elsewhere.png"},
    ]
    table(tmp_path / "train.parquet", {"image": rows, "label": [0, 1, 0, 1, 0, 1]})
    images = open_labelled(tmp_path).images
    for row in (0, 1, 2, 5):
        with pytest.raises(BadImage, match=f"train:{row}: "):
            images.photo(row)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png: there is no such file"):
        images.photo(3)
    assert images.pixels(4, 3)[0, 0].tolist() == [9, 0, 246]
    assert images.photo(4).name == images.names[4]


def shard(path: Path, samples: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in samples.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def test_tar_shards_with_numbers(tmp_path: Path, datasets: Any) -> None:
    shard(tmp_path / "train-000.tar", {"a.cls": b"1", "a.png": encoded(1), "b.cls": b"0\n", "b.png": encoded(2)})
    shard(tmp_path / "train-001.tar", {"c.png": encoded(3), "c.cls": b"2"})
    images = open_labelled(tmp_path)
    assert (reds(images), images.targets.tolist(), words(images)) == ([1, 2, 3], [1, 0, 2], ["class 0", "class 1", "class 2"])
    assert reds(pickle.loads(pickle.dumps(images))) == [1, 2, 3]


@pytest.mark.parametrize(
    ("records", "targets", "classes"),
    [
        ([{"label": "owl"}, {"label": "ape", "by": "me"}], [1, 0], ["ape", "owl"]),
        ([{"label": 1}, {"label": 0}], [1, 0], ["class 0", "class 1"]),
        ([{"labels": ["x", "y"]}, {"labels": []}], [[True, True], [False, False]], ["x", "y"]),
    ],
    ids=str,
)
def test_tar_shards_with_records(
    tmp_path: Path, datasets: Any, records: list[Any], targets: list[Any], classes: list[str]
) -> None:
    names = ("a", "b")
    contents = {f"{name}.json": json.dumps(record).encode() for name, record in zip(names, records, strict=True)}
    shards = {
        name: content for key in names for name, content in ((f"{key}.jpg", encoded(5)), (f"{key}.json", contents[f"{key}.json"]))
    }
    shard(tmp_path / "val.tar", shards)
    images = open_labelled(tmp_path, "val")
    assert (images.targets.tolist(), words(images)) == (targets, classes)
    assert reds(images) == [5, 5]


def test_tar_shards_that_cannot_be_read(tmp_path: Path, datasets: Any) -> None:
    (tmp_path / "train.tar").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"train\.tar: cannot be read as webdataset \(.+\)$"):
        open_labelled(tmp_path)
    shard(tmp_path / "train.tar", {"a.png": encoded(1), "a.cls": b"owl", "b.png": encoded(2), "b.cls": b"ape"})
    with pytest.raises(ValueError, match=r"train\.tar: cannot be read as webdataset \(.*'owl'"):
        open_labelled(tmp_path)
    shard(
        tmp_path / "train.tar", {"a.png": encoded(1), "a.json": b'{"class": 1}', "b.png": encoded(2), "b.json": b'{"class": 0}'}
    )
    with pytest.raises(BadLabels, match="row 0 has no label"):
        open_labelled(tmp_path)


def grouped(path: Path, numbers: Sequence[int], rows: int) -> Path:
    """A table of images in groups of so many rows."""
    import pyarrow as arrow
    from pyarrow import parquet

    columns = {"img": pictures(numbers), "label": [number % 3 for number in numbers]}
    parquet.write_table(arrow.table(columns), path, row_group_size=rows)
    return path


def test_a_stream_reads_groups_where_they_lie(tmp_path: Path, datasets: Any) -> None:
    grouped(tmp_path / "train-0.parquet", range(5), 2)
    grouped(tmp_path / "train-1.parquet", range(5, 9), 3)
    whole, stream = open_labelled(tmp_path), open_labelled(tmp_path, stream=True)
    assert reds(stream) == reds(whole) == list(range(9))
    assert stream.targets.tolist() == whole.targets.tolist()
    assert stream.classes == whole.classes
    assert stream.images.starts == [0, 2, 4, 5, 8]
    assert list(whole.images.starts) == [0]
    assert stream.take([1, 2, 5, 7]).images.starts == [0, 1, 2]
    (tmp_path / "train-1.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(ValueError, match=r"train-1\.parquet: cannot be read as parquet"):
        open_labelled(tmp_path, stream=True)


@pytest.fixture
def hub(datasets: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A hub with one data set in two splits, without a network."""
    features = datasets.Features({"img": datasets.Image(), "fine_label": datasets.ClassLabel(names=["ape", "owl"])})

    def splits(name: str) -> list[str]:
        if name != "someone/birds":
            raise ConnectionError(f"there is no\n{name}")
        return ["train", "test"]

    def load(name: str, split: str) -> Any:
        numbers = {"train": [1, 2, 3], "test": [4, 5]}[split]
        rows = {"img": pictures(numbers), "fine_label": [number % 2 for number in numbers]}
        return datasets.Dataset.from_dict(rows, features=features)

    monkeypatch.setattr(datasets, "get_dataset_split_names", splits)
    monkeypatch.setattr(datasets, "load_dataset", load)
    return datasets


def test_the_hub(hub: Any) -> None:
    train, val = (open_labelled("hub:someone/birds", split) for split in ("train", "val"))
    assert (reds(train), train.targets.tolist(), words(train)) == ([1, 2, 3], [1, 0, 1], ["ape", "owl"])
    assert (reds(val), val.targets.tolist()) == ([4, 5], [0, 1])
    assert val.images.names == ["someone/birds test:0", "someone/birds test:1"]
    assert has_split("hub:someone/birds", "val")
    assert not has_split("hub:someone/birds", "extra")
    with pytest.raises(FileNotFoundError, match="hub:someone/birds: has no split called extra"):
        open_labelled("hub:someone/birds", "extra")


def test_what_the_hub_does_not_give(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match=r"hub:nobody/nothing: cannot be found \(there is no nobody/nothing\)"):
        open_labelled("hub:nobody/nothing")

    def cut(name: str, split: str) -> Any:
        raise OSError("the line is cut")

    monkeypatch.setattr(hub, "load_dataset", cut)
    with pytest.raises(ValueError, match=r"hub:someone/birds: cannot be read \(the line is cut\)"):
        open_labelled("hub:someone/birds")


def test_the_hub_as_a_stream(hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From addresses instead of files; none is copied."""
    path = grouped(tmp_path / "part.parquet", range(4), 2)

    class Builder:
        class config:  # noqa: N801
            data_files: ClassVar = {"train": [f"file://{path}"], "test": ["file:///nothing.csv"]}

    monkeypatch.setattr(hub, "load_dataset_builder", lambda name: Builder)
    stream = open_labelled("hub:someone/birds", stream=True)
    assert reds(stream) == [0, 1, 2, 3]
    assert stream.images.starts == [0, 2]
    with pytest.raises(ValueError, match="hub:someone/birds: its files are no Parquet tables"):
        open_labelled("hub:someone/birds", "val", stream=True)
