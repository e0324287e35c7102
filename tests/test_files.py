"""A file is written wholly or not at all, and a model's name becomes one that any system takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from bagnet.files import NotWritten, file_stem, fitting_name, missing_hint, replacing


def test_the_new_file_takes_the_place_of_the_old_one_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with replacing(path) as part:
        part.write_text("new")
        assert part.parent == path.parent, "on the same disk, where a rename is one step"
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_the_folder_is_made(tmp_path: Path) -> None:
    with replacing(tmp_path / "a" / "b" / "c.txt") as part:
        part.write_text("x")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "x"


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt])
def test_after_a_failure_all_is_as_it_was(error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as part:
            part.write_text("half")
            raise error("stop")

    with pytest.raises(error, match="stop"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"

    def full() -> None:
        with replacing(path) as part:
            part.write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"^\S*table\.csv: cannot be written \(No space left on device\)$"):
        full()
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with (
        pytest.raises(OSError, match=r"file/table\.csv: cannot be written \((Not a directory|File exists)\)"),
        replacing(tmp_path / "file" / "table.csv"),
    ):
        pytest.fail("there is nowhere to write to")


def test_a_name_that_leaves_no_room_for_a_hidden_one(tmp_path: Path) -> None:
    path = tmp_path / f"{'x' * 251}.csv"
    with replacing(path) as part:
        part.write_text("new")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["new"]
    assert path.exists()
    too_long = tmp_path / f"{'x' * 252}.csv"
    with (
        pytest.raises(NotWritten, match=r"x\.csv: cannot be written \(File name too long\); names have at most 255 bytes$"),
        replacing(too_long) as part,
    ):
        part.touch()
    assert len(list(tmp_path.iterdir())) == 1


def test_what_is_said_already_is_not_said_twice(tmp_path: Path) -> None:
    def inner() -> None:
        with replacing(tmp_path / "a"), replacing(tmp_path / "b"):
            raise OSError("8192 requested and 4096 written")

    with pytest.raises(NotWritten) as error:
        inner()
    assert str(error.value) == f"{tmp_path / 'b'}: cannot be written (8192 requested and 4096 written)"


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("dog", "dog.why.png"),
        ("x" * 247, "x" * 247 + ".why.png"),
        ("x" * 248, "x" * 247 + ".why.png"),
        ("ü" * 127, "ü" * 123 + ".why.png"),  # two bytes each, of which none is left alone
        ("\udcff" * 250, "\udcff" * 247 + ".why.png"),
    ],
)
def test_stems_lose_their_ends_where_names_would_be_too_long(stem: str, name: str) -> None:
    assert fitting_name(stem, ".why.png") == name


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("bagnet33.orig_in1k", "bagnet33.orig_in1k"),
        ("bagnet.zoo.comparison:small_vgg", "bagnet.zoo.comparison_small_vgg"),
        ("hf-hub:user/repo", "hf-hub_user_repo"),
        ("a  b\\c*?", "a_b_c"),
        ("../secret", "secret"),
        ("größe+1", "größe+1"),
        ("...", "model"),
        ("", "model"),
    ],
)
def test_names_of_models_as_names_of_files(name: str, stem: str) -> None:
    assert file_stem(name) == stem


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("https://example.com/dog.jpg", "an address is not fetched"),
        ("s3:/bucket/photos", "an address is not fetched"),
        ("~/dog.jpg", "~ is no folder here"),
        ("C:/photos/dog.jpg", "check the path"),
        ("photos/dog.jpg", "check the path"),
    ],
)
def test_what_may_be_wrong_with_a_path(path: str, words: str) -> None:
    assert words in missing_hint(path)
