"""What is in a folder of images: one rule for every command that looks into one."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from heapq import heappop, heappush
from os import DirEntry
from pathlib import Path

from .decode import printable

_log = logging.getLogger(__name__)

# What archives, photo stations, operating systems and interpreters leave beside people's files; names without their case.
_LITTER = frozenset(
    {
        "__macosx",
        "__pycache__",
        "@eadir",
        "@recycle",
        "@recently-snapshot",
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "system volume information",
        "lost+found",
    }
)
_HIDDEN, _HIDDEN_INSIDE = "hidden files", "files in hidden folders or those of other programs"
_NO_FILES = "pipes or devices"
_LINKS = "links to folders that are looked into already"
_CLOSED = "folders that may not be opened"


class Walk:
    """A look into folders, which keeps count of what it leaves out.

    Files count by their ending, whatever its case, and links as what they lead to: a folder is never a file, whatever it is
    called, nor are pipes and devices. Hidden names (.ipynb_checkpoints) and folders that other programs keep for themselves
    (__MACOSX, @eaDir) are left out; the folder that is asked for may itself be called so. No folder is looked into twice.

    Args:
        endings: of the files that count, in small letters, such as ".png"; none where only folders are looked for.
    """

    def __init__(self, endings: Sequence[str] = ()) -> None:
        self.endings = tuple(endings)
        self.left_out: Counter[str] = Counter()

    def folders(self, root: Path) -> list[Path]:
        """Folders that lie directly in a folder, in order.

        Raises:
            OSError: the folder may not be opened.
        """
        around = _around(root)
        folders = [entry for entry in _entries(root) if _is_folder(entry) and not self._passes_over(entry)]
        kept = [entry for entry in folders if not (entry.is_symlink() and _identity(entry) in around)]
        self._leave_out(_LINKS, len(folders) - len(kept))
        return sorted(map(Path, kept))

    def files(self, root: Path) -> list[Path]:
        """Files that lie directly in a folder, in order. Raises as `folders`."""
        return sorted(Path(entry) for entry in _entries(root) if not _is_folder(entry) and self._counts(entry))

    def all_files(self, root: Path) -> list[Path]:
        """Files of a folder and of all folders inside it, in order. Raises as `folders`, of the folder itself."""
        seen = _around(root) - {_identity(root)}
        files: list[Path] = []
        folders, links = [root], list[Path]()
        while folders or links:
            # Links come last: where a folder is in reach without them, its files have the names that they have there.
            folder = folders.pop() if folders else heappop(links)
            for entry in self._new_entries(folder, seen, strict=folder == root):
                if not _is_folder(entry):
                    files += [Path(entry)] if self._counts(entry) else []
                elif not self._passes_over(entry):
                    heappush(links if entry.is_symlink() else folders, Path(entry))
        return sorted(files)

    def tell(self, root: Path) -> None:
        """Log what was left out, on one line; nothing where there was nothing."""
        if self.left_out:
            parts = ", ".join(f"{what} ({count:,})" for what, count in self.left_out.items())
            _log.warning("%s: left out %s", printable(str(root)), parts)

    def _new_entries(self, folder: Path, seen: set[tuple[int, int]], strict: bool) -> list[DirEntry[str]]:
        """What lies in a folder that has not been seen yet."""
        try:
            identity, entries = _identity(folder), _entries(folder)
        except OSError:
            if strict:
                raise
            self._leave_out(_CLOSED)
            return []
        if identity in seen:
            self._leave_out(_LINKS)
            return []
        seen.add(identity)
        return entries

    def _counts(self, entry: DirEntry[str]) -> bool:
        """Whether an entry that is no folder is one of the files looked for. A link to nothing is: who reads it will say so."""
        if not entry.name.lower().endswith(self.endings):
            return False
        if entry.name.startswith("."):
            self._leave_out(_HIDDEN)
            return False
        regular = _is_file(entry) or not Path(entry).exists()
        self._leave_out(_NO_FILES, int(not regular))
        return regular

    def _passes_over(self, entry: DirEntry[str]) -> bool:
        """Whether a folder is hidden or another program's; then its files are counted."""
        if not (entry.name.startswith(".") or entry.name.lower() in _LITTER):
            return False
        inside = (name for _, _, names in os.walk(entry) for name in names) if self.endings else ()
        self._leave_out(_HIDDEN_INSIDE, sum(name.lower().endswith(self.endings) for name in inside))
        return True

    def _leave_out(self, what: str, count: int = 1) -> None:
        if count:
            self.left_out[what] += count


def _entries(folder: Path) -> list[DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        raise FileNotFoundError(f"{printable(str(folder))}: there is no such folder") from None
    except OSError as error:
        raise OSError(f"{printable(str(folder))}: may not be opened ({error.strerror}); check its permissions") from None


def _is_folder(entry: DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_file(entry: DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _identity(folder: Path | DirEntry[str]) -> tuple[int, int]:
    """What a folder is, by whatever path it was reached."""
    status = Path(folder).stat()
    return status.st_dev, status.st_ino


def _around(root: Path) -> set[tuple[int, int]]:
    """Identities of a folder and of all that it lies in."""
    whole = root.resolve()
    return {_identity(folder) for folder in (whole, *whole.parents)}
