"""What is said of the machine can be read again, and a peak of memory is the one since it was last forgotten."""

from __future__ import annotations

import json
import platform
import re
from importlib.metadata import PackageNotFoundError, version

import pytest
import torch

from bagnet.bench.machine import forget_peak, machine, peak_memory, wait


def test_the_machine_in_json() -> None:
    record = json.loads(json.dumps(machine()))
    assert record["python"] == platform.python_version()
    assert record["threads"] == torch.get_num_threads()
    assert record["cores"] >= 1
    assert record["versions"]["torch"] == version("torch")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", record["date"])


def test_a_package_that_is_missing_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("bagnet.bench.machine.version", missing)
    assert machine()["versions"] == {}


def test_a_peak_is_seen_and_forgotten() -> None:
    size = 64 * 2**20
    before = forget_peak("cpu")
    block = torch.ones(size, dtype=torch.uint8)
    assert peak_memory("cpu") >= before + 0.9 * size
    del block
    if forget_peak("cpu") < before + 0.5 * size:  # where the system can forget it, and gives memory back at once
        assert peak_memory("cpu") < before + 0.5 * size


def test_the_processor_is_never_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: pytest.fail("there is no device to wait for"))
    wait("cpu")
