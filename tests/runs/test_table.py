"""Tables hold what they are given, in the order and types in which they are given it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from bagnet.runs.table import check_table, columns_of, write_table


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "new" / "table.csv"
    write_table(path, ["image", "error", "index_1"], [{"image": 'a "name",\n', "index_1": 3}, {"image": "b", "error": "broken"}])
    assert read_csv(path) == [
        {"image": 'a "name",\n', "error": "", "index_1": "3"},
        {"image": "b", "error": "broken", "index_1": ""},
    ]
    write_table(path, ["image"], [])
    assert path.read_text() == "image\n"


def test_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "table.parquet"
    rows = [{"image": "a", "index_1": 3, "probability_1": 0.5, "name_1": "tabby"}, {"image": "b", "error": "broken"}]
    write_table(path, ["image", "error", "index_1", "name_1", "probability_1"], rows)
    assert parquet.read_table(path).to_pylist() == [
        {"image": "a", "error": None, "index_1": 3, "name_1": "tabby", "probability_1": 0.5},
        {"image": "b", "error": "broken", "index_1": None, "name_1": None, "probability_1": None},
    ]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_names_that_are_no_text_are_spelt_out(tmp_path: Path, ending: str) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / f"table.{ending}"
    write_table(path, ["image"], [{"image": "b\udcffd.png"}])
    rows = read_csv(path) if ending == "csv" else parquet.read_table(path).to_pylist()
    assert [row["image"] for row in rows] == ["b\\udcffd.png"]


def test_outputs_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"end in \.csv or \.parquet"):
        check_table(tmp_path / "table.xls")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(IsADirectoryError, match=r"folder\.csv: is a folder"):
        check_table(tmp_path / "folder.csv")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot be written"):
        write_table(tmp_path / "file" / "table.csv", ["a"], [])


def test_columns_in_the_order_in_which_they_come_up() -> None:
    assert columns_of([{"b": 1}, {"a": 1, "b": 2}]) == ["b", "a"]
