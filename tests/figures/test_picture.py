"""A picture: the same figure in each format, files that are whole or not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from bagnet.figures.picture import DPI, Picture, fingerprint, photograph_of


@pytest.fixture
def picture() -> Picture:
    """Half an inch of red over half an inch of blue."""
    figure = Figure(figsize=(2, 1))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow([[[1.0, 0, 0]], [[0, 0, 1.0]]], aspect="auto")
    axes.set_title("costs $5 or $6")
    return Picture(figure)


def test_as_an_image(picture: Picture) -> None:
    image = picture.image
    assert image.size == (2 * DPI, DPI)
    assert image.mode == "RGB"
    assert (image.getpixel((DPI, 5)), image.getpixel((DPI, DPI - 5))) == ((255, 0, 0), (0, 0, 255))


def test_notebooks_show_what_is_saved(picture: Picture, tmp_path: Path) -> None:
    picture.save(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes() == picture.png() == picture._repr_png_()


def test_names_are_no_formulas(picture: Picture) -> None:
    assert not picture.figure.axes[0].title.get_parse_math()


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "pdf", "svg", "PNG"])
def test_files_of_each_kind(picture: Picture, tmp_path: Path, ending: str) -> None:
    picture.save(tmp_path / f"why.{ending}")
    content = (tmp_path / f"why.{ending}").read_bytes()
    magic = {"png": b"\x89PNG", "jpg": b"\xff\xd8", "webp": b"RIFF", "pdf": b"%PDF", "svg": b"<?xml"}
    assert content.startswith(magic[ending.lower()])


def test_other_endings_are_refused(picture: Picture, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"why\.txt: pictures end in \.png, \.jpg"):
        picture.save(tmp_path / "why.txt")
    assert not any(tmp_path.iterdir())


def test_an_output_that_cannot_be_written_leaves_the_old_one(picture: Picture, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(OSError, match="cannot be written"):
        picture.save(tmp_path / "file" / "why.png")
    assert (tmp_path / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_saved_picture_says_which_photograph_it_is_about(picture: Picture, tmp_path: Path) -> None:
    photograph = Image.new("RGB", (3, 2), "red")
    about = fingerprint(photograph)
    assert about == fingerprint(photograph.copy())
    assert about not in (fingerprint(Image.new("RGB", (2, 3), "red")), fingerprint(Image.new("RGB", (3, 2), "blue")))
    for ending in ("png", "jpg", "pdf", "svg"):
        Picture(picture.figure, about).save(tmp_path / f"why.{ending}")
    assert photograph_of(tmp_path / "why.png") == about
    picture.save(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("no picture")
    for name in ("why.jpg", "none.png", "text.png", "nowhere.png", "."):
        assert photograph_of(tmp_path / name) == ""


def test_drawing_twice_gives_the_same(picture: Picture) -> None:
    assert np.array_equal(np.asarray(picture.image), np.asarray(picture.image))


def test_texts_are_looked_for_once(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes a while, and not every picture that is made is looked at."""
    searches: list[object] = []
    search = Figure.findobj
    monkeypatch.setattr(Figure, "findobj", lambda *words, **more: [searches.append(words), search(*words, **more)][1])
    made = Picture(Figure())
    assert searches == []
    made.png()
    made.png()
    assert len(searches) == 1
    assert picture.figure is picture.figure
