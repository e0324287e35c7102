"""Fetching from servers that break off, lie, send the wrong file or no end: what arrives is the published file or nothing."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from bagnet.card import Source
from bagnet.zoo import fetch as module
from bagnet.zoo.fetch import DownloadFailed, WrongFile, cache_folder, cached, check, fetch

FILE = np.random.default_rng(0).bytes(50_000)
SHA256 = hashlib.sha256(FILE).hexdigest()
BLOB = hashlib.sha1(b"blob 50000\0" + FILE).hexdigest()


@dataclass
class Server:
    """What the server does and what it was asked. A request beyond the last number in `breaks` is served whole."""

    body: bytes = FILE
    breaks: list[int] = field(default_factory=list)  # bytes of the n-th answer's body, after which the line drops
    ranges: bool = True  # whether it obeys Range
    wrong_range: bool = False  # whether it answers 206 with another range than the one asked for
    lie: int = 0  # added to Content-Length
    length: bool = True  # whether it states one
    statuses: list[int] = field(default_factory=list)  # errors that it answers first
    endless: bool = False
    asked: list[str | None] = field(default_factory=list)  # the Range header of each request
    sent: int = 0
    url: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        number, header = len(self.asked), handler.headers["Range"]
        self.asked.append(header)
        if number < len(self.statuses):
            handler.send_error(self.statuses[number])
            return
        start = int(header.removeprefix("bytes=").removesuffix("-")) if header and self.ranges else 0
        if start and start >= len(self.body):
            handler.send_error(416)
            return
        body = self.body[start:]
        handler.send_response(206 if start else 200)
        if start:
            first = start + 1 if self.wrong_range else start
            handler.send_header("Content-Range", f"bytes {first}-{len(self.body) - 1}/{len(self.body)}")
        if self.length:
            handler.send_header("Content-Length", str(len(body) + self.lie))
        handler.end_headers()
        if number < len(self.breaks):
            body = body[: self.breaks[number]]
        self.sent += len(body)
        handler.wfile.write(body)
        while self.endless:
            handler.wfile.write(body)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(OSError):  # the client hangs up on an endless body
                state.answer(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        state.url = f"http://127.0.0.1:{http.server_port}/some/weights-{SHA256[:8]}.pth.tar"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        http.shutdown()
        thread.join()


@pytest.fixture
def source(server: Server) -> Source:
    return Source(server.url, sha256=SHA256)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a server that is asked again without waiting."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("BAGNET_CACHE", str(folder))
    monkeypatch.setattr(module, "PAUSE", 0.0)
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    return folder


def left(cache: Path) -> list[str]:
    """What lies in the cache beside the lock."""
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock")


def part_of(source: Source) -> Path:
    return cache_folder() / f"{source.url.rsplit('/', 1)[-1]}.part"


def test_whole_file_arrives_once_and_is_then_cached(server: Server, source: Source, cache: Path) -> None:
    assert not cached(source)
    path = fetch(source)
    assert path == cache / f"weights-{SHA256[:8]}.pth.tar"
    assert path.read_bytes() == FILE
    assert cached(source)
    assert left(cache) == [path.name]
    assert fetch(source) == path
    assert server.asked == [None]


def test_progress_ends_at_the_whole_size(server: Server, source: Source) -> None:
    server.breaks = [20_000]
    seen: list[tuple[int, int | None]] = []
    fetch(source, lambda progress: seen.append((progress.done, progress.total)))
    assert seen[-1] == (50_000, 50_000)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert {total for _, total in seen} == {50_000}


def test_break_is_resumed_without_fetching_the_first_part_again(server: Server, source: Source) -> None:
    server.breaks = [20_000, 10_000]
    assert fetch(source).read_bytes() == FILE
    assert server.asked == [None, "bytes=20000-", "bytes=30000-"]
    assert server.sent == 50_000


def test_server_that_ignores_ranges_starts_again(server: Server, source: Source) -> None:
    server.breaks, server.ranges = [20_000], False
    assert fetch(source).read_bytes() == FILE
    assert server.asked == [None, "bytes=20000-"]


def test_server_that_sends_another_range_is_asked_for_everything(server: Server, source: Source) -> None:
    server.breaks, server.wrong_range = [20_000], True
    assert fetch(source).read_bytes() == FILE
    assert server.asked == [None, "bytes=20000-", None]


def test_breaking_off_for_ever_keeps_the_part_for_the_next_call(server: Server, source: Source, cache: Path) -> None:
    server.breaks = [5_000] * module.ATTEMPTS
    with pytest.raises(DownloadFailed, match=r"weights-\w+\.pth\.tar: the connection broke off; 25,000 bytes are kept, run it"):
        fetch(source)
    assert part_of(source).read_bytes() == FILE[:25_000]
    assert not cached(source)
    assert fetch(source).read_bytes() == FILE
    assert server.asked[-1] == "bytes=25000-"
    assert server.sent == 50_000
    assert left(cache) == [fetch(source).name]


@pytest.mark.parametrize("ranges", [True, False])
def test_length_stated_too_long_does_not_matter_where_the_file_is_right(server: Server, source: Source, ranges: bool) -> None:
    server.lie, server.ranges = 1_000, ranges
    assert fetch(source).read_bytes() == FILE


def test_length_stated_too_short_leaves_nothing_behind(server: Server, source: Source, cache: Path) -> None:
    server.lie = -1_000
    with pytest.raises(WrongFile, match="its sha256 begins"):
        fetch(source)
    assert left(cache) == []
    server.lie = 0
    assert fetch(source).read_bytes() == FILE


@pytest.mark.parametrize("lie", [-1_000, 1_000])
def test_length_that_is_not_the_published_one_is_refused_at_once(server: Server, source: Source, lie: int) -> None:
    server.lie = lie
    with pytest.raises(DownloadFailed, match=f"the server offers {50_000 + lie:,} bytes, the published file has 50,000"):
        fetch(replace(source, size=50_000))
    assert server.asked == [None] * len(server.asked)
    assert not part_of(source).exists()


def test_file_of_unstated_length_is_taken_to_its_end(server: Server, source: Source) -> None:
    server.length = False
    assert fetch(source).read_bytes() == FILE


@pytest.mark.parametrize("facts", [{"sha256": SHA256}, {"sha256": SHA256[:8]}, {"git_blob": BLOB}])
def test_wrong_file_is_refused_and_does_not_poison_the_cache(server: Server, cache: Path, facts: dict[str, str]) -> None:
    source = Source(server.url, **facts)
    server.body = FILE[:-1] + bytes([FILE[-1] ^ 1])
    with pytest.raises(WrongFile, match="what arrived is not the published file and was deleted") as caught:
        fetch(source)
    assert "\n" not in str(caught.value)
    assert str(cache / source.url.rsplit("/", 1)[-1]) in str(caught.value)
    assert left(cache) == []
    server.body = FILE
    assert fetch(source).read_bytes() == FILE


def test_size_on_the_card_counts_where_the_server_states_none(server: Server, source: Source, cache: Path) -> None:
    server.length = False
    with pytest.raises(DownloadFailed, match="the connection broke off"):
        fetch(replace(source, size=50_001))
    part_of(source).unlink(missing_ok=True)
    with pytest.raises(WrongFile, match="its sha256 begins"):
        fetch(replace(source, size=49_999))
    assert left(cache) == []


def test_leftover_of_another_file_is_replaced(server: Server, source: Source) -> None:
    part_of(source).parent.mkdir()
    part_of(source).write_bytes(b"another file's beginning")
    assert fetch(source).read_bytes() == FILE
    assert server.asked == ["bytes=24-", None]


@pytest.mark.parametrize("leftover", [FILE, FILE + b"and more", bytes(60_000)])
def test_leftover_that_is_already_as_long_is_kept_only_if_right(server: Server, source: Source, leftover: bytes) -> None:
    part_of(source).parent.mkdir()
    part_of(source).write_bytes(leftover)
    assert fetch(source).read_bytes() == FILE
    assert server.asked == [f"bytes={len(leftover)}-"] + ([] if leftover == FILE else [None])


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_refusal_is_said_at_once(server: Server, source: Source, status: int, cache: Path) -> None:
    server.statuses = [status] * 10
    with pytest.raises(DownloadFailed, match=f"the server answers {status} ") as caught:
        fetch(source)
    assert "\n" not in str(caught.value)
    assert source.url in str(caught.value)
    assert f"put the file at {cache / source.url.rsplit('/', 1)[-1]}" in str(caught.value)
    assert len(server.asked) == 1


def test_busy_server_is_asked_again(server: Server, source: Source) -> None:
    server.statuses = [503, 429]
    assert fetch(source).read_bytes() == FILE
    assert len(server.asked) == 3


def test_server_that_stays_busy_is_given_up(server: Server, source: Source) -> None:
    server.statuses = [503] * 10
    with pytest.raises(DownloadFailed, match="the server answers 503"):
        fetch(source)
    assert len(server.asked) == module.ATTEMPTS


def test_nobody_there(source: Source) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as http:
        free = http.server_port
    with pytest.raises(DownloadFailed, match="refused"):
        fetch(Source(f"http://127.0.0.1:{free}/weights", sha256=SHA256))


def test_body_without_end_is_cut_at_the_published_size(server: Server, source: Source, cache: Path) -> None:
    server.length, server.endless = False, True
    assert fetch(replace(source, size=50_000)).read_bytes() == FILE
    assert len(server.asked) == 1


def test_body_without_end_is_given_up_where_no_size_is_known(
    server: Server, source: Source, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LIMIT", 200_000)
    server.length, server.endless = False, True
    with pytest.raises(DownloadFailed, match="more than 200,000 bytes and no end"):
        fetch(source)
    assert left(cache) == []
    assert len(server.asked) == 1


def test_more_than_the_disk_holds_is_refused_before_it_is_fetched(server: Server, source: Source) -> None:
    server.lie = 1 << 60
    with pytest.raises(DownloadFailed, match=r"bytes are free, .* more are needed; make room"):
        fetch(source)
    assert not part_of(source).exists()


@pytest.mark.parametrize("content", [FILE[:-1], b"", b"<html>"])
def test_corrupt_file_in_the_cache_is_refused_with_the_remedy(server: Server, source: Source, content: bytes) -> None:
    path = fetch(source)
    path.write_bytes(content)
    with pytest.raises(WrongFile, match=r"delete it, and the next call fetches it again") as caught:
        fetch(source)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content  # somebody may have put it there by hand
    path.unlink()
    assert fetch(source).read_bytes() == FILE
    assert len(server.asked) == 2


def test_file_put_into_the_cache_by_hand_needs_no_server(cache: Path) -> None:
    cache.mkdir()
    (cache / "weights").write_bytes(FILE)
    source = Source("http://127.0.0.1:9/weights", sha256=SHA256)
    assert fetch(source) == cache / "weights"
    assert left(cache) == ["weights"]
    assert not (cache / "weights.lock").exists()  # the cache may be one that cannot be written


def test_several_at_once_fetch_once(server: Server, source: Source) -> None:
    together = threading.Barrier(4)
    contents: list[bytes] = []

    def one() -> None:
        together.wait()
        contents.append(fetch(source).read_bytes())

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert contents == [FILE] * 4
    assert server.asked == [None]


def test_cache_that_cannot_be_made(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("BAGNET_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(OSError, match=r"file/cache: cannot be made .* \$BAGNET_CACHE"):
        fetch(source)


def test_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAGNET_CACHE", "/one")
    assert cache_folder() == Path("/one")
    monkeypatch.delenv("BAGNET_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/two")
    assert cache_folder() == Path("/two/bagnet")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/three")
    assert cache_folder() == Path("/three/.cache/bagnet")


@pytest.mark.parametrize(
    ("source", "strength"),
    [
        (Source("u", sha256=SHA256), "sha256, all 256 bits"),
        (Source("u", sha256=SHA256[:8]), "sha256, only the first 32 bits"),
        (Source("u", git_blob=BLOB), "git blob id, 160 bits of sha1"),
        (Source("u"), "none"),
    ],
)
def test_check_says_how_strong_it_is(source: Source, strength: str, tmp_path: Path) -> None:
    assert source.strength == strength
    (tmp_path / "file").write_bytes(FILE)
    assert check(tmp_path / "file", source) == SHA256


def test_git_blob_id_is_gits(tmp_path: Path) -> None:
    """The id that `git hash-object` gives a file holding "hello" and a line feed."""
    path = tmp_path / "hello"
    path.write_bytes(b"hello\n")
    source = Source("u", git_blob="ce013625030ba8dba906f756967f9e9ca394464a")
    assert check(path, source) == "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
    path.write_bytes(b"hello")
    with pytest.raises(WrongFile, match="its git blob id is b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0 instead of ce013625"):
        check(path, source)
