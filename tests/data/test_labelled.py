"""The same labelled images from folders, Parquet tables, tar shards, arrays and the hub; labels that cannot be are refused."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from bagnet.data.arrays import ArrayImages
from bagnet.data.decode import BadImage
from bagnet.data.labelled import has_split, open_labelled
from bagnet.data.labels import BadLabels, LabelledImages
from bagnet.data.names import ClassName, ClassNames


def encoded(red: int, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (5, 4), (red, 0, 255 - red)).convert(mode).save(file, "PNG")
    return file.getvalue()


def reds(labelled: LabelledImages) -> list[int]:
    """The red of each image, by which the tests tell them apart."""
    return [int(labelled.images.pixels(row, 3)[0, 0, 0]) for row in range(len(labelled))]


def words(labelled: LabelledImages) -> list[str]:
    return [str(entry) for entry in labelled.classes]


def numbered(targets: Sequence[Any], count: int) -> LabelledImages:
    """Grey images 0, 1, ... of 2 x 3 pixels."""
    values = np.arange(len(targets), dtype=np.uint8)[:, None, None, None].repeat(2, 1).repeat(3, 2)
    return LabelledImages(ArrayImages(values, "array"), torch.tensor(targets), ClassNames.numbered(count))


def test_counts_and_shares() -> None:
    single = numbered([2, 0, 2], 4)
    assert (len(single), single.multilabel) == (3, False)
    assert single.counts.tolist() == [1, 0, 2, 0]
    assert single.shares(0).tolist() == [0, 0, 1, 0]
    several = numbered([[True, False, True], [False, False, False]], 3)
    assert several.multilabel
    assert several.counts.tolist() == [1, 0, 1]
    assert [several.shares(row).tolist() for row in (0, 1)] == [[1, 0, 1], [0, 0, 0]]
    assert single.shares(0).dtype == several.shares(0).dtype == torch.float32


def test_questions_are_one_a_class_or_one_for_two() -> None:
    three = numbered([2, 0, 1], 3).questions()
    assert three.targets.tolist() == [[False, False, True], [True, False, False], [False, True, False]]
    assert words(three) == ["class 0", "class 1", "class 2"]
    two = numbered([1, 0, 1], 2).questions()
    assert two.targets.tolist() == [[True], [False], [True]]
    assert words(two) == ["class 1"]
    several = numbered([[True, False]], 2)
    assert several.questions() is several


def test_take_takes_rows_of_rows() -> None:
    images = numbered([0, 1, 2, 3, 4], 5).take(np.array([4, 1, 3])).take([2, 0])
    assert images.targets.tolist() == [3, 4]
    assert images.images.names == ["array:3", "array:4"]
    assert [images.images.pixels(row, 1)[0, 0, 0] for row in (0, 1)] == [3, 4]
    assert [images.images.photo(row).name for row in (0, 1)] == ["array:3", "array:4"]
    assert len(images.classes) == 5
    assert len(images.take([])) == 0


def test_hold_out_is_a_fixed_share() -> None:
    images = numbered([row % 3 for row in range(100)], 3)
    rest, held = images.hold_out()
    torch.manual_seed(7)
    np.random.seed(7)
    again = images.hold_out()
    assert (len(rest), len(held)) == (95, 5)
    rows = [[int(name.split(":")[1]) for name in part.images.names] for part in (rest, held)]
    assert sorted(rows[0] + rows[1]) == list(range(100))
    assert rows == [sorted(part) for part in rows]
    assert [part.images.names for part in (rest, held)] == [part.images.names for part in again]
    assert [int(label) for label in held.targets] == [row % 3 for row in rows[1]]
    assert [len(part) for part in images.hold_out(0.3)] == [70, 30]
    assert [len(part) for part in numbered([0, 1, 0], 2).hold_out()] == [2, 1]


def folders(root: Path, contents: Mapping[str, Sequence[int]]) -> Path:
    for name, numbers in contents.items():
        (root / name).mkdir(parents=True)
        for number in numbers:
            (root / name / f"{number}.png").write_bytes(encoded(number))
    return root


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    root = folders(tmp_path / "set", {"dog": [3, 4], "n02123045": [7], "cat": [1], "cat/young": [2], ".git": []})
    (root / "cat" / "notes.txt").write_text("no image")
    (root / "cat" / ".hidden.png").write_text("no image")
    (root / "readme.txt").write_text("no class")
    images = open_labelled(root)
    assert images.images.names == ["cat/1.png", "cat/young/2.png", "dog/3.png", "dog/4.png", "n02123045/7.png"]
    assert images.targets.tolist() == [0, 0, 1, 1, 2]
    assert images.targets.dtype == torch.int64
    assert reds(images) == [1, 2, 3, 4, 7]
    assert list(images.classes) == [ClassName(("cat",)), ClassName(("dog",)), ClassName(("tabby", "tabby cat"), "n02123045")]
    assert has_split(root, "train")
    assert not has_split(root, "val")
    with pytest.raises(FileNotFoundError, match="has no folder called val or valid or validation or test"):
        open_labelled(str(root), "val")


@pytest.mark.parametrize(("train", "val"), [("train", "val"), ("Training", "validation"), ("train", "test")])
def test_folders_of_splits(tmp_path: Path, train: str, val: str) -> None:
    folders(tmp_path, {f"{train}/a": [1], f"{train}/b": [2], f"{val}/a": [3], f"{val}/b": [4], "more": []})
    (tmp_path / "download.tar").write_bytes(b"as it came")
    assert reds(open_labelled(tmp_path)) == [1, 2]
    assert reds(open_labelled(tmp_path, "val")) == [3, 4]
    assert words(open_labelled(tmp_path, "val")) == ["a", "b"]
    assert has_split(tmp_path, "train")
    assert has_split(tmp_path, "val")


def test_of_val_and_test_the_first_counts(tmp_path: Path) -> None:
    folders(tmp_path, {"train/a": [1], "test/a": [2], "test/b": [3], "val/a": [4], "val/b": [5]})
    assert reds(open_labelled(tmp_path, "val")) == [4, 5]


def test_val_alone_is_not_taken_for_a_class(tmp_path: Path) -> None:
    folders(tmp_path, {"val/a": [1], "val/b": [2]})
    assert not has_split(tmp_path, "train")
    with pytest.raises(FileNotFoundError, match="has no folder called train or training"):
        open_labelled(tmp_path)


def test_a_train_may_be_a_vehicle_and_a_test_a_class(tmp_path: Path) -> None:
    folders(tmp_path, {"ship": [1], "test": [2], "train": [3]})
    assert words(open_labelled(tmp_path)) == ["ship", "test", "train"]
    assert not has_split(tmp_path, "val")


def test_folders_that_hold_no_classes(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere: there is no such folder, nor a \.npz file"):
        open_labelled(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError):
        has_split(tmp_path / "nowhere", "train")
    (tmp_path / "loose.png").write_bytes(encoded(1))
    with pytest.raises(BadLabels, match="has no folders of classes; a classifier needs two or more"):
        open_labelled(tmp_path)
    folders(tmp_path, {"cat": [1]})
    with pytest.raises(BadLabels, match=r"has only one class \(cat\); a classifier needs two or more"):
        open_labelled(tmp_path)
    folders(tmp_path, {"dog": []})
    with pytest.raises(BadLabels, match="dog: holds no images, but its name is that of a class; fill it or take it away"):
        open_labelled(tmp_path)
    flat = folders(tmp_path / "flat", {"train": [1], "val": [2]})
    with pytest.raises(BadLabels, match="train: has no folders of classes"):
        open_labelled(flat)


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package, which writes nothing outside the test's folder."""
    package = pytest.importorskip("datasets")
    for name in ("HF_DATASETS_CACHE", "HF_CACHE_HOME", "DOWNLOADED_DATASETS_PATH", "EXTRACTED_DATASETS_PATH"):
        monkeypatch.setattr(package.config, name, str(tmp_path / "cache"))
    return package


