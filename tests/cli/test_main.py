"""Exit codes 0, 1 and 2, and one line on stderr for whatever went wrong."""

from __future__ import annotations

import subprocess
import sys
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


def test_errors_of_the_system_name_their_file() -> None:
    assert one_line(PermissionError(13, "Permission denied", "a\nb.png")) == "a b.png: Permission denied"
    assert one_line(OSError(28, "No space left on device")).startswith("what is printed cannot be written (No space left")


def command(words: str) -> subprocess.CompletedProcess[str]:
    """A command line in a shell, `bagnet` in it."""
    words = words.replace("bagnet ", f"{sys.executable} -m bagnet ")
    return subprocess.run(["bash", "-c", words], capture_output=True, text=True, check=False)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_full_disk_under_what_is_printed() -> None:
    process = command("bagnet models list > /dev/full")
    assert process.returncode == 2
    assert process.stderr == "bagnet: what is printed cannot be written (No space left on device); print it to somewhere else\n"


def test_who_has_read_enough_hears_no_complaint() -> None:
    process = command("bagnet models list | true; echo ${PIPESTATUS[0]}")
    assert (process.stdout, process.stderr) == ("1\n", "")


def test_nobody_to_print_to() -> None:
    process = command("bagnet models list >&- && bagnet models info bagnet9.orig_in1k >&-")
    assert (process.returncode, process.stderr) == (0, "")
    process = command("bagnet predict - <&-")
    assert (process.returncode, len(process.stderr.splitlines())) == (2, 1)
    assert "stdin, which is closed" in process.stderr


def test_libraries_say_nothing_of_a_home_that_is_not_there(photograph: Path, tmp_path: Path) -> None:
    nowhere = "env -u MPLCONFIGDIR -u XDG_CACHE_HOME -u XDG_CONFIG_HOME HOME=/dev/null/home"
    process = command(f"{nowhere} bagnet explain {photograph} --out {tmp_path / 'out'}")
    assert (process.returncode, process.stderr) == (0, "")


def test_a_folder_that_was_deleted_around_us(tmp_path: Path) -> None:
    process = command(f"mkdir {tmp_path}/gone && cd {tmp_path}/gone && rmdir ../gone && bagnet models list")
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr == "bagnet: the current folder is not there any more: change to another one\n"


def test_debug_anywhere_shows_the_traceback(run: Run, tmp_path: Path) -> None:
    for words in (("--debug", "predict", tmp_path / "none"), ("predict", tmp_path / "none", "--debug")):
        with pytest.raises(FileNotFoundError):
            run(*words)
