"""Folders, tables and lists of images give the same pictures under names of their own."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import pytest
from PIL import Image

from bagnet.data.decode import BadImage
from bagnet.data.sources import ImageFiles, ParquetImages, open_images

arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


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
        with pytest.raises(BadImage, match=f"row {row}"):
            images.photo(row)
    assert red(images, 2) == 1  # type: ignore[arg-type]


def test_what_is_no_source(tmp_path: Path) -> None:
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
