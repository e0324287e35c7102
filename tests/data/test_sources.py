"""Folders, tables and lists of images give the same pictures under names of their own."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path

import numpy as np
import pyarrow as arrow
import pytest
from PIL import Image
from pyarrow import parquet

from bagnet.data.decode import BadImage
from bagnet.data.sources import ImageFiles, ParquetImages, listed_paths, open_images


def encoded(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (5, 4), (number, 0, 255 - number)).save(file, "PNG")
    return file.getvalue()


def red(images: ImageFiles | ParquetImages, row: int) -> int:
    value = images.photo(row).image.getpixel((0, 0))
    assert isinstance(value, tuple)
    return int(value[0])


def table(path: Path, numbers: list[int], plain: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [encoded(number) if plain else {"bytes": encoded(number), "path": None} for number in numbers]
    parquet.write_table(arrow.table({"image": rows, "label": numbers}), path, row_group_size=3)
    return path


@pytest.mark.parametrize("plain", [False, True])
def test_a_table(tmp_path: Path, plain: bool) -> None:
    images = open_images(table(tmp_path / "val.parquet", list(range(7)), plain))
    assert isinstance(images, ParquetImages)
    assert images.names == [f"val.parquet:{row}" for row in range(7)]
    assert [red(images, row) for row in (6, 0, 3, 2, 5)] == [6, 0, 3, 2, 5]
    again = pickle.loads(pickle.dumps(images))
    assert red(again, 4) == 4


def test_a_table_of_capitals(tmp_path: Path) -> None:
    table(tmp_path / "VAL.PARQUET", [3])
    assert open_images(tmp_path / "VAL.PARQUET").names == ["VAL.PARQUET:0"]
    assert open_images(tmp_path).names == ["VAL.PARQUET:0"]


def test_a_folder_of_tables(tmp_path: Path) -> None:
    table(tmp_path / "set" / "a" / "train-0.parquet", [1, 2, 3, 4])
    table(tmp_path / "set" / "train-1.parquet", [5])
    images = open_images(tmp_path / "set")
    assert isinstance(images, ParquetImages)
    assert images.names == [*(f"a/train-0.parquet:{row}" for row in range(4)), "train-1.parquet:0"]
    assert [red(images, row) for row in range(5)] == [1, 2, 3, 4, 5]


def test_a_folder_of_files(tmp_path: Path) -> None:
    for name in ("b.png", "a/c.PNG", ".hidden.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(encoded(9))
    images = open_images(tmp_path)
    assert isinstance(images, ImageFiles)
    assert images.names == ["a/c.PNG", "b.png"]
    assert red(images, 1) == 9
    assert open_images([tmp_path / "b.png"]).names == [str(tmp_path / "b.png")]


def test_a_row_that_holds_no_image(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    parquet.write_table(arrow.table({"image": [{"bytes": b"no image"}, {"bytes": None}, {"bytes": encoded(1)}]}), path)
    images = open_images(path)
    for row in (0, 1):
        with pytest.raises(BadImage, match=f"t.parquet:{row}: "):
            images.photo(row)
    assert red(images, 2) == 1  # type: ignore[arg-type]


def test_a_bad_row_of_several_tables_is_named_as_in_the_collection(tmp_path: Path) -> None:
    for title in ("a", "b"):
        path = tmp_path / "set" / f"{title}.parquet"
        path.parent.mkdir(exist_ok=True)
        parquet.write_table(arrow.table({"image": [{"bytes": b"no"}] * 5}), path, row_group_size=2)
    images = open_images(tmp_path / "set")
    for row, name in enumerate(images.names):
        with pytest.raises(BadImage, match=f"^{name}: "):
            images.photo(row)


@pytest.mark.parametrize("kind", ["files", "tables"])
def test_a_fingerprint_is_of_these_files_as_they_are(tmp_path: Path, kind: str) -> None:
    def fill(title: str) -> Path:
        folder = tmp_path / title
        if kind == "tables":
            return table(folder / "t.parquet", [1, 2, 3])
        folder.mkdir()
        (folder / "1.png").write_bytes(encoded(1))
        return folder

    first, second = fill("a"), fill("b")
    assert open_images(first).names == open_images(second).names
    before = open_images(first).fingerprint
    assert before == open_images(first).fingerprint == open_images(os.path.relpath(first)).fingerprint
    assert before != open_images(second).fingerprint
    file = first / "1.png" if kind == "files" else first
    os.utime(file, ns=(0, 1))
    later = open_images(first).fingerprint
    assert later != before
    if kind == "files":
        file.write_bytes(encoded(1) + b" ")
        os.utime(file, ns=(0, 1))
        assert open_images(first).fingerprint != later


def test_a_fingerprint_of_what_is_not_there(tmp_path: Path) -> None:
    for name in ("nowhere.png", "a\0b.png", "\udcff.png"):
        assert open_images([tmp_path / name]).fingerprint
        assert open_images([name]).fingerprint


@pytest.mark.parametrize(
    ("content", "paths"),
    [
        (b"a.png\nphotos/b c.png\n", ["a.png", "photos/b c.png"]),
        (b"\xef\xbb\xbfa.png\r\n\r\nb.png", ["a.png", "b.png"]),  # as Windows writes lists
        (b"a\nb.png\0 c.png\0", ["a\nb.png", " c.png"]),  # as find -print0 does
        (b"\xff.png\n", [os.fsdecode(b"\xff.png")]),
        (b"\n \n", []),
    ],
)
def test_lists_of_paths(content: bytes, paths: list[str]) -> None:
    assert listed_paths(content) == [Path(path) for path in paths]


@pytest.mark.parametrize("name", ["list.txt", "LIST.LST"])
def test_a_list_is_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "photos").mkdir()
    for number in (1, 2):
        (tmp_path / "photos" / f"{number}.png").write_bytes(encoded(number))
    (tmp_path / "photos" / name).write_text("photos/2.png\nphotos/1.png\n")
    monkeypatch.chdir(tmp_path)
    images = open_images(Path("photos") / name)
    assert images.names == ["photos/2.png", "photos/1.png"], "relative to the current folder"
    assert [red(images, row) for row in (0, 1)] == [2, 1]  # type: ignore[arg-type]
    assert images.fingerprint == open_images(["photos/2.png", "photos/1.png"]).fingerprint


def test_lists_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"list\.txt is empty: give at least one image"):
        open_images(tmp_path / "list.txt")
    with pytest.raises(ValueError, match=r"the list of image files has a\.png more than once"):
        open_images(["a.png", "b.png", "./a.png"])


def test_what_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the list of image files is empty"):
        open_images([])
    with pytest.raises(FileNotFoundError, match="there is no such file or folder"):
        open_images(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds no images"):
        open_images(tmp_path)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ValueError, match=r"broken\.parquet: is no Parquet table"):
        open_images(tmp_path)
    parquet.write_table(arrow.table({"picture": [1], "label": [0]}), tmp_path / "broken.parquet")
    with pytest.raises(ValueError, match="has no column 'image', but picture, label"):
        open_images(tmp_path)
    parquet.write_table(arrow.table({"image": arrow.array([], arrow.binary())}), tmp_path / "broken.parquet")
    with pytest.raises(ValueError, match="has no rows"):
        open_images(tmp_path)
    (tmp_path / "a.png").write_bytes(encoded(1))
    with pytest.raises(ValueError, match="holds images and tables"):
        open_images(tmp_path)


def test_pixels_are_those_of_the_picture(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    Image.fromarray(noise[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(np.dstack([noise, np.zeros((4, 6), np.uint8)])).save(tmp_path / "clear.png")
    images = open_images([tmp_path / name for name in ("a.png", "grey.png", "clear.png")])
    assert np.array_equal(images.pixels(0, 3), noise)
    grey = images.pixels(0, 1)
    assert grey.shape == (4, 6, 1)
    assert grey.dtype == np.uint8
    assert np.array_equal(grey[..., 0], np.asarray(Image.fromarray(noise).convert("L")))
    assert np.array_equal(images.pixels(1, 1)[..., 0], noise[..., 0])
    assert np.array_equal(images.pixels(1, 3), noise[..., :1].repeat(3, 2))
    assert (images.pixels(2, 3) == 255).all()  # over white
    again = images.pixels(0, 3)
    again[:] = 0  # it is the caller's own
    assert np.array_equal(images.pixels(0, 3), noise)


def test_pixels_of_a_table_are_those_of_its_pictures(tmp_path: Path) -> None:
    images = open_images(table(tmp_path / "val.parquet", [40, 50]))
    assert images.pixels(1, 3).tolist() == [[[50, 0, 205]] * 5] * 4
    assert images.pixels(1, 1).shape == (4, 5, 1)


def test_pixels_that_cannot_be_had(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(1))
    images = open_images([tmp_path / "a.png", tmp_path / "nowhere.png"])
    for channels in (0, 2, 4, 5):
        with pytest.raises(BadImage, match=rf"a picture has no {channels} channels: keep such images as arrays, in a \.npz file"):
            images.pixels(0, channels)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        images.pixels(1, 3)
