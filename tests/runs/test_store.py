"""The store loses no row and repeats none, wherever the work stops, and keeps other runs away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from socket import gethostname

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bagnet.runs import store as store_module
from bagnet.runs.store import MANIFEST, Busy, OtherRun, alone, claim, differences, held_settings

ROWS = [(f"image {number}.jpg", {"index": number, "name": f'a "name", {number}\n'}) for number in range(9)]


def test_rows_come_back_in_the_order_asked_for(tmp_path: Path) -> None:
    with claim(tmp_path / "run", {"a": 1}) as store:
        assert not store.resumed
        rows = store.rows("answers")
        rows.append(ROWS[:4])
        rows.append(reversed(ROWS[4:]))
        assert list(rows) == [*ROWS[:4], *reversed(ROWS[4:])]
    with claim(tmp_path / "run", {"a": 1}) as store:
        assert store.resumed
        assert list(store.rows("answers").of(name for name, _ in ROWS)) == ROWS


@given(end=st.integers(0, 2000), before=st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_ended_at_any_byte_it_goes_on(tmp_path_factory: pytest.TempPathFactory, end: int, before: int) -> None:
    """The file of rows may end anywhere, as after a crash or a full disk."""
    folder = tmp_path_factory.mktemp("run")
    with claim(folder, {}) as store:
        rows = store.rows("answers")
        rows.append(ROWS[:before])
    rows.path.write_bytes(rows.path.read_bytes()[:end])
    with claim(folder, {}) as store:
        rows = store.rows("answers")
        rows.append(row for row in ROWS if row[0] not in rows.done)
        assert list(rows) == ROWS
    with claim(folder, {}) as store:
        assert list(store.rows("answers")) == ROWS


def test_a_key_that_is_no_text(tmp_path: Path) -> None:
    with claim(tmp_path / "run", {}) as store:
        store.rows("answers").append([("b\udcffd.png", {"index": 3})])
    with claim(tmp_path / "run", {}) as store:
        assert list(store.rows("answers")) == [("b\udcffd.png", {"index": 3})]


def test_arrays_and_small_arrays_last(tmp_path: Path) -> None:
    with claim(tmp_path / "run", {}) as store:
        array = store.array("logits", (3, 2), np.float32, np.nan)
        array[1] = 5
        array.flush()
        store.keep("best", logit=np.arange(3), words=np.array("some"))
        assert store.kept("best") is None  # of an earlier call it would be
    with claim(tmp_path / "run", {}) as store:
        assert np.array_equal(store.array("logits", (3, 2), np.float32), [[np.nan] * 2, [5, 5], [np.nan] * 2], equal_nan=True)
        best = store.kept("best")
        assert best is not None
        assert (best["logit"].tolist(), best["words"].item()) == ([0, 1, 2], "some")
        assert store.kept("other") is None


def test_rows_without_the_array_that_they_speak_of_are_begun_anew(tmp_path: Path) -> None:
    with claim(tmp_path / "run", {}) as store:
        store.array("features", (3,), np.float32)
        store.rows("answers").append(ROWS[:2])
    (tmp_path / "run/features.npy").unlink()
    with claim(tmp_path / "run", {}) as store:
        store.array("features", (3,), np.float32)
        assert not store.resumed
        assert not store.rows("answers").done


def test_before_there_is_something_to_keep_there_is_nothing(tmp_path: Path) -> None:
    with claim(tmp_path / "new/run", {"size": 10}) as store:
        store.rows("answers")
    assert not list(tmp_path.iterdir())


def test_what_is_discarded_is_gone(tmp_path: Path) -> None:
    with claim(tmp_path / "new/run", {}) as store:
        store.rows("answers").append(ROWS)
        store.discard()
    assert not list(tmp_path.iterdir())


def test_another_run_is_refused_and_replaced_when_asked_only(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with claim(folder, {"recipe": {"epochs": 3}, "weights": "a" * 64}) as store:
        store.rows("answers").append(ROWS)
    wanted = {"recipe": {"epochs": 4}, "weights": "b" * 64}
    with (
        pytest.raises(OtherRun, match=r"holds a run with epochs 3 instead of 4, other weights; .*--overwrite"),
        claim(folder, wanted),
    ):
        pass
    with pytest.raises(OtherRun, match=r"choose another output$"), claim(folder, wanted, overwrite=None):
        pass
    with claim(folder, wanted, overwrite=True) as store:
        assert not store.resumed
        assert held_settings(folder) != wanted  # nothing was kept yet
        rows = store.rows("answers")
        assert not rows.done
        assert list(rows) == []
        store.rows("other answers").append(ROWS[:1])
    assert sorted(path.name for path in folder.iterdir()) == ["other answers.jsonl", MANIFEST]
    with claim(folder, wanted) as store:
        assert store.resumed


def test_settings_that_are_free_may_differ(tmp_path: Path) -> None:
    with claim(tmp_path / "run", {"recipe": {"unreadable": 0.1, "epochs": 3}}) as store:
        store.begin()
    with claim(tmp_path / "run", {"recipe": {"unreadable": 0.2, "epochs": 3}}, free={"recipe.unreadable"}) as store:
        assert store.resumed


def test_differences_say_what_a_person_can_use() -> None:
    before = {"a": [1, 2], "b": "x" * 64, "c": None, "d": {"e": 1}}
    assert differences(before, before) == []
    assert differences(before, {"a": [1], "b": "y" * 64, "d": {"e": 2}}) == [
        "a [1, 2] instead of [1]",
        "other b",
        "e 1 instead of 2",
    ]


def test_two_runs_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with claim(folder, {}) as store:
        for overwrite in (False, True):
            with pytest.raises(Busy, match="run: another run is writing it") as refused, claim(folder, {}, overwrite=overwrite):
                pass
            assert f"(process {os.getpid()} on {gethostname()} since 2" in str(refused.value)
        store.rows("answers").append(ROWS)
    with claim(folder, {}) as store:
        assert store.resumed


def test_a_folder_is_the_same_by_every_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(folder)
    for first, second in ((folder, tmp_path / "link"), (Path(), folder), (Path("../run"), Path("../link/."))):
        with alone(first), pytest.raises(Busy, match="another run is writing it"), alone(second):
            pass
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_lock_that_a_killed_run_left_locks_nothing(tmp_path: Path) -> None:
    (tmp_path / ".run.lock").write_text("process 1 on nowhere since 2001-01-01 00:00")
    with claim(tmp_path / "run", {}) as store:
        store.begin()
        with pytest.raises(Busy) as refused, alone(tmp_path / "run"):
            pass
        assert "nowhere" not in str(refused.value)
    assert not (tmp_path / ".run.lock").exists()


def test_a_lock_that_says_nothing_still_locks(tmp_path: Path) -> None:
    with alone(tmp_path / "run"):
        (tmp_path / ".run.lock").write_text("")
        with pytest.raises(Busy, match="run: another run is writing it; wait"), alone(tmp_path / "run"):
            pass


def test_an_error_of_making_the_lock_is_no_other_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(store_module.FileLock, "acquire", refused)
    with (
        pytest.raises(OSError, match=r"run: cannot be written \(Permission denied\); choose another output") as error,
        alone(tmp_path / "run"),
    ):
        pass
    assert not isinstance(error.value, Busy)
    assert "another run" not in str(error.value)
    (tmp_path / "run").mkdir()
    message = r"cannot be written \(Permission denied\), and the lock of run has to lie there; name a folder inside it"
    with pytest.raises(OSError, match=message), alone(tmp_path / "run"):
        pass


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no folder in which no file can be made")
def test_where_no_file_can_be_made_no_run_is_at_work() -> None:
    with (
        pytest.raises(OSError, match=r"/proc/run: cannot be written \(no file can be made there\); choose") as error,
        claim(Path("/proc/run"), {}),
    ):
        pass
    assert not isinstance(error.value, Busy)


def test_a_name_that_leaves_no_room_for_the_lock(tmp_path: Path) -> None:
    folder = tmp_path / ("ü" * 127)
    with alone(folder), pytest.raises(Busy), alone(folder):
        pass
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_said_of_the_file_and_costs_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with claim(tmp_path / "run", {}) as store:
        rows = store.rows("answers")
        rows.append(ROWS[:2])
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            with pytest.raises(OSError, match=r"run/answers\.jsonl: cannot be written \(No space left on device\)$"):
                rows.append(ROWS[2:4])
        assert list(rows.done) == [key for key, _ in ROWS[:2]]
        monkeypatch.setattr(os, "posix_fallocate", lambda *_: full(0))
        with pytest.raises(OSError, match=r"run/logits\.npy: cannot be written \(No space left on device\)$"):
            store.array("logits", (10, 10), np.float32)
        assert not (tmp_path / "run/logits.npy").exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from bagnet.runs.store import alone
with alone(Path(sys.argv[1])):
    print("held", flush=True)
    signal.pause()
"""


def test_a_killed_process_gives_its_lock_free(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Busy, match=f"process {holder.pid} on "), alone(tmp_path / "run"):
            pass
        holder.kill()
        holder.wait()
    assert (tmp_path / ".run.lock").exists()
    with alone(tmp_path / "run"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"file.*cannot be written"), claim(tmp_path / "file/run", {}):
        pass


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"settings": 3})])
def test_a_broken_manifest_is_not_written_over_unasked(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(ValueError, match=r"run\.json: does not say any more what run this is"), claim(tmp_path, {}):
        pass
    with claim(tmp_path, {}, overwrite=True) as store:
        store.begin()
    assert held_settings(tmp_path) == {}


def test_folders_made_for_a_lock_are_taken_away(tmp_path: Path) -> None:
    with alone(tmp_path / "a/b/c"):
        assert (tmp_path / "a/b/.c.lock").exists()
    assert not list(tmp_path.iterdir())
