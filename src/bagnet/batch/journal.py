"""The one resumable writer: a row per item, appended as it is known, made into a table at the end."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..files import replacing
from ..missing import needs

Row = Mapping[str, Any]
_KINDS = (".csv", ".parquet")


class OtherRun(ValueError):
    """The journal beside the output belongs to a run with other settings."""


class Journal:
    """Rows of a table that is being made, kept in `<table>.journal` until it is complete.

    Each row is one line; a line that a crash cut short is dropped when the journal is opened again, and whoever writes it
    asks `done` which items are still to do. So no row is lost or repeated, wherever the work stops.

    Args:
        table: the file to make in the end: .csv or .parquet.
        settings: what the rows depend on; a journal of another run is refused.

    Raises:
        ValueError: the table's name ends in something else.
        OtherRun: a journal is there, with other settings.
        OSError: it cannot be written.
    """

    def __init__(self, table: Path, settings: Mapping[str, Any]) -> None:
        if table.suffix not in _KINDS:
            raise ValueError(f"{table}: tables end in {' or '.join(_KINDS)}")
        if table.suffix == ".parquet":
            needs("pyarrow", "train")
        self.table = table
        self.path = table.with_name(f"{table.name}.journal")
        self.done: set[str] = set()
        head = json.dumps({"settings": settings}, sort_keys=True)
        try:
            table.parent.mkdir(parents=True, exist_ok=True)
            complete = self._complete_bytes()
            self._file = self.path.open("r+b" if complete else "wb")
        except OSError as error:
            raise OSError(f"{table}: cannot be written ({error.strerror})") from None
        self._file.truncate(complete)
        self._file.seek(complete)
        if complete:
            self._read(head)
        else:
            self._append([head])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def write(self, key: str, rows: Iterable[tuple[str, Row]]) -> None:
        """Append rows, each under the name of its item, and see them safely on the disk."""
        lines = []
        for item, row in rows:
            lines.append(json.dumps({key: item, **row}))
            self.done.add(item)
        self._append(lines)

    def finish(self, columns: Sequence[str]) -> None:
        """Make the table of all rows, with these columns, and remove the journal."""
        self._file.close()
        with replacing(self.table) as part:
            (_write_csv if self.table.suffix == ".csv" else _write_parquet)(part, columns, self.rows())
        self.path.unlink()

    def rows(self) -> Iterator[Row]:
        """All rows so far, in the order in which they came."""
        with self.path.open(encoding="utf-8") as file:
            next(file)
            for line in file:
                yield json.loads(line)

    def _append(self, lines: Sequence[str]) -> None:
        self._file.write("".join(f"{line}\n" for line in lines).encode())
        self._file.flush()
        os.fsync(self._file.fileno())

    def _complete_bytes(self) -> int:
        """How far the journal on the disk consists of complete lines."""
        if not self.path.exists():
            return 0
        return self.path.read_bytes().rfind(b"\n") + 1

    def _read(self, head: str) -> None:
        with self.path.open(encoding="utf-8") as file:
            if file.readline().rstrip("\n") != head:
                self._file.close()
                raise OtherRun(
                    f"{self.path}: is the beginning of a run with another model, other images or other settings; "
                    "delete it to start again, or choose another output"
                )
        self.done = {str(next(iter(row.values()))) for row in self.rows()}


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def _write_parquet(path: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    """In pieces, so that a table of millions of rows needs no memory; a column's type is that of its values."""
    arrow, parquet = needs("pyarrow", "train"), needs("pyarrow.parquet", "train")
    kinds = {"index": arrow.int32(), "logit": arrow.float32(), "probability": arrow.float32(), "label": arrow.int32()}
    schema = arrow.schema([(name, kinds.get(name.rsplit("_", 1)[0], arrow.string())) for name in columns])
    with parquet.ParquetWriter(path, schema) as writer:
        batch: list[dict[str, Any]] = []
        for row in rows:
            batch.append({name: row.get(name) for name in columns})
            if len(batch) == 10_000:
                writer.write_table(arrow.Table.from_pylist(batch, schema))
                batch = []
        writer.write_table(arrow.Table.from_pylist(batch, schema))
