"""malloc's settings while training: set inside, put back afterwards, and left alone where there is no glibc."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from bagnet.training.memory import freed_memory_kept

MMAP_MAX, TRIM_THRESHOLD, TOP_PAD = -4, -1, -2  # as <malloc.h> numbers them


class Glibc:
    """Notes what is asked of it, as malloc's settings."""

    def __init__(self) -> None:
        self.settings: dict[int, int] = {}
        self.trimmed = 0

    def mallopt(self, name: int, value: int) -> None:
        self.settings[name] = value

    def malloc_trim(self, _: int) -> None:
        self.trimmed += 1


@pytest.fixture
def glibc(monkeypatch: pytest.MonkeyPatch) -> Glibc:
    library = Glibc()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    return library


def fails() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("work", [lambda: None, fails])
def test_kept_inside_and_given_back_afterwards_even_if_interrupted(glibc: Glibc, work: Callable[[], None]) -> None:
    try:
        with freed_memory_kept():
            assert glibc.settings == {MMAP_MAX: 0, TRIM_THRESHOLD: 2**31 - 1, TOP_PAD: 64 * 2**20}
            assert not glibc.trimmed
            work()
    except KeyboardInterrupt:
        pass
    assert glibc.settings == {MMAP_MAX: 65536, TRIM_THRESHOLD: 128 * 2**10, TOP_PAD: 128 * 2**10}, "mallopt(3)'s defaults"
    assert glibc.trimmed == 1


def test_another_libc_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(malloc_trim=fails))
    with freed_memory_kept():
        pass
