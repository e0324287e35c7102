"""A real server, with clients that are slow, rude or gone."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError

import pytest

from bagnet.model import BagNet
from bagnet.serve.limits import Limits
from bagnet.serve.server import is_loopback, serve

from .conftest import picture


@pytest.fixture
def served(model: BagNet, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    model.save(tmp_path / "small.safetensors")
    words = ["serve", "--model", str(tmp_path / "small.safetensors"), "--port", "0", "--seconds", "1.5", "--waiting", "8"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "bagnet", *words], stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("serving at http://127.0.0.1:"), line
        yield process, int(line.rsplit(":", 1)[1].strip(" /\n"))
        process.kill()


def post(port: int, content: bytes, kind: str = "image/png") -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/classify", content, {"Content-Type": kind})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def rude(port: int, send: Callable[[socket.socket], None]) -> bytes:
    """What comes back on a connection over which something else than a whole request is sent."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        send(connection)
        try:
            return connection.recv(4096)
        except OSError:
            return b""


HEAD = b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\n"


def slow(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"a")


def gone(connection: socket.socket) -> None:
    connection.sendall(HEAD + b"a")
    connection.shutdown(socket.SHUT_RDWR)


@pytest.mark.slow
def test_slow_and_broken_senders_stop_no_other_and_the_end_is_orderly(served: tuple[subprocess.Popen[str], int]) -> None:
    process, port = served
    assert post(port, picture())[0] == 200
    with ThreadPoolExecutor(8) as pool:
        slow_answer = pool.submit(rude, port, slow)
        gone_answers = [pool.submit(rude, port, gone) for _ in range(3)]
        good = [pool.submit(post, port, picture(seed=seed)) for seed in range(8)]
        assert {answer.result()[0] for answer in good} <= {200, 429}
        assert b" 408 " in slow_answer.result()
        for answer in gone_answers:
            answer.result()
    assert post(port, b"not an image")[0] == 400
    assert post(port, picture(), "text/html")[0] == 415
    with ThreadPoolExecutor(4) as pool:
        last = [pool.submit(post, port, picture(seed=seed)) for seed in range(4)]
        time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        answered = []
        for answer in last:
            try:
                answered.append(answer.result()[0])
            except OSError:  # not yet taken when the service stopped listening
                answered.append(0)
    assert process.wait(20) in (0, -signal.SIGTERM)
    assert set(answered) <= {0, 200, 429}
    assert json.dumps(answered)


def test_addresses_of_this_machine() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.3.2.1", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.2", "example.com")))


def test_an_address_in_use(model: BagNet) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"127.0.0.1:{port} cannot be listened at .*: choose another --port or --host"):
            serve(model, port=port)


def test_limits_are_positive() -> None:
    with pytest.raises(ValueError, match="waiting must be more than 0, got 0"):
        Limits(waiting=0)
