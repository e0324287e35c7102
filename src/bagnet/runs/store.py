"""The one store for work that can be interrupted: a folder that one run owns, with its settings, rows and arrays.

Whoever calls `claim` again with the same settings goes on where the work stopped; with other settings it is refused, or
begins anew where that is asked for. Nothing is written, and nothing that lies there is touched, before there is something to
keep: what fails at the start leaves everything as it was.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from socket import gethostname
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from ..data.decode import printable
from ..files import beside, naming, replacing
from .table import Row

MANIFEST = "run.json"
FINISHED = "finished"  # by which name whoever `keep`s something says that nothing is left to do
_BLOCK = 1 << 20  # values that are written at a time
_LONGEST_VALUE = 60  # letters of a setting that a message repeats


class OtherRun(ValueError):
    """The output belongs to a run with other settings, or to one that is still at work."""


class Busy(OtherRun):
    """Another run is at work on the output. The message says which."""


@contextmanager
def claim(
    folder: Path, settings: Mapping[str, Any], *, overwrite: bool | None = False, free: Collection[str] = ()
) -> Iterator[Store]:
    """Inside, a folder is this run's alone, with what it holds already of the same settings.

    Args:
        folder: for what the run keeps, and nothing else.
        settings: what everything kept depends on, as JSON can hold it.
        overwrite: begin anew where the folder holds another run, as soon as there is something to keep; None where that is not
            on offer.
        free: settings ("recipe.epochs") that may differ from those the run began with.

    Raises:
        OtherRun: the folder holds a run with other settings; the message names them.
        Busy: another run is at work on it.
        OSError: the folder cannot be written.
    """
    with alone(folder), ExitStack() as opened:
        held = None if overwrite and not _readable(folder) else held_settings(folder)
        wanted = json.loads(json.dumps(settings))
        changes = [] if held is None else differences(held, wanted, free)
        if changes and not overwrite:
            remedy = "choose another output" + ("" if overwrite is None else ", or replace it (--overwrite)")
            raise OtherRun(f"{folder}: holds a run with {', '.join(changes)}; {remedy}")
        yield Store(folder, wanted, resumed=held is not None and not changes, opened=opened)


class Store:
    """What one run keeps in its folder. Made by `claim`.

    Args:
        folder: of the run.
        settings: of the run.
        resumed: whether the folder holds something of it already.
        opened: closes its files.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, resumed: bool, opened: ExitStack) -> None:
        self.folder, self.settings, self.resumed = folder, settings, resumed
        self._opened, self._begun = opened, resumed

    def begin(self) -> None:
        """Make the folder hold this run, and nothing of another one. Everything that keeps something does so first."""
        if self._begun:
            return
        if (self.folder / MANIFEST).exists():
            shutil.rmtree(self.folder)
        with naming(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        self._write_manifest()
        self._begun = True

    def adopt_settings(self) -> None:
        """Where some settings were free to differ: from now on those of this call are the run's."""
        if self._begun:
            self._write_manifest()

    def _write_manifest(self) -> None:
        with replacing(self.folder / MANIFEST) as part:
            part.write_text(json.dumps({"settings": self.settings}, indent=1), encoding="utf-8")

    def rows(self, name: str) -> Rows:
        """Rows that are appended one by one, kept under a name. To be opened once."""
        rows = Rows(self.folder / f"{name}.jsonl", self.begin, resumed=self.resumed)
        self._opened.callback(rows.close)
        return rows

    def array(self, name: str, shape: tuple[int, ...], dtype: Any, fill: Any = 0) -> np.memmap[Any, Any]:
        """An array on the disk, kept under a name; what is written to it lasts after its `flush`.

        To be asked for before the rows that say what it holds: where a resumed run's array is gone, everything is begun anew.
        """
        path = self.folder / f"{name}.npy"
        if self.resumed and not path.exists() and any(self.folder.glob("*.jsonl")):
            shutil.rmtree(self.folder)
            self.resumed = self._begun = False
        self.begin()
        if not path.exists():
            with replacing(path) as part:
                array = np.lib.format.open_memmap(part, "w+", dtype, shape)
                begin, size = array.offset, array.size
                del array
                with part.open("r+b") as file:
                    if hasattr(os, "posix_fallocate"):  # a disk too full is an error now, and would be a deadly signal later
                        os.posix_fallocate(file.fileno(), 0, part.stat().st_size)
                    if fill != 0:  # written, not mapped: what is mapped counts as memory
                        file.seek(begin)
                        for first in range(0, size, _BLOCK):
                            file.write(np.full(min(_BLOCK, size - first), fill, dtype).tobytes())
        opened: np.memmap[Any, Any] = np.load(path, mmap_mode="r+")
        return opened

    def keep(self, name: str, **arrays: Any) -> None:
        """Replace some small arrays, kept under a name together."""
        self.begin()
        with replacing(self.folder / f"{name}.npz") as part, part.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    def kept(self, name: str) -> dict[str, NDArray[Any]] | None:
        """What `keep` wrote; None where it has not been called in this run."""
        path = self.folder / f"{name}.npz"
        if not self.resumed or not path.exists():
            return None
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)

    def discard(self) -> None:
        """Remove all that is kept: the work is done, or worth nothing."""
        self._opened.close()
        if self._begun:
            shutil.rmtree(self.folder)
        self.resumed = self._begun = False


