"""Bring a published file into the cache: resumable, checked before anybody opens it."""

from __future__ import annotations

import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from hashlib import sha1, sha256
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from filelock import FileLock

from ..card import Source

CHUNK = 1 << 20
ATTEMPTS = 5
TIMEOUT = 30  # seconds without a byte

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all where known


class DownloadFailed(RuntimeError):
    """The file did not arrive; what did is kept, and the next call goes on from there."""


class WrongFile(ValueError):
    """A file is not the one that was asked for."""


def cache_folder() -> Path:
    """Where fetched weights are kept: $BAGNET_CACHE, else bagnet/ in $XDG_CACHE_HOME, else ~/.cache/bagnet."""
    if "BAGNET_CACHE" in os.environ:
        return Path(os.environ["BAGNET_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bagnet"


def cached(source: Source) -> bool:
    """Whether the file has been fetched already."""
    return _place(source).exists()


def _place(source: Source) -> Path:
    return cache_folder() / source.url.rsplit("/", 1)[-1]


def fetch(source: Source, progress: Progress | None = None) -> Path:
    """The published file, from the cache or from its address, checked either way.

    Bytes go to `<name>.part` until the whole file has passed its check. A second process waits for the first.

    Raises:
        DownloadFailed: the server cannot be reached, breaks off again and again, or sends the wrong length.
        WrongFile: the bytes are others than the published ones; they are deleted.
    """
    path = _place(source)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if path.exists():
            check(path, source)
            return path
        part = path.with_name(f"{path.name}.part")
        _download(source, part, progress or (lambda done, total: None))
        try:
            check(part, source)
        except WrongFile:
            part.unlink()
            raise
        part.replace(path)
    return path


def check(path: Path, source: Source) -> str:
    """The sha256 of a file that is the published one.

    Raises:
        WrongFile: it is another; the message has what was expected and found.
    """
    if source.size is not None and path.stat().st_size != source.size:
        raise WrongFile(f"{path}: is {path.stat().st_size:,} bytes long, the published file {source.size:,}")
    found = file_sha256(path)
    if source.sha256 is not None and not found.startswith(source.sha256):
        raise WrongFile(f"{path}: its sha256 begins {found[: len(source.sha256)]}, the published one {source.sha256}")
    if source.git_blob is not None and (blob := _git_blob(path)) != source.git_blob:
        raise WrongFile(f"{path}: its git blob id is {blob}, the published one {source.git_blob}")
    return found


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    total = sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            total.update(chunk)
    return total.hexdigest()


def _git_blob(path: Path) -> str:
    total = sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            total.update(chunk)
    return total.hexdigest()


def _download(source: Source, part: Path, progress: Progress) -> None:
    """Append to `part` until the server has sent everything, picking up where a connection broke off."""
    reason = ""
    for _ in range(ATTEMPTS):
        before = part.stat().st_size if part.exists() else 0
        try:
            if _one_connection(source, part, progress):
                return
            reason = "the connection broke off"
        except urllib.error.HTTPError as error:
            if error.code == 416:  # nothing left to send, or a part that is no beginning of this file
                if source.size == before:
                    return
                part.unlink(missing_ok=True)
            reason = f"the server answers {error.code} {error.reason}"
            if error.code in (401, 403, 404, 410):
                break
        except (HTTPException, OSError) as error:
            if isinstance(error, OSError) and error.filename is not None:
                raise  # the disk, not the network
            reason = str(getattr(error, "reason", error)) or type(error).__name__
    raise DownloadFailed(
        f"{source.url}: {reason}; {part.stat().st_size if part.exists() else 0:,} bytes are kept, run it again to go on, "
        f"or put the file at {part.with_suffix('')}"
    )


def _one_connection(source: Source, part: Path, progress: Progress) -> bool:
    """Append what one connection brings; whether that is all of it."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "bagnet", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(source.url, headers=headers)
    opened: AbstractContextManager[HTTPResponse] = urllib.request.urlopen(request, timeout=TIMEOUT)
    with opened as response:
        if response.status != 206:
            have = 0  # the server ignores ranges and sends everything again
        length = response.headers.get("Content-Length")
        total = have + int(length) if length and length.isdigit() else source.size
        if source.size is not None and total is not None and total != source.size:
            raise DownloadFailed(
                f"{source.url}: the server offers {total:,} bytes, the published file has {source.size:,}"
            )
        if total is not None and (free := shutil.disk_usage(part.parent).free) < total - have:
            raise DownloadFailed(f"{part.parent}: {free:,} bytes are free, {total - have:,} more are needed")
        with part.open("r+b" if have else "wb") as file:
            file.seek(have)
            while chunk := response.read(CHUNK):
                have += len(chunk)
                if total is not None and have > total:
                    raise DownloadFailed(f"{source.url}: the server sends more than the {total:,} bytes it promised")
                file.write(chunk)
                progress(have, total)
    return total is None or have == total
