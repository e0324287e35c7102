"""Write a file wholly or not at all, under a name that any system takes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENAMETOOLONG
from hashlib import sha256
from pathlib import Path

LONGEST = 255  # bytes of a file's name


class NotWritten(OSError):
    """A file cannot be written. The message names it, and the reason."""


def missing_hint(path: str) -> str:
    """What may be wrong with a path where there is nothing: an address, or a home folder that no shell has put in."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", path):  # paths have lost one of the two slashes; a drive has one letter
        return "an address is not fetched: download it first"
    if path.startswith("~"):
        return "~ is no folder here: write it out"
    return "check the path"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; on success it takes the place of `path`, on failure it is removed.

    Readers see the old file or the new one, never half of it, and a full disk costs nothing that was there. The folder is made
    where there is none.

    Raises:
        NotWritten: the file cannot be written.
    """
    part = beside(path, "part")
    try:
        with naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield part
            part.replace(path)
    except BaseException:
        if part.parent.is_dir():
            part.unlink(missing_ok=True)
        raise


def beside(path: Path, ending: str) -> Path:
    """A hidden name that belongs to that of a file or folder, and lies beside it."""
    name = f".{path.name}.{ending}"
    if len(os.fsencode(name)) > LONGEST:
        name = f".{sha256(os.fsencode(path.name)).hexdigest()}.{ending}"
    return path.with_name(name)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """What goes wrong inside with the disk is raised as an error that names a file, whichever name was written to.

    Raises:
        NotWritten: the file cannot be written.
    """
    try:
        yield
    except NotWritten:
        raise
    except OSError as error:
        longer = f"; names have at most {LONGEST} bytes" if error.errno == ENAMETOOLONG else ""
        raise NotWritten(f"{path}: cannot be written ({error.strerror or error}){longer}") from None


def fitting_name(stem: str, ending: str) -> str:
    """A stem with an ending, as a file may be called: of a very long stem the end is left out."""
    while stem and len(os.fsencode(f"{stem}{ending}")) > LONGEST:
        stem = stem[:-1]
    return f"{stem}{ending}"


def file_stem(name: str) -> str:
    """The name of a model as that of a file, without an ending: anything but letters, digits and .+- becomes a line."""
    return re.sub(r"[^\w.+-]+", "_", name).strip("._") or "model"
