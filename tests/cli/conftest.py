"""A command line run in this process, and a small model in a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from bagnet.cli import main
from bagnet.data.transforms import Preprocessing
from bagnet.model import BagNet
from bagnet.weights import storable, write


@dataclass
class Result:
    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """`run("explain", "dog.jpg")` -> exit code, stdout, stderr."""

    def call(*words: object) -> Result:
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        out, err = capfd.readouterr()
        return Result(int(end.value.code or 0), out, err)

    return call


@pytest.fixture
def weights(small: Callable[..., BagNet], tmp_path: Path) -> Path:
    """Five classes, two of them called crane; 17 px windows on 64 px input."""
    words = ["n02012849", "n03126707", "n02123045", "dog", "house"]
    model = small(kernel3=(1, 1, 1, 0), classes=words, num_classes=5)
    assert model.card is not None
    model.card = replace(model.card, name="bagnet17.test", preprocessing=Preprocessing(64, 64))
    path = tmp_path / "weights" / "small.safetensors"
    write(path, *storable(model))
    return path


def assert_refused(result: Result, *words: str) -> None:
    """Exit code 2, one line on stderr that has these words, no traceback."""
    assert result.code == 2, result
    assert len(result.err.strip().splitlines()) == 1, result.err
    for word in words:
        assert word in result.err
    assert "Traceback" not in result.err
