"""The journal loses no row and repeats none, wherever the work stops."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bagnet.runs.store import Journal, OtherRun

ROWS = [(f"image {number}.jpg", {"index_1": number, "name_1": f'a "name", {number}\n'}) for number in range(9)]


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_whole_run(tmp_path: Path) -> None:
    out = tmp_path / "new" / "table.csv"
    with Journal(out, {"a": 1}) as journal:
        journal.write("image", ROWS[:4])
        journal.write("image", ROWS[4:])
        journal.write("image", [("bad.jpg", {"error": "broken"})])
        journal.finish(["image", "error", "index_1", "name_1"])
    rows = table(out)
    assert [row["image"] for row in rows] == [*(name for name, _ in ROWS), "bad.jpg"]
    assert rows[3]["name_1"] == 'a "name", 3\n'
    assert rows[-1] == {"image": "bad.jpg", "error": "broken", "index_1": "", "name_1": ""}
    assert [path.name for path in out.parent.iterdir()] == ["table.csv"]


@given(cut=st.integers(0, 2000), before=st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_cut_off_anywhere_it_goes_on(tmp_path_factory: pytest.TempPathFactory, cut: int, before: int) -> None:
    """The journal's file may end at any byte, as after a crash or a full disk."""
    out = tmp_path_factory.mktemp("run") / "table.csv"
    with Journal(out, {"a": 1}) as journal:
        journal.write("image", ROWS[:before])
    content = journal.path.read_bytes()
    journal.path.write_bytes(content[:cut])
    with Journal(out, {"a": 1}) as journal:
        journal.write("image", [row for row in ROWS if row[0] not in journal.done])
        journal.finish(["image", "index_1"])
    assert [(row["image"], row["index_1"]) for row in table(out)] == [(name, str(row["index_1"])) for name, row in ROWS]


def test_another_run_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "table.csv"
    with Journal(out, {"model": "a"}) as journal:
        journal.write("image", ROWS[:2])
    with pytest.raises(OtherRun, match="delete it to start again"):
        Journal(out, {"model": "b"})
    with Journal(out, {"model": "a"}) as journal:
        assert journal.done == {"image 0.jpg", "image 1.jpg"}


def test_outputs_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"end in \.csv or \.parquet"):
        Journal(tmp_path / "table.xls", {})
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot be written"):
        Journal(tmp_path / "file" / "table.csv", {})


def test_before_there_is_a_row_there_is_nothing(tmp_path: Path) -> None:
    with Journal(tmp_path / "table.csv", {"size": 10}):
        pass
    assert not list(tmp_path.iterdir())
    with Journal(tmp_path / "table.csv", {"size": 100}) as journal:
        journal.finish(["image"])
    assert (tmp_path / "table.csv").read_text() == "image\n"


def test_a_folder_in_the_table_s_place(tmp_path: Path) -> None:
    (tmp_path / "table.csv").mkdir()
    with pytest.raises(OSError, match=r"table\.csv: is a folder"):
        Journal(tmp_path / "table.csv", {})


def test_two_runs_at_a_time(tmp_path: Path) -> None:
    out = tmp_path / "table.csv"
    with Journal(out, {}) as journal:
        with pytest.raises(OtherRun, match=r"table\.csv: another run is writing it"):
            Journal(out, {})
        journal.write("image", ROWS[:1])
    with Journal(out, {}) as journal:
        assert len(journal.done) == 1


def test_a_finished_table_is_replaced_when_asked_only(tmp_path: Path) -> None:
    out = tmp_path / "table.csv"
    out.write_text("precious")
    with pytest.raises(FileExistsError, match=r"is there already; .*--overwrite"):
        Journal(out, {})
    with Journal(out, {}, overwrite=True) as journal:
        journal.write("image", ROWS[:1])
    assert out.read_text() == "precious"
    with Journal(out, {}) as journal:  # its beginning is there, and so it was asked for
        journal.finish(["image"])
    assert out.read_text() == "image\nimage 0.jpg\n"


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_names_that_are_no_text(tmp_path: Path, kind: str) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / f"table.{kind}"
    with Journal(out, {}) as journal:
        journal.write("image", [("b\udcffd.png", {"index_1": 3})])
    with Journal(out, {}) as journal:
        assert journal.done == {"b\udcffd.png"}
        journal.finish(["image", "index_1"])
    rows = table(out) if kind == "csv" else parquet.read_table(out).to_pylist()
    assert [row["image"] for row in rows] == ["b\\udcffd.png"]


def test_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "table.parquet"
    with Journal(out, {}) as journal:
        journal.write("image", [("a", {"index_1": 3, "probability_1": 0.5, "name_1": "tabby"}), ("b", {"error": "broken"})])
        journal.finish(["image", "error", "index_1", "name_1", "probability_1"])
    assert parquet.read_table(out).to_pylist() == [
        {"image": "a", "error": None, "index_1": 3, "name_1": "tabby", "probability_1": 0.5},
        {"image": "b", "error": "broken", "index_1": None, "name_1": None, "probability_1": None},
    ]
