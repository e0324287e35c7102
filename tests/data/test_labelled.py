"""A folder for each class, splits, and what is found where."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bagnet.data.labelled import has_split, open_labelled
from bagnet.data.labels import BadLabels
from bagnet.data.names import ClassName

from .images import encoded, folders, reds, words


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
    with pytest.raises(FileNotFoundError, match=r"nowhere: there is no such folder, nor a \.npz or \.csv file"):
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


def test_a_folder_may_be_called_like_a_file_of_arrays(tmp_path: Path) -> None:
    root = folders(tmp_path / "a.npz", {"cat": [1], "dog": [2]})
    assert (reds(open_labelled(root)), has_split(root, "train"), has_split(root, "val")) == ([1, 2], True, False)


def test_what_cannot_be_streamed(tmp_path: Path) -> None:
    folders(tmp_path, {"cat": [1], "dog": [2]})
    with pytest.raises(ValueError, match="only Parquet tables can be streamed"):
        open_labelled(tmp_path, stream=True)
