"""The same rows as CSV, JSON Lines and Parquet: numbers stay numbers, what is lacking is empty, names are text."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from bagnet.runs.table import check_table, columns_of, write_table

COLUMNS = ["image", "error", "index_1", "name_1", "probability_1"]
ROWS = [
    {"image": "a\udcff.png", "index_1": 3, "name_1": 'tiger "cat",\nstriped', "probability_1": 0.25, "unknown": 1},
    {"image": "ü.png", "error": "ü.png: not an image"},
    {"image": "b.png", "index_1": np.int64(4), "name_1": "5", "probability_1": np.float32(0.5)},
]
EXPECTED: list[dict[str, Any]] = [
    {"image": "a\\udcff.png", "error": None, "index_1": 3, "name_1": 'tiger "cat",\nstriped', "probability_1": 0.25},
    {"image": "ü.png", "error": "ü.png: not an image", "index_1": None, "name_1": None, "probability_1": None},
    {"image": "b.png", "error": None, "index_1": 4, "name_1": "5", "probability_1": 0.5},
]


def test_csv(tmp_path: Path) -> None:
    write_table(tmp_path / "t.csv", COLUMNS, ROWS)
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows == [{name: "" if value is None else str(value) for name, value in row.items()} for row in EXPECTED]


def test_json_lines(tmp_path: Path) -> None:
    write_table(tmp_path / "t.jsonl", COLUMNS, ROWS)
    content = (tmp_path / "t.jsonl").read_bytes()
    assert content.endswith(b"}\n")
    lines = content.decode().splitlines()
    rows = [json.loads(line) for line in lines]
    assert rows == EXPECTED
    assert [list(row) for row in rows] == [COLUMNS] * 3
    assert "ü.png" in lines[1], "as it is read, not as an escape"
    assert [type(value) for value in rows[2].values()] == [str, type(None), int, str, float]


def test_numbers_that_json_has_not(tmp_path: Path) -> None:
    write_table(tmp_path / "t.jsonl", ["a", "b", "c"], [{"a": float("nan"), "b": np.float32("inf"), "c": 1e-30}])
    assert (tmp_path / "t.jsonl").read_text() == '{"a": null, "b": null, "c": 1e-30}\n'


def test_parquet(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", COLUMNS, ROWS)
    table = parquet.read_table(tmp_path / "t.parquet")
    assert table.to_pylist() == EXPECTED
    assert [str(kind) for kind in table.schema.types] == ["string", "string", "int32", "string", "float"]


def test_what_made_a_table_is_in_the_schema_of_parquet(tmp_path: Path) -> None:
    about = {"model": "bagnet17.test", "settings": {"top": 5, "weights": "a" * 64, "maps": None}}
    for ending in ("parquet", "csv", "jsonl"):
        write_table(tmp_path / f"t.{ending}", COLUMNS, ROWS, about)
    metadata = parquet.read_schema(tmp_path / "t.parquet").metadata
    assert metadata[b"bagnet.model"] == b"bagnet17.test"
    assert json.loads(metadata[b"bagnet.settings"]) == about["settings"]
    write_table(tmp_path / "u.csv", COLUMNS, ROWS)
    assert (tmp_path / "t.csv").read_bytes() == (tmp_path / "u.csv").read_bytes()


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_table_is_there_wholly_or_not_at_all(tmp_path: Path, ending: str) -> None:
    def rows() -> Any:
        yield ROWS[0]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_table(tmp_path / f"t.{ending}", COLUMNS, rows())
    assert list(tmp_path.iterdir()) == []
    write_table(tmp_path / "new" / f"t.{ending}", COLUMNS, [])
    assert (tmp_path / "new" / f"t.{ending}").exists(), "a table may be empty"


def test_outputs_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"t\.xlsx: tables end in \.csv, \.jsonl or \.parquet"):
        check_table(tmp_path / "t.xlsx")
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(IsADirectoryError, match="name the table to write"):
        check_table(tmp_path / "folder.jsonl")
    check_table(tmp_path / "t.jsonl")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot be written"):
        write_table(tmp_path / "file" / "t.csv", ["a"], [])


def test_columns_come_in_the_order_in_which_they_turn_up() -> None:
    assert columns_of([{"b": 1}, {"a": 1, "b": 2}, {"c": 3}]) == ["b", "a", "c"]
