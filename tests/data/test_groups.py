"""What images belong to, from a CSV beside the folder or a column of their table."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bagnet.data.groups import check_apart, groups_of, training_groups
from bagnet.data.labelled import open_labelled
from bagnet.data.labels import BadLabels


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of two images, each in train and in val."""
    for split in ("train", "val"):
        for label in ("cat", "dog"):
            folder = tmp_path / "data" / split / label
            folder.mkdir(parents=True)
            for number in (1, 2):
                Image.new("RGB", (4, 4)).save(folder / f"{split}-{label}{number}.png")
    return tmp_path / "data"


def write(path: Path, *lines: str) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))


def groups(root: Path, column: str = "owner", split: str = "train") -> list[str]:
    return groups_of(root, split, open_labelled(root, split), column)


ROWS = [f"{split}-{label}{number}" for split in ("train", "val") for label in ("cat", "dog") for number in (1, 2)]


@pytest.mark.parametrize("place", ["data/owners.csv", "data.csv"])
@pytest.mark.parametrize("form", ["{name}", "{name}.png", "{folder}/{name}.png"])
def test_a_csv_inside_or_beside_the_folder_names_images_in_any_way(root: Path, place: str, form: str) -> None:
    images = [form.format(name=row, folder=row.split("-")[1][:3]) for row in ROWS]
    rows = [f"{2000 + number},{image},p{number % 4}" for number, image in enumerate(images)]
    write(root.parent / place, "year,picture,owner", *rows)
    assert groups(root) == ["p0", "p1", "p2", "p3"]


def test_a_column_of_the_tables(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG")
    table = {"image": [{"bytes": file.getvalue(), "path": None}] * 3, "label": ["a", "b", "a"], "patient": [7, 7, 9]}
    parquet.write_table(arrow.table(table), tmp_path / "train.parquet")
    assert groups(tmp_path, "patient") == ["7", "7", "9"]
    with pytest.raises(BadLabels, match=r"train.parquet: has no column 'person', but image, label, patient"):
        groups(tmp_path, "person")


def test_none_where_no_column_is_named(root: Path) -> None:
    assert training_groups(root, open_labelled(root), "") is None


def test_a_group_on_both_sides_is_refused(root: Path) -> None:
    write(root / "owners.csv", "image,owner", *(f"{row},p{number % 3}" for number, row in enumerate(ROWS)))
    with pytest.raises(BadLabels, match=r"3 of the owner values have images in train and in val, 'p0' for one"):
        training_groups(root, open_labelled(root), "owner")
    check_apart(["a", "b"], ["c"], "owner")


def test_what_a_csv_does_not_say(root: Path) -> None:
    with pytest.raises(BadLabels, match=r"in a column 'owner', and no CSV lies in it or beside it \(data.csv\)"):
        groups(root)
    write(root / "owners.csv", "image,keeper", *(f"{row},p" for row in ROWS))
    with pytest.raises(BadLabels, match=r"no CSV says .* in a column 'owner'; owners.csv has image, keeper"):
        groups(root)
    write(root / "owners.csv", "image,owner", *(f"{row},p" for row in ROWS[1:]))
    with pytest.raises(BadLabels, match=r"owners.csv: no column names all 4 images, cat/train-cat1.png for one"):
        groups(root)
    write(root / "owners.csv", "image,owner", f"{ROWS[0]},", *(f"{row},p" for row in ROWS[1:]))
    with pytest.raises(BadLabels, match=r"cat/train-cat1.png: has nothing in column 'owner'"):
        groups(root)


def test_a_broken_csv(root: Path) -> None:
    (root / "owners.csv").write_bytes(np.arange(256, dtype=np.uint8).tobytes())
    with pytest.raises(BadLabels, match=r"owners.csv: cannot be read as CSV"):
        groups(root)