def table(path: Path, columns: Mapping[str, Sequence[Any]]) -> Path:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table(dict(columns)), path)
    return path


def pictures(numbers: Sequence[int]) -> list[dict[str, Any]]:
    return [{"bytes": encoded(number), "path": None} for number in numbers]


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
    other = tmp_path / "other"
    other.mkdir()
    datasets.Dataset.from_dict(rows, features=named).to_parquet(other / "train.parquet")
    images = open_labelled(other)
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
        name: content for one in names for name, content in ((f"{one}.jpg", encoded(5)), (f"{one}.json", contents[f"{one}.json"]))
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


def arrays(path: Path, **values: Any) -> Path:
    np.savez(path, **values)
    return path


def noise(*shape: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("shape", [(4, 6, 5), (4, 6, 5, 1), (4, 6, 5, 3), (4, 6, 5, 4), (4, 6, 5, 5)], ids=str)
def test_arrays_of_any_number_of_channels(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = noise(*shape)
    path = arrays(tmp_path / "mnist.npz", train_images=values, train_labels=np.array([[0], [2], [1], [2]]))
    labelled = open_labelled(path)
    channels = shape[3] if len(shape) == 4 else 1
    assert (labelled.targets.tolist(), words(labelled)) == ([0, 2, 1, 2], ["class 0", "class 1", "class 2"])
    assert labelled.images.names == [f"mnist.npz train:{row}" for row in range(4)]
    for row in range(4):
        assert np.array_equal(labelled.images.pixels(row, channels), values[row].reshape(6, 5, channels))
    if channels == 5:
        with pytest.raises(BadImage, match=r"mnist\.npz train:1: has 5 channels, where 3 are expected"):
            labelled.images.pixels(1, 3)
        with pytest.raises(BadImage, match=r"mnist\.npz train:1: 5 channels are no picture: ask for its pixels"):
            labelled.images.photo(1)
        return
    photo = labelled.images.photo(1)
    assert (photo.name, photo.image.size, photo.image.mode) == ("mnist.npz train:1", (5, 6), "RGB")
    assert np.array_equal(labelled.images.pixels(1, 3), np.asarray(photo.image))
    with pytest.raises(BadImage, match=rf"mnist\.npz train:1: has {channels} channels, where 2 are expected"):
        labelled.images.pixels(1, 2)


def test_arrays_with_several_labels_and_splits(tmp_path: Path) -> None:
    both = np.array([[0, 1, 1], [0, 0, 0]])
    path = arrays(
        tmp_path / "a.npz",
        train_images=noise(2, 3, 3),
        train_labels=both,
        val_images=noise(2, 3, 3),
        val_labels=["owl", "ape"],
        test_images=noise(1, 3, 3),
        test_labels=[0],
    )
    train, val = (open_labelled(path, split) for split in ("train", "val"))
    assert train.targets.tolist() == [[False, True, True], [False, False, False]]
    assert (val.targets.tolist(), words(val)) == ([1, 0], ["ape", "owl"])
    assert has_split(path, "val")
    other = arrays(tmp_path / "b.npz", test_images=noise(2, 3, 3), test_labels=np.array([0.0, 1.0]))
    assert open_labelled(other, "val").targets.tolist() == [0, 1]
    assert not has_split(other, "train")
    with pytest.raises(FileNotFoundError, match=r"b\.npz: has no train_images"):
        open_labelled(other)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (noise(2, 3, 3), None, "has train_images but no train_labels"),
        (noise(2, 3, 3), [0, 1, 1], "holds 2 train_images, but 3 train_labels"),
        (noise(2, 3, 3), [[0, 2], [1, 0]], r"train_labels of shape \(2, 2\) must be 0 or 1 for each class"),
        (noise(2, 3, 3), np.zeros((2, 1, 1), int), r"train_labels must be of shape \(N,\) or \(N, K\), got \(2, 1, 1\)"),
        (noise(2, 3, 3), np.zeros((2, 0), int), r"must be of shape \(N,\) or \(N, K\), got \(2, 0\)"),
        (noise(2, 3, 3), 1, r"must be of shape \(N,\) or \(N, K\), got \(\)"),
        (noise(2, 3, 3), [0, -1], "row 1 has label -1, but the classes are numbered 0 to 0"),
        (noise(2, 3, 3), [0, 0.5], r"row 1 has label 0\.5, which is neither"),
        (noise(2, 3, 3), [0, np.nan], "row 1 has label nan, which is neither"),
        (noise(2, 3, 3), [b"owl", b"ape"], r"row 0 has label b'owl', which is neither"),
        (noise(2, 3, 3), [1, 1], "has only one class"),
        (noise(0, 3, 3), np.zeros(0, int), "holds no images"),
        (noise(2, 3, 3).astype(float), [0, 1], r"train_images must be uint8 of \(N, H, W\).*, got float64 \(2, 3, 3\)"),
        (noise(2, 3), [0, 1], r"must be uint8 of .*, got uint8 \(2, 3\)"),
        (noise(2, 3, 3), np.array([0, None]), "is no .npz file, or a broken one"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_arrays_that_cannot_be(tmp_path: Path, images: Any, labels: Any, message: str) -> None:
    path = arrays(tmp_path / "a.npz", train_images=images, **({} if labels is None else {"train_labels": labels}))
    with pytest.raises(ValueError, match=message) as caught:
        open_labelled(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_broken_files_of_arrays(tmp_path: Path) -> None:
    whole = arrays(tmp_path / "whole.npz", train_images=noise(20, 9, 9), train_labels=np.arange(20)).read_bytes()
    path = tmp_path / "broken.npz"
    damaged = whole.replace(whole[300:310], b"0123456789", 1)
    array = io.BytesIO()
    np.save(array, noise(3))
    for content in (b"", b"nothing of the kind", whole[:-200], damaged, array.getvalue()):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"broken\.npz: is no \.npz file, or a broken one \(.+\)$"):
            open_labelled(path)


def test_a_folder_may_be_called_like_a_file_of_arrays(tmp_path: Path) -> None:
    root = folders(tmp_path / "a.npz", {"cat": [1], "dog": [2]})
    assert (reds(open_labelled(root)), has_split(root, "train"), has_split(root, "val")) == ([1, 2], True, False)


def grouped(path: Path, numbers: Sequence[int], rows: int) -> Path:
    """A table of images in groups of so many rows."""
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
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


def test_what_cannot_be_streamed(tmp_path: Path) -> None:
    folders(tmp_path, {"cat": [1], "dog": [2]})
    with pytest.raises(ValueError, match="only Parquet tables can be streamed"):
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
