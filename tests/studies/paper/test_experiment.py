"""What all experiments have in common: results that are there, beginnings, images that cannot be used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from torch import Tensor

from bagnet.runs.store import Busy, OtherRun, alone
from bagnet.studies.paper.accuracy import Accuracy
from bagnet.studies.paper.errors import Errors
from bagnet.studies.paper.interactions import Interactions
from bagnet.studies.paper.page import run_all
from bagnet.studies.paper.patches import Patches
from bagnet.studies.paper.subjects import gather

from .material import images_of, noise, saying, small_bagnet

SIZE = 33


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return images_of(tmp_path / "images.npz", noise(12, SIZE), [0, 1, 2] * 4)


def test_what_is_measured_outlives_a_figure_that_fails(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a figure that is missed is drawn again."""
    material = gather([("it", small_bagnet(SIZE))], images)
    whole = Interactions((8,)).run(material, tmp_path / "whole")

    def failing(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Interactions, "_picture", failing)
        with pytest.raises(KeyboardInterrupt):
            Interactions((8,)).run(material, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Interactions, "_measure", failing)
        result = Interactions((8,)).run(material, tmp_path)
        assert result.record["measures"] == whole.record["measures"]
        assert not list(tmp_path.rglob("*.journal"))
        assert Interactions((8,)).run(material, tmp_path).there_already
    result.figures[0].unlink()
    assert not Interactions((8,)).run(material, tmp_path).there_already
    assert result.figures[0].is_file()


def test_another_run_at_work_is_left_alone(images: Path, tmp_path: Path) -> None:
    """The second gives up; the journal of the first stays as it is."""
    kept = tmp_path / "interactions/interactions.csv.journal"
    with alone(kept.parent):
        kept.parent.mkdir()
        kept.write_text("of the first\n", encoding="utf-8")
        for overwrite in (False, True):
            with pytest.raises(Busy, match="another run is writing it"):
                Interactions((8,)).run(gather([("it", small_bagnet(SIZE))], images), tmp_path, overwrite)
        assert kept.read_text(encoding="utf-8") == "of the first\n"


def test_nothing_of_other_settings_is_replaced_unasked(images: Path, tmp_path: Path) -> None:
    """Neither a beginning nor a result."""

    def failing(x: Tensor) -> Tensor:
        if len(asked) < 3:
            asked.append(len(x))
            return x.mean((2, 3))
        raise KeyboardInterrupt

    asked: list[int] = []
    material = gather([("it", saying(failing, 3, SIZE))], images, batch_size=1)
    with pytest.raises(KeyboardInterrupt):
        Interactions((8,)).run(material, tmp_path)
    begun = (tmp_path / "interactions/interactions.csv.journal").read_bytes()
    good = replace(material, subjects=gather([("it", small_bagnet(SIZE))], images).subjects)
    with pytest.raises(OtherRun, match=r"other models.*--overwrite"):
        Interactions((8,)).run(good, tmp_path)
    assert (tmp_path / "interactions/interactions.csv.journal").read_bytes() == begun
    result = Interactions((8,)).run(good, tmp_path, overwrite=True)
    with pytest.raises(OtherRun, match=r"sides \[8\] there, \[4\] here"):
        Interactions((4,)).run(good, tmp_path)
    with pytest.raises(OtherRun, match="images 12 there, 6 here"):
        run_all([Interactions((8,))], good, tmp_path, {"interactions": 6})
    assert Interactions((8,)).run(good, tmp_path).record == result.record
    assert not Interactions((4,)).run(good, tmp_path, overwrite=True).there_already


def test_a_request_that_fails_replaces_nothing(tmp_path: Path) -> None:
    data = images_of(tmp_path / "images.npz", noise(6, SIZE), [0, 1, 2] * 2)
    pair = [(name, small_bagnet(SIZE)) for name in "ab"]
    result = Errors(top=1).run(gather(pair, data), tmp_path)
    before = {path.name: path.read_bytes() for path in result.folder.iterdir()}
    with pytest.raises(ValueError, match="name two at least"):
        Errors(top=1).run(gather(pair[:1], data), tmp_path, overwrite=True)
    assert {path.name: path.read_bytes() for path in result.folder.iterdir()} == before
    assert Errors(top=1).run(gather(pair, data), tmp_path).there_already


def test_what_is_no_journal_is_not_replaced_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = images_of(tmp_path / "images.npz", noise(6, SIZE), [0, 1, 2] * 2)
    material = gather([("it", small_bagnet(SIZE))], data)
    with monkeypatch.context() as patch:
        patch.setattr("bagnet.studies.paper.patches._windows", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            Patches().run(material, tmp_path)
    with pytest.raises(OtherRun, match="count 8 there, 2 here"):
        Patches(count=2).run(material, tmp_path)
    assert len(list((tmp_path / "patches").glob("*.npz"))) == 1
    assert not Patches().run(material, tmp_path).there_already
    assert not (tmp_path / "patches/begun.json").exists()


def _interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


def test_one_that_fails_does_not_end_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any) -> None:
        raise RuntimeError("out of memory\nand much more")

    monkeypatch.setattr(Interactions, "find", failing)
    data = images_of(tmp_path / "images.npz", noise(3, SIZE), [0, 1, 2])
    results, left_out, page = run_all([Accuracy(), Interactions((8,))], gather([("it", small_bagnet(SIZE))], data), tmp_path, {})
    assert [one.name for one in results] == ["accuracy"]
    assert left_out == {"interactions": "it failed: out of memory"}
    assert "out of memory" in page.read_text()


def test_names_are_no_formulas(tmp_path: Path) -> None:
    name = r"a $\frac{x$ b"
    data = images_of(tmp_path / "images.npz", noise(6, SIZE), [0, 1, 2] * 2)
    result = Errors(top=1).run(gather([(name, small_bagnet(SIZE)), ("$", small_bagnet(SIZE))], data), tmp_path)
    assert result.figures[0].stat().st_size


def test_images_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    """In the result and on the page, whether an experiment measures image by image or asks for logits."""
    folder = tmp_path / "set/val"
    for label in range(3):
        (folder / f"class {label}").mkdir(parents=True)
        for number, pixels in enumerate(noise(4, SIZE, label)):
            Image.fromarray(pixels).save(folder / f"class {label}/{number}.png")
    (folder / "class 1/2.png").write_bytes(b"no image")
    model = small_bagnet(SIZE)
    assert model.card is not None
    material = gather([("it", model)], tmp_path / "set")
    results, _, page = run_all([Accuracy(), Interactions((8,))], material, tmp_path / "out", {})
    for one in results:
        assert list(one.unusable) == [str(folder / "class 1/2.png")] or list(one.unusable) == ["class 1/2.png"], one.unusable
        assert "2.png" in next(iter(one.unusable.values()))
    assert page.read_text().count("(1 of which could not be used, such as ") == 2
    again = Accuracy().run(gather([("it", model)], tmp_path / "set"), tmp_path / "out")
    assert again.there_already
    assert again.unusable == results[0].unusable
