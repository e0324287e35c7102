"""Processes that read images leave Ctrl-C to the one that asked for them, and end with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from bagnet.runs.loader import unless_hung_up

READ = """
import sys
from bagnet.data.sources import open_images
from bagnet.data.transforms import Preprocessing
from bagnet.runs.loader import read_batches

if __name__ == "__main__":
    images = open_images(sys.argv[1])
    for _ in read_batches(images, range(len(images.names)), Preprocessing(20, 20), 1, workers=1):
        pass
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks up processes as Linux shows them"),
]


@pytest.fixture
def reading(tmp_path: Path) -> subprocess.Popen[bytes]:
    """A process that reads images and has just started its worker."""
    for number in range(3):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.new("RGB", (30, 30)).save(tmp_path / "photos" / f"{number}.png")
    script = tmp_path / "read.py"
    script.write_text(READ)
    command = [sys.executable, script, tmp_path / "photos"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    while not workers_of(process.pid):
        if process.poll() is not None:
            pytest.fail(f"it ended without a worker: {process.communicate()[1].decode()}")
        time.sleep(0.001)
    return process


def workers_of(parent: int) -> list[int]:
    """Children other than Python's own tracker of resources."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    found = []
    for child in children:
        try:
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(int(child))
        except FileNotFoundError:  # it has just ended
            continue
    return found


@pytest.mark.parametrize("later", [0, 0.3, 1])
def test_killed_while_a_worker_starts(reading: subprocess.Popen[bytes], later: float) -> None:
    (worker,) = workers_of(reading.pid)
    time.sleep(later)
    reading.kill()
    reading.wait()  # not for its pipes, which the worker holds too
    for _ in range(300):
        if not running(worker):
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker outlived its parent")


@pytest.mark.parametrize("later", [0, 0.3, 1])
def test_interrupted_while_a_worker_starts(reading: subprocess.Popen[bytes], later: float) -> None:
    time.sleep(later)
    os.killpg(reading.pid, signal.SIGINT)  # as a terminal does
    _, errors = reading.communicate(timeout=60)
    assert errors.count(b"Traceback") <= 1, errors.decode()  # our script's own
    assert b"spawn_main" not in errors, errors.decode()


def test_a_worker_says_nothing_of_a_parent_that_hung_up(capsys: pytest.CaptureFixture[str]) -> None:
    unless_hung_up(EOFError, EOFError(), None)
    unless_hung_up(ConnectionResetError, ConnectionResetError(104, "reset"), None)
    assert capsys.readouterr().err == ""
    unless_hung_up(ValueError, ValueError("a fault of ours"), None)
    assert "a fault of ours" in capsys.readouterr().err


def running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
