"""Tables and fields, for terminals of any width and for files."""

from __future__ import annotations

import sys

import pytest

from bagnet.cli.output import print_fields, print_problems, print_table

ROWS = [["bagnet33", "1.50", "a word and another word and a third one"], ["[x] :cat:", "20.25"]]


def print_to_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, of forty characters."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")


def test_a_table_in_a_file_has_a_line_for_each_row(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    print_table(["model", "images/s", "notes"], ROWS, texts=["model", "notes"])
    assert [line.rstrip() for line in capfd.readouterr().out.splitlines()] == [
        "model      images/s  notes",
        "bagnet33       1.50  a word and another word and a third one",
        "[x] :cat:     20.25",
    ]


def test_a_table_in_a_terminal_breaks_words_alone(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    print_to_a_terminal(monkeypatch)
    print_table(["model", "images/s", "notes"], ROWS, texts=["model", "notes"])
    lines = capfd.readouterr().out.splitlines()
    assert lines[1].rstrip() == "bagnet33       1.50  a word and another"
    assert lines[2].strip() == "word and a third"


def test_a_terminal_too_narrow_for_the_figures_costs_none(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    print_to_a_terminal(monkeypatch)
    monkeypatch.setenv("COLUMNS", "10")
    rows = [["bagnet33", "1.50 %", "1,234.56"], ["[x]", "20.25 %", "7"]]
    print_table(["model", "balanced accuracy", "images/s"], rows, texts=["model"])
    out = capfd.readouterr().out
    assert "…" not in out
    assert all(word in out for row in rows for cell in row for word in cell.split())


def test_fields(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    print_to_a_terminal(monkeypatch)
    fields = {"notes": "some words that do not fit into forty", "command": f"bagnet {'x' * 40} y", "nothing": ""}
    print_fields(fields, whole=["command"])
    command = f"command       bagnet {'x' * 40} y"
    assert capfd.readouterr().out.splitlines() == [
        "notes         some words that do not fit",
        "              into forty",
        command,
    ]
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    print_fields(fields)
    assert capfd.readouterr().out.splitlines() == [f"notes         {fields['notes']}", command]


def test_problems_go_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    print_problems(["a.png: broken", "b.png: empty"])
    assert capfd.readouterr() == ("", "bagnet: a.png: broken\nbagnet: b.png: empty\n")
