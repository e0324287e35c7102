"""Labelled images as arrays in a .npz file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bagnet.data.decode import BadImage
from bagnet.data.labelled import has_split, open_labelled

from .images import words


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
    second = arrays(tmp_path / "b.npz", test_images=noise(2, 3, 3), test_labels=np.array([0.0, 1.0]))
    assert open_labelled(second, "val").targets.tolist() == [0, 1]
    assert not has_split(second, "train")
    with pytest.raises(FileNotFoundError, match=r"b\.npz: has no train_images"):
        open_labelled(second)


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
