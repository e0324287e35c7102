"""The one resumable writer: a row per item, appended as it is known, made into a table at the end."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from filelock import FileLock, Timeout

from ..files import replacing
from ..missing import needs

Row = Mapping[str, Any]
_KINDS = (".csv", ".parquet")


class OtherRun(ValueError):
    """The output belongs to a run with other settings, or to one that is still at work."""


class Busy(OtherRun):
    """Another run is at work on the output."""


class Journal:
    """Rows of a table that is being made, kept in `<table>.journal` until it is complete.

    Each row is one line; a line that a crash cut short is dropped when the journal is opened again, and whoever writes it
    asks `done` which items are still to do. So no row is lost or repeated, wherever the work stops. Before there is a row
    there is no journal: what fails at the start leaves nothing behind.

    Args:
        table: the file to make in the end: .csv or .parquet.
        settings: what the rows depend on; a journal of another run is refused.
        overwrite: replace a table that is there already, once the new one is complete.

    Raises:
        ValueError: the table's name ends in something else.
        OtherRun: a journal is there, with other settings; or another run is writing it.
        OSError: it cannot be written, or the table is there already (FileExistsError).
    """

    def __init__(self, table: Path, settings: Mapping[str, Any], overwrite: bool = False) -> None:
        if table.suffix not in _KINDS:
            raise ValueError(f"{table}: tables end in {' or '.join(_KINDS)}")
        if table.suffix == ".parquet":
            needs("pyarrow", "train")
        self.table = table
        self.path = table.with_name(f"{table.name}.journal")
        if table.is_dir():
            raise IsADirectoryError(f"{table}: is a folder; name the table to write")
        self.done: set[str] = set()
        self._head = json.dumps({"settings": settings}, sort_keys=True)
        self._file: BinaryIO | None = None
        with ExitStack() as opened:
            opened.enter_context(alone(table))
            opened.callback(self._close)
            try:
                complete = self._complete_bytes()
                if not complete and table.exists() and not overwrite:
                    raise FileExistsError(f"{table}: is there already; choose another output, or replace it (--overwrite)")
                if complete:
                    self._check_head()
                    self._open(complete)
                    self.done = {str(next(iter(row.values()))) for row in self.rows()}
            except OSError as error:
                if error.strerror is None:  # our own
                    raise
                raise OSError(f"{table}: cannot be written ({error.strerror})") from None
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._opened.close()

    def write(self, key: str, rows: Iterable[tuple[str, Row]]) -> None:
        """Append rows, each under the name of its item, and see them safely on the disk."""
        lines = []
        for item, row in rows:
            lines.append(json.dumps({key: item, **row}))
            self.done.add(item)
        if lines:
            self._append(lines)

    def finish(self, columns: Sequence[str], keep: bool = False) -> None:
        """Make the table of all rows, with these columns, and remove the journal, unless its owner is to do that."""
        self._close()
        with replacing(self.table) as part:
            (_write_csv if self.table.suffix == ".csv" else _write_parquet)(part, columns, map(_as_text, self.rows()))
        if not keep:
            self.path.unlink(missing_ok=True)

    def rows(self) -> Iterator[Row]:
        """All rows so far, in the order in which they came."""
        if not self.path.exists():
            return
        with self.path.open(encoding="utf-8") as file:
            next(file, None)
            for line in file:
                yield json.loads(line)

    def _append(self, lines: Sequence[str]) -> None:
        if self._file is None:
            lines = [self._head, *lines]
        file = self._file or self._open(0)
        file.write("".join(f"{line}\n" for line in lines).encode())
        file.flush()
        os.fsync(file.fileno())

    def _open(self, complete: int) -> BinaryIO:
        """Go on after so many bytes."""
        self._file = self.path.open("r+b" if complete else "wb")
        self._file.truncate(complete)
        self._file.seek(complete)
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _complete_bytes(self) -> int:
        """How far the journal on the disk consists of complete lines."""
        if not self.path.exists():
            return 0
        return self.path.read_bytes().rfind(b"\n") + 1

    def _check_head(self) -> None:
        with self.path.open(encoding="utf-8") as file:
            if file.readline().rstrip("\n") != self._head:
                raise OtherRun(
                    f"{self.path}: is the beginning of a run with another model, other images or other settings; "
                    "delete it to start again, or choose another output"
                )


@contextmanager
def alone(target: Path) -> Iterator[None]:
    """Inside, no other run writes to a file or folder; a folder for it is made where there is none.

    Raises:
        Busy: one does.
        OSError: the folder cannot be written.
    """
    path = target.with_name(f".{target.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=0)
        lock.acquire()
    except Timeout:
        raise Busy(f"{target}: another run is writing it; wait for its end, or choose another output") from None
    except OSError as error:
        raise OSError(f"{target}: cannot be written ({error.strerror})") from None
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no file that is open
            path.unlink()
        lock.release()


def _as_text(row: Row) -> Row:
    """A row that can be written as UTF-8: bytes in names of files that are no text are spelt out."""
    return {
        key: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value for key, value in row.items()
    }


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
