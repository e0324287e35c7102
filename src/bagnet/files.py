"""Write a file wholly or not at all, under a name that any system takes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; on success it takes the place of `path`, on failure it is removed.

    Readers see the old file or the new one, never half of it, and a full disk costs nothing that was there. The folder is made
    where there is none.

    Raises:
        OSError: the file cannot be written; the message names it.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(path)
    except BaseException as error:
        if part.parent.is_dir():
            part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(f"{path}: cannot be written ({error.strerror or error})") from None
        raise


def file_stem(name: str) -> str:
    """The name of a model as that of a file, without an ending: anything but letters, digits and .+- becomes a line."""
    return re.sub(r"[^\w.+-]+", "_", name).strip("._") or "model"
