"""bagnet bench: what it prints and writes of what was measured, and how it refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

import bagnet.bench
from bagnet.bench import Bench, Case, Timing

from .conftest import Run, assert_refused


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Case]:
    """The cases that were to be measured: a second each for the published network, half of it for others; int8 cannot run."""
    cases: list[Case] = []

    def measure(wanted: list[Case], rounds: int, progress: object) -> Bench:
        cases.extend(wanted)
        timings = [
            Timing(case, note="no int8 here")
            if case.precision == "int8"
            else Timing(case, [1.0 if case.how == "published" else 0.5], 2_000_000, "float32", 1e-6, 10)
            for case in wanted
        ]
        return Bench({"processor": "some"}, {"torch float32": 100.0}, timings, rounds)

    monkeypatch.setattr(bagnet.bench, "bench", measure)
    return cases


def test_tables(run: Run, asked: list[Case]) -> None:
    result = run("bench", "--model", "bagnet9", "--batch-size", 4, "--no-maps", "--size", 33)
    assert result.code == 0, result.err
    assert {(case.batch, case.task, case.size) for case in asked} == {(4, "logits", 33)}
    lines = result.out.splitlines()
    assert lines[0] == "processor: some"
    titles = next(number for number, line in enumerate(lines) if "images/s" in line)
    assert lines[titles].split() == ["batch", "images/s", "ms", "x", "plain", "ceiling", "MB", "error"]
    assert lines[titles + 1].split() == ["bagnet9", "as", "published", "float32", "4", "4", "1,000", "1.00", "10%", "2", "1e-06"]
    assert lines[titles + 2].split() == ["bagnet9", "torch", "float32", "4", "8", "500", "2.00", "20%", "2", "1e-06"]
    assert any(line.split() == ["bagnet9", "openvino", "int8", "4", "not", "measured"] for line in lines)
    assert lines[-1] == "bagnet9 openvino int8: no int8 here"


def test_files_and_json(run: Run, asked: list[Case], tmp_path: Path) -> None:
    printed = json.loads(run("bench", "--no-logits", "--out", tmp_path / "b.json", "--json").out)
    assert json.loads((tmp_path / "b.json").read_text()) == printed
    assert {row["task"] for row in printed["figures"]} == {"map"}
    assert run("bench", "--out", tmp_path / "b.csv").code == 0
    with (tmp_path / "b.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["batch"] for row in rows if row["task"] == "logits"} == {"1", "8"}
    assert {(row["processor"], row["rounds"]) for row in rows} == {("some", "5")}


def test_refused_before_anything_is_measured(run: Run, asked: list[Case], tmp_path: Path) -> None:
    assert_refused(run("bench", "--device", "tpu"), "there is no device 'tpu'")
    assert_refused(run("bench", "--out", tmp_path / "b.txt"), ".csv or .json")
    assert_refused(run("bench", "--no-maps", "--no-logits"), "nothing to time")
    assert_refused(run("bench", "--model", "bagnet34"), "nothing to time is called 'bagnet34'")
    assert_refused(run("bench", "--size", 9), "33")
    assert not asked
