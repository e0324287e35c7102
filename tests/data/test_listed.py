"""A CSV with a row an image."""

from __future__ import annotations

from pathlib import Path

import pytest

from bagnet.data.groups import groups_of, training_groups
from bagnet.data.labelled import has_split, open_labelled
from bagnet.data.labels import BadLabels

from .images import encoded, reds, words

LIST = """image,label,split,patient
a/1.png,dog,train,anna
a/2.png,cat,train,bob
b/3.png,dog,val,carl
./b/4.png,fox,train,bob
"""


def write(folder: Path, text: str) -> Path:
    for name in ("a/1", "a/2", "b/3", "b/4"):
        path = folder / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encoded(int(path.stem)))
    (folder / "list.csv").write_text(text)
    return folder / "list.csv"


def test_splits_and_classes(tmp_path: Path) -> None:
    path = write(tmp_path, LIST)
    train, val = open_labelled(path), open_labelled(path, "val")
    assert train.images.names == ["a/1.png", "a/2.png", "b/4.png"]
    assert (reds(train), train.targets.tolist()) == ([1, 2, 4], [1, 0, 2])
    assert (reds(val), val.targets.tolist()) == ([3], [1])
    assert words(train) == words(val) == ["cat", "dog", "fox"]
    assert reds(train.take([2, 0])) == [4, 1]
    assert has_split(path, "val")


def test_without_splits_all_is_train_and_numbers_are_numbers_of_classes(tmp_path: Path) -> None:
    path = write(tmp_path, f"slide,label\na/1.png,2\n{tmp_path}/b/3.png,0\n")
    images = open_labelled(path)
    assert (reds(images), images.targets.tolist()) == ([1, 3], [2, 0])
    assert words(images) == ["class 0", "class 1", "class 2"]
    assert not has_split(path, "val")
    with pytest.raises(FileNotFoundError, match="has no rows of split val or valid or validation or test"):
        open_labelled(path, "val")


def test_a_path_outside_the_folder(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    list_ = tmp_path / "a" / "inner.csv"
    list_.write_text(f"path,label\n../b/3.png,x\n{path.parent / 'b' / '4.png'},y\n")
    assert reds(open_labelled(list_)) == [3, 4]


def test_groups_are_a_column(tmp_path: Path) -> None:
    path = write(tmp_path, LIST)
    assert groups_of(path, "train", open_labelled(path), "patient") == ["anna", "bob", "bob"]
    assert training_groups(path, open_labelled(path), "patient") == ["anna", "bob", "bob"]
    with pytest.raises(BadLabels, match="has no column 'owner', but image, label, split, patient"):
        groups_of(path, "train", open_labelled(path), "owner")
    path.write_text(LIST.replace("carl", "bob"))
    with pytest.raises(BadLabels, match="have images in train and in val, 'bob' for one"):
        training_groups(path, open_labelled(path), "patient")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,grade\na/1.png,1\n", "has no column 'label', but image, grade"),
        ("name,label\na/1.png,1\n", "has no column 'image' or 'slide', but name, label"),
        ("", "has no column 'image' or 'slide', but "),
        ("image,label\na/1.png,dog\na/2.png,\n", "row 1 has no label"),
        ("image,label\na/1.png,dog\n,cat\n", "row 1 has no image"),
        ("image,label\na/1.png\n", "row 0 has no label"),
        ("image,label\na/1.png,dog\na/1.png,cat\n", "has a/1.png more than once"),
        ("image,label\na/1.png,dog\na/2.png,dog\n", "has only one class"),
        ("image,label,split\na/1.png,dog,train\na/2.png,cat,tset\n", "row 1 is of split tset, which is none of train, training"),
        ("image,label,split\na/1.png,dog,train\na/2.png,cat,\n", "row 1 has no split"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadLabels, match=message):
        open_labelled(write(tmp_path, text))


def test_no_text(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(b"\xff\xfe\x00image")
    with pytest.raises(BadLabels, match=r"list\.csv: cannot be read as CSV"):
        open_labelled(tmp_path / "list.csv")
