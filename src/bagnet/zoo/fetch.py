"""Bring a published file into the cache: resumable, checked before anybody opens it."""

from __future__ import annotations

import os
import shutil
import time
import urllib.error
import urllib.request
from contextlib import AbstractContextManager
from hashlib import sha1, sha256
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from filelock import FileLock

from ..card import Source
from ..progress import Listener, Progress, unheard

CHUNK = 1 << 20
ATTEMPTS = 5
TIMEOUT = 30  # seconds without a byte
PAUSE = 0.5  # seconds before a server that says it is busy is asked again; twice as long each time
LIMIT = 1 << 30  # bytes after which a file whose size nobody stated is taken for an endless one
_BUSY = (429, 500, 502, 503, 504)


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


def fetch(source: Source, progress: Listener = unheard) -> Path:
    """The published file, from the cache or from its address, checked either way.

    Bytes go to `<name>.part` until the whole file has passed its check. A second process waits for the first.

    Raises:
        DownloadFailed: the server cannot be reached, breaks off again and again, or sends the wrong length.
        WrongFile: the bytes are others than the published ones. What was fetched is deleted; a file that lay in the cache is
            left alone, since somebody may have put it there by hand.
        OSError: the cache cannot be written.
    """
    path = _place(source)
    if not path.exists():  # a whole file needs no lock: it got there by one rename, and the cache may be read-only
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(
                f"{path.parent}: cannot be made ({error.strerror}); name another folder for the cache in $BAGNET_CACHE"
            ) from None
        with FileLock(f"{path}.lock"):
            if not path.exists():
                _fetch(source, path, progress)
                return path
    check(path, source, "delete it, and the next call fetches it again")
    return path


def _fetch(source: Source, path: Path, progress: Listener) -> None:
    part = path.with_name(f"{path.name}.part")
    resumed = part.exists()
    _download(source, part, progress)
    if resumed and _difference(part, source):  # its beginning may be a leftover of another file: once more, all of it
        part.unlink()
        _download(source, part, progress)
    if difference := _difference(part, source):
        part.unlink()
        raise WrongFile(
            f"{source.url}: what arrived is not the published file and was deleted, {difference}; "
            f"get the file elsewhere and put it at {path}"
        )
    part.replace(path)


def check(path: Path, source: Source, remedy: str = "fetch it anew, or rename it if it is meant to be another file") -> str:
    """The sha256 of a file that is the published one.

    Raises:
        WrongFile: it is another; the message has what was expected and found, and the remedy.
    """
    if difference := _difference(path, source):
        raise WrongFile(f"{path}: is not the published file, {difference}; {remedy}")
    return file_sha256(path)


def _difference(path: Path, source: Source) -> str:
    """What tells a file from the published one; "" where nothing does."""
    if source.size is not None and path.stat().st_size != source.size:
        return f"it is {path.stat().st_size:,} bytes long instead of {source.size:,}"
    if source.sha256 is not None and not (total := file_sha256(path)).startswith(source.sha256):
        return f"its sha256 begins {total[: len(source.sha256)]} instead of {source.sha256}"
    if source.git_blob is not None and (blob := _git_blob(path)) != source.git_blob:
        return f"its git blob id is {blob} instead of {source.git_blob}"
    return ""


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


def _download(source: Source, part: Path, progress: Listener) -> None:
    """Append to `part` until the server has sent everything, picking up where a connection broke off."""
    reason = ""
    for attempt in range(ATTEMPTS):
        try:
            if _one_connection(source, part, progress):
                return
            reason = "the connection broke off"
        except urllib.error.HTTPError as error:
            error.close()
            reason = f"the server answers {error.code} {error.reason}"
            if error.code == 416 and part.exists():  # nothing left to send, or a part that is no beginning of this file
                if not _difference(part, source):
                    return
                part.unlink()
            elif error.code not in (408, *_BUSY):
                break
            elif error.code in _BUSY and attempt < ATTEMPTS - 1:
                time.sleep(PAUSE * 2**attempt)
        except (HTTPException, OSError) as error:
            if isinstance(error, OSError) and error.filename is not None:
                raise  # the disk, not the network
            reason = str(getattr(error, "reason", error)) or type(error).__name__
    # A server that promises more than there is seems to break off for ever, with everything sent.
    if part.exists() and not _difference(part, source):
        return
    kept = part.stat().st_size if part.exists() else 0
    raise DownloadFailed(
        f"{source.url}: {reason}; {f'{kept:,} bytes are kept, run it again to go on' if kept else 'try again later'}, "
        f"or put the file at {part.with_suffix('')}"
    )


def _one_connection(source: Source, part: Path, progress: Listener) -> bool:
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
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink(missing_ok=True)  # another range than the one asked for: the next connection asks for everything
            return False
        length = response.headers.get("Content-Length")
        total = have + int(length) if length and length.isdigit() else source.size
        if source.size is not None and total is not None and total != source.size:
            raise DownloadFailed(
                f"{source.url}: the server offers {total:,} bytes, the published file has {source.size:,}; "
                f"get the file elsewhere and put it at {part.with_suffix('')}"
            )
        if total is not None and (free := shutil.disk_usage(part.parent).free) < total - have:
            raise DownloadFailed(
                f"{part.parent}: {free:,} bytes are free, {total - have:,} more are needed; make room, or name another "
                "folder for the cache in $BAGNET_CACHE"
            )
        with part.open("r+b" if have else "wb") as file:
            file.seek(have)
            # As bytes come in, not in whole chunks: what arrived before a break is on the disk when it happens.
            while (total is None or have < total) and (chunk := response.read1(_wanted(have, total))):
                have += len(chunk)
                file.write(chunk)
                progress(Progress(f"fetching {part.stem}", have, total, "bytes"))
                if have > LIMIT and source.size is None:
                    break
    if have > LIMIT and source.size is None:
        part.unlink()
        raise DownloadFailed(
            f"{source.url}: the server sends more than {LIMIT:,} bytes and no end; get the file elsewhere and put it at "
            f"{part.with_suffix('')}"
        )
    return total is None or have == total


def _wanted(have: int, total: int | None) -> int:
    return CHUNK if total is None else min(CHUNK, total - have)
