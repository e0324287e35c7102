"""What counts in a folder, what does not, and that nothing is left out without a word."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from bagnet.cli import main
from bagnet.data.folders import Walk
from bagnet.data.labelled import open_labelled
from bagnet.data.labels import BadLabels
from bagnet.data.sources import open_images
from bagnet.studies.paper.subjects import _labelled

from .images import encoded

HIDDEN, INSIDE = "hidden files", "files in hidden folders or those of other programs"
NO_FILES, LINKS, CLOSED = "pipes or devices", "links to folders that are looked into already", "folders that may not be opened"


def filled(root: Path, *names: str) -> Path:
    """A folder with an image of each name, and with an empty folder for each name that ends in a line."""
    root.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = root / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_bytes(encoded(1))
    return root


def walked(root: Path) -> tuple[list[str], dict[str, int]]:
    """(names of all files, what was left out)"""
    walk = Walk([".png", ".jpg"])
    return [path.relative_to(root).as_posix() for path in walk.all_files(root)], dict(walk.left_out)


def test_files_by_their_endings_in_order(tmp_path: Path) -> None:
    filled(tmp_path, "b.png", "a.JPG", "c/d/e.Png", "c.png.txt", "notes", "png", "empty/")
    assert walked(tmp_path) == (["a.JPG", "b.png", "c/d/e.Png"], {})


def test_a_folder_is_no_file_whatever_it_is_called(tmp_path: Path) -> None:
    filled(tmp_path, "0.png/1.png", "2.png/", "3.png")
    assert walked(tmp_path) == (["0.png/1.png", "3.png"], {})
    assert [path.name for path in Walk([".png"]).files(tmp_path)] == ["3.png"]
    assert [path.name for path in Walk().folders(tmp_path)] == ["0.png", "2.png"]


def test_what_other_programs_leave_is_counted(tmp_path: Path) -> None:
    names = (".hidden.png", "._a.png", ".ipynb_checkpoints/a.png", "__MACOSX/x/._a.png", "x/@eaDir/a.png/thumb.jpg")
    filled(tmp_path, "a.png", *names, "#recycle/b.png", ".git/no-image", ".DS_Store", "x/$RECYCLE.BIN/c.jpg")
    assert walked(tmp_path) == (["a.png"], {HIDDEN: 2, INSIDE: 5})
    assert [path.name for path in Walk().folders(tmp_path)] == ["x"]


def test_a_folder_that_is_asked_for_may_be_hidden(tmp_path: Path) -> None:
    root = filled(tmp_path / ".cache/__MACOSX", "a.png")
    assert walked(root) == (["a.png"], {})


def test_links_lead_to_files_and_folders(tmp_path: Path) -> None:
    root = filled(tmp_path / "root", "a.png")
    elsewhere = filled(tmp_path / "elsewhere", "b.png", "deep/c.png")
    (root / "folder").symlink_to(elsewhere)
    (root / "file.png").symlink_to(elsewhere / "b.png")
    assert walked(root) == (["a.png", "file.png", "folder/b.png", "folder/deep/c.png"], {})


def test_links_that_go_round_in_a_circle(tmp_path: Path) -> None:
    root = filled(tmp_path / "root", "z/a.png", "b/c/d.png")
    filled(tmp_path / "beside", "e.png")
    (root / "z/up").symlink_to(root)
    (root / "b/self").symlink_to(root / "b")
    (root / "a-again").symlink_to(root / "z")  # though it comes first in the alphabet
    (root / "all").symlink_to(tmp_path)
    (root / "loop.png").symlink_to(root / "loop.png")  # whoever reads it says what it is
    assert walked(root) == (["b/c/d.png", "loop.png", "z/a.png"], {LINKS: 4})
    assert [path.name for path in Walk().folders(root)] == ["a-again", "b", "z"], "not what the folder itself lies in"


def test_two_links_to_a_folder_are_it_once(tmp_path: Path) -> None:
    elsewhere = filled(tmp_path / "elsewhere", "b.png")
    root = filled(tmp_path / "root")
    for name in ("two", "one"):
        (root / name).symlink_to(elsewhere)
    assert walked(root) == (["one/b.png"], {LINKS: 1})


def test_a_link_to_nothing_is_for_the_reader_to_say(tmp_path: Path) -> None:
    filled(tmp_path, "a.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert walked(tmp_path) == (["a.png", "gone.png"], {})


def test_pipes_and_sockets_are_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path, "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    monkeypatch.chdir(tmp_path)  # a socket's path is to be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
        assert walked(tmp_path) == (["a.png"], {NO_FILES: 2})


def test_folders_that_may_not_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path, "a.png", "closed/b.png")
    scandir = os.scandir

    def guarded(path: Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert walked(tmp_path) == (["a.png"], {CLOSED: 1})
    with pytest.raises(OSError, match=r"closed: may not be opened \(Permission denied\); check its permissions"):
        Walk([".png"]).all_files(tmp_path / "closed")


def predicted(root: Path) -> list[str]:
    return list(open_images(root).names)


def labelled(root: Path) -> list[str]:
    return list(open_labelled(root).images.names)


@pytest.mark.parametrize("names_in", [predicted, labelled])
def test_commands_see_the_same_and_say_what_they_leave_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, names_in: Callable[[Path], list[str]]
) -> None:
    filled(
        tmp_path, "cat/0.png/1.png", "cat/.ipynb_checkpoints/2.png", "dog/3.PNG", "dog/@eaDir/3.PNG/small.jpg", "__MACOSX/4.png"
    )
    filled(tmp_path.parent / "birds", "5.png")
    (tmp_path / "finch").symlink_to(tmp_path.parent / "birds")
    assert names_in(tmp_path) == ["cat/0.png/1.png", "dog/3.PNG", "finch/5.png"]
    assert caplog.messages == [f"{tmp_path}: left out files in hidden folders or those of other programs (3)"]


def test_a_class_of_thumbnails_alone_is_empty(tmp_path: Path) -> None:
    filled(tmp_path, "cat/1.png", "dog/.thumbnails/1.png")
    with pytest.raises(BadLabels, match="dog: holds no images"):
        open_labelled(tmp_path)


def test_a_folder_called_like_a_table_is_none(tmp_path: Path) -> None:
    filled(tmp_path, "train.parquet/1.png", "cat/1.png")
    assert labelled(tmp_path) == ["cat/1.png", "train.parquet/1.png"]


def test_a_hidden_folder_makes_no_classes(tmp_path: Path) -> None:
    filled(tmp_path, "1.png", ".ipynb_checkpoints/1.png", "@eaDir/1.png")
    assert _labelled(tmp_path, "val") is None


def test_a_command_says_it_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    filled(tmp_path, "val/a/1.png", "val/b/1.png", "val/b/.ipynb_checkpoints/1.png")
    with pytest.raises(SystemExit):
        main(["evaluate", str(tmp_path)])
    assert capfd.readouterr().err.count("left out") == 1
