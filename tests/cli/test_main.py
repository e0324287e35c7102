"""Exit codes 0, 1 and 2, and one line on stderr for whatever went wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from bagnet.cli import one_line
from bagnet.zoo.fetch import DownloadFailed

from .conftest import Run, assert_refused


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        (("paint",), ["No such command 'paint'", "(see `bagnet --help`)"]),
        (("explain",), ["Missing argument 'IMAGE'", "(see `bagnet explain --help`)"]),
        (("explain", "--no-such-option"), ["--no-such-option"]),
        (("models", "convert", "bagnet9.orig_in1k"), ["Missing option '--out'", "(see `bagnet models convert --help`)"]),
        (("predict", "photos", "--top", "0"), ["'--top'"]),
        (("predict", "photos", "--top", "few"), ["'--top'"]),
    ],
)
def test_wrong_usage(run: Run, words: tuple[str, ...], texts: list[str]) -> None:
    assert_refused(run(*words), *texts)


@pytest.mark.parametrize("words", [(), ("models",)])
def test_no_command_gets_help(run: Run, words: tuple[str, ...]) -> None:
    result = run(*words)
    assert result.code == 2
    assert "Usage: bagnet" in result.out + result.err
    assert "(see" not in result.err


def test_version(run: Run) -> None:
    result = run("--version")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("bagnet ")


def test_work_that_failed(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAGNET_CACHE", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody answers there
    result = run("models", "pull", "bagnet9.orig_in1k")
    assert result.code == 1
    (line,) = result.err.splitlines()
    assert line.startswith("bagnet: https://")
    assert "try again later" in line


def test_what_was_not_foreseen_is_named_by_its_type() -> None:
    assert one_line(ValueError("two\nlines")) == "two lines"
    assert one_line(DownloadFailed("no answer")) == "no answer"
    assert one_line(ZeroDivisionError("by zero")) == "ZeroDivisionError: by zero (--debug shows where)"


def test_debug_anywhere_shows_the_traceback(run: Run, tmp_path: Path) -> None:
    for words in (("--debug", "predict", tmp_path / "none"), ("predict", tmp_path / "none", "--debug")):
        with pytest.raises(FileNotFoundError):
            run(*words)