class Rows:
    """Rows of a run, a line of JSON each, under a key of their own: none is lost or repeated, wherever the work stops.

    A line that a crash left incomplete is dropped when the rows are opened again, and whoever appends them asks `done` which are
    still to do.

    Args:
        path: of the file.
        begin: called before the first row is written.
        resumed: whether rows that the file holds are of this run.
    """

    def __init__(self, path: Path, begin: Any, *, resumed: bool) -> None:
        self.path, self._begin = path, begin
        self._file: BinaryIO | None = None
        self._offsets: dict[str, int] = {}
        self._end = 0
        if resumed and path.exists():
            self._index()

    @property
    def done(self) -> Collection[str]:
        """Keys of the rows that are kept."""
        return self._offsets.keys()

    def append(self, rows: Iterable[tuple[str, Row]]) -> None:
        """Add rows, each under its key, and see them safely on the disk."""
        lines, end, offsets = [], self._end, {}
        for key, row in rows:
            lines.append(f"{json.dumps({'key': key, **row})}\n".encode())
            offsets[key] = end
            end += len(lines[-1])
        if not lines:
            return
        with naming(self.path):
            file = self._file or self._open()
            file.write(b"".join(lines))
            file.flush()
            os.fsync(file.fileno())
        self._offsets |= offsets
        self._end = end

    def __iter__(self) -> Iterator[tuple[str, Row]]:
        """(key, row) of all, in the order in which they came."""
        return self.of(list(self._offsets))

    def of(self, keys: Iterable[str]) -> Iterator[tuple[str, Row]]:
        """(key, row) of some keys that are kept, in their order."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for key in keys:
                file.seek(self._offsets[key])
                row = json.loads(file.readline())
                del row["key"]
                yield key, row

    def close(self) -> None:
        """No more rows."""
        if self._file is not None:
            with suppress(OSError):  # what could not be written has been said
                self._file.close()
            self._file = None

    def _index(self) -> None:
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._offsets[str(json.loads(line)["key"])] = self._end
                self._end += len(line)

    def _open(self) -> BinaryIO:
        """Go on after the last complete row."""
        self._begin()
        self._file = self.path.open("r+b" if self.path.exists() else "wb")
        self._file.truncate(self._end)
        self._file.seek(self._end)
        return self._file


@contextmanager
def alone(target: Path) -> Iterator[None]:
    """Inside, no other run writes to a file or folder. Folders made for that are taken away where they stay empty.

    The system itself gives the lock free when the process that holds it ends, whatever ends it: a file that a killed run left
    behind locks nothing.

    Raises:
        Busy: one does; the message says who.
        OSError: the lock, which lies beside the target, cannot be made.
    """
    whole = target.resolve()  # by whatever path it was reached, it is one folder with one lock
    path = beside(whole, "lock")
    made = [folder for folder in path.parents if not folder.exists()]
    holder = _holder(path)  # before there is an attempt, as older versions of filelock empty the file in theirs
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=0)
        lock.acquire()
    except Timeout:
        if not path.exists():  # no lock, so nobody holds it: a place where no file can be made, as filelock sees it
            raise OSError(_no_lock(target, path.parent, OSError("no file can be made there"))) from None
        raise Busy(f"{target}: another run is writing it{holder}; wait for its end, or choose another output") from None
    except (OSError, NotImplementedError) as error:
        raise OSError(_no_lock(target, path.parent, error)) from None
    try:
        with suppress(OSError):  # on a full disk nobody learns who holds it
            path.write_text(f"process {os.getpid()} on {gethostname()} since {datetime.now():%Y-%m-%d %H:%M}")
        yield
    finally:
        with suppress(OSError):  # Windows removes no file that is open
            path.unlink()
        lock.release()
        with suppress(OSError):  # not empty
            for folder in made:
                folder.rmdir()


def _holder(path: Path) -> str:
    """Who holds a lock, as its file says, in brackets; nothing where it says nothing."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
    return f" ({printable(text)})" if text else ""


def _no_lock(target: Path, folder: Path, error: Exception) -> str:
    """Why no lock could be made, and what to do."""
    reason = getattr(error, "strerror", None) or str(error)
    if target.is_dir() and os.access(target, os.W_OK):
        return f"{folder}: cannot be written ({reason}), and the lock of {target.name} has to lie there; name a folder inside it"
    return f"{target}: cannot be written ({reason}); choose another output"


def held_settings(folder: Path) -> dict[str, Any] | None:
    """The settings of the run that a folder holds; None where it holds none.

    Raises:
        ValueError: it does not say any more what run it holds.
    """
    path = folder / MANIFEST
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["settings"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(f"{path}: does not say any more what run this is; choose another folder, or delete this one") from None


def _readable(folder: Path) -> bool:
    try:
        held_settings(folder)
    except ValueError:
        return False
    return True


def differences(held: Mapping[str, Any], wanted: Mapping[str, Any], free: Collection[str] = ()) -> list[str]:
    """What is different, in words: "epochs 3 instead of 4", or "other weights" where a value says nothing to people."""
    before, after = _flat(held), _flat(wanted)
    names = [name for name in {**before, **after} if before.get(name) != after.get(name) and name not in free]
    return [_difference(name, before.get(name), after.get(name)) for name in names]


def _difference(name: str, before: Any, after: Any) -> str:
    word = name.rsplit(".", 1)[-1]
    if any(len(str(value)) > _LONGEST_VALUE for value in (before, after)):
        return f"other {word}"
    return f"{word} {before!r} instead of {after!r}"


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings inside settings under names such as "recipe.epochs"."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
