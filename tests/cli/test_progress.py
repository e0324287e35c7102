"""Progress bars are drawn on stderr for people alone; what the library logs is a line each."""

from __future__ import annotations

import logging

import pytest

from bagnet.cli.progress import lines_on_stderr, progress_bar
from bagnet.progress import Progress


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rich takes any file for a terminal then."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("NO_COLOR", "1")


def test_a_pipe_gets_no_bar(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    with progress_bar() as tell:
        tell(Progress("predicting", 4, 20))
    assert capfd.readouterr() == ("", "")


def test_a_bar_inside_another_is_not_shown(terminal: None, capfd: pytest.CaptureFixture[str]) -> None:
    with progress_bar() as tell:
        tell(Progress("computing", 1, 20))
        with progress_bar() as inner:
            inner(Progress("fetching", 1, 20))
        tell(Progress("computing", 20, 20))
    shown = capfd.readouterr().err
    assert "computing" in shown
    assert "fetching" not in shown
    with progress_bar() as tell:
        tell(Progress("fetching", 1, 20))
    assert "fetching" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("steps", "texts"),
    [
        ([Progress("predicting", 0, 20)], ["predicting", "0/20 images"]),  # there is no speed yet
        ([Progress("predicting", 4, 2000), Progress("predicting", 1200, 2000)], ["1,200/2,000 images", " images/s"]),
        ([Progress("fetching", 1_500_000, 3_000_000, "bytes")], ["fetching", "1.5 MB/3.0 MB"]),
        ([Progress("looking", 7, None, "tiles")], ["looking", "7 tiles"]),
    ],
)
def test_what_a_terminal_shows(
    terminal: None, capfd: pytest.CaptureFixture[str], steps: list[Progress], texts: list[str]
) -> None:
    with progress_bar() as tell:
        for step in steps:
            tell(step)
    out, err = capfd.readouterr()
    assert out == ""
    for text in texts:
        assert text in err


def test_a_new_stage_takes_the_line_of_the_last(terminal: None, capfd: pytest.CaptureFixture[str]) -> None:
    with progress_bar() as tell:
        tell(Progress("reading", 3, 3))
        tell(Progress("masking", 1, 5))
        capfd.readouterr()
    last = capfd.readouterr().err
    assert "masking" in last
    assert "reading" not in last


def test_lines_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("bagnet.training")
    with lines_on_stderr():
        logger.info("epoch 1 of 4")
        for _ in range(2):
            logger.warning("photos: left out hidden files (%d)", 3)
        logger.warning("photos: left out hidden files (%d)", 4)
    logger.info("epoch 2 of 4")
    lines = ["epoch 1 of 4", "bagnet: photos: left out hidden files (3)", "bagnet: photos: left out hidden files (4)"]
    assert capfd.readouterr() == ("", "".join(f"{line}\n" for line in lines))
