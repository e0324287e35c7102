"""Tables for people's programs: rows as CSV, JSON Lines or Parquet."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files import replacing

Row = Mapping[str, Any]
_GROUP = 10_000  # rows that are written together


def check_table(path: Path) -> None:
    """See that a table could be written there, as far as its name says.

    Raises:
        ValueError: the name ends in something else than .csv, .jsonl or .parquet.
        IsADirectoryError: it is a folder.
    """
    if path.suffix not in _WRITERS:
        *some, last = _WRITERS
        raise ValueError(f"{path}: tables end in {', '.join(some)} or {last}")
    if path.is_dir():
        raise IsADirectoryError(f"{path}: is a folder; name the table to write")


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Row], about: Mapping[str, Any] | None = None) -> None:
    """Write rows as the ending of the name says, wholly or not at all; what a row lacks is empty.

    Args:
        path: of the table.
        columns: of it, in order.
        rows: with a value for each column, or for some.
        about: what made the table, as JSON can hold it. Parquet keeps it in the schema's metadata, each under its name with
            "bagnet." before it, texts as they are and the rest as JSON; CSV and JSON Lines have no room for it.

    Raises:
        OSError: it cannot be written.
    """
    with replacing(path) as part:
        _WRITERS[path.suffix](part, columns, map(_as_text, rows), about or {})


def columns_of(rows: Iterable[Row]) -> list[str]:
    """All columns that some rows have, in the order in which they come up."""
    return list(dict.fromkeys(column for row in rows for column in row))


def _as_text(row: Row) -> Row:
    """A row that can be written as UTF-8: bytes in names of files that are no text are spelt out."""
    return {
        key: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value for key, value in row.items()
    }


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Row], _: Mapping[str, Any]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def _write_jsonl(path: Path, columns: Sequence[str], rows: Iterable[Row], _: Mapping[str, Any]) -> None:
    """An object a line, with every column in it."""
    with path.open("w", encoding="utf-8", newline="") as file:
        for row in rows:
            record = {name: _as_json(row.get(name)) for name in columns}
            file.write(f"{json.dumps(record, ensure_ascii=False, allow_nan=False)}\n")


def _as_json(value: Any) -> Any:
    """A cell as JSON can hold it: numpy's numbers as Python's, and null for one that is not finite."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_parquet(path: Path, columns: Sequence[str], rows: Iterable[Row], about: Mapping[str, Any]) -> None:
    """In groups, so that a table of millions of rows needs no memory; a column's type is that of its values."""
    import pyarrow as arrow
    from pyarrow import parquet

    types = {"index": arrow.int32(), "logit": arrow.float32(), "probability": arrow.float32(), "label": arrow.int32()}
    fields = [(name, types.get(name.rsplit("_", 1)[0], arrow.string())) for name in columns]
    schema = arrow.schema(fields, {f"bagnet.{name}": _as_metadata(value) for name, value in about.items()})
    with parquet.ParquetWriter(path, schema) as writer:
        group: list[dict[str, Any]] = []
        for row in rows:
            group.append({name: row.get(name) for name in columns})
            if len(group) == _GROUP:
                writer.write_table(arrow.Table.from_pylist(group, schema))
                group = []
        writer.write_table(arrow.Table.from_pylist(group, schema))


def _as_metadata(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


_WRITERS: dict[str, Callable[[Path, Sequence[str], Iterable[Row], Mapping[str, Any]], None]] = {
    ".csv": _write_csv,
    ".jsonl": _write_jsonl,
    ".parquet": _write_parquet,
}
