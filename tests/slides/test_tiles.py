"""Tiles that stand for a slide: from all over it, the same for the same key, and no background."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bagnet.data.arrays import ArrayImages
from bagnet.data.decode import BadImage
from bagnet.data.labels import LabelledImages
from bagnet.data.names import ClassNames
from bagnet.data.sources import ImageFiles
from bagnet.data.transforms import Preprocessing
from bagnet.engine.classifier import Predictor
from bagnet.geometry import Box
from bagnet.slides.readers import ArrayReader, Pixels
from bagnet.slides.tiles import LargeSlide, SlideImages, Tiling, scale_of, seen_by, tiling_for, tiling_of
from bagnet.training.recipe import Recipe

from ..engine.classifiers import small_bagnet, small_windowed
from ..evaluation.colours import reader
from .made import BROKEN, RED, TILE, pixels, pyramid

HEIGHT, WIDTH = 30, 50


def ramp() -> NDArray[np.uint8]:
    """Each pixel says where it is: its row in red, its column in green; 0 in blue."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.uint8)
    return np.stack([rows, columns, np.zeros_like(rows)], 2)


def saved(folder: Path, values: NDArray[np.uint8]) -> Path:
    np.save(folder / "slide.npy", values)
    return folder / "slide.npy"


def corners(tiles: Any) -> list[tuple[int, int]]:
    """(top, left) of tiles of the ramp, which are blocks of it."""
    where = []
    for tile in tiles:
        top, left = int(tile[0, 0, 0]), int(tile[0, 0, 1])
        assert np.array_equal(tile, ramp()[top : top + tile.shape[0], left : left + tile.shape[1]])
        where.append((top, left))
    return where


def random(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_each_place_is_as_likely_and_few_tiles_are_spread(tmp_path: Path) -> None:
    slide = LargeSlide(saved(tmp_path, ramp()), Tiling(5, 10))
    bags = [corners(slide.sampled(10, 10, 5, random(seed))) for seed in range(300)]
    for axis, places in ((0, 21), (1, 41)):
        counts = np.bincount([corner[axis] for bag in bags for corner in bag], minlength=places)
        assert len(counts) == places
        assert np.abs(counts - 1500 / places).max() < 4 * (1500 / places) ** 0.5
    halves = [sum(left > 20 for _, left in bag) for bag in bags]
    assert np.std(halves) < 0.8 * (5 / 4) ** 0.5, "spread more evenly than draws each by itself"


def test_all_parts_come_once_before_any_comes_again(tmp_path: Path) -> None:
    slide = LargeSlide(saved(tmp_path, ramp()), Tiling(4, 10))
    assert sorted(corners(slide.spread(10, 10, 99))) == [(top, left) for top in (0, 10, 20) for left in (0, 10, 20, 30, 40)]
    assert sorted(corners(slide.spread(20, 40, 99))) == [(0, 0), (0, 10), (10, 0), (10, 10)]
    parts = sorted((top * 3 // 21, left * 5 // 41) for top, left in corners(slide.sampled(10, 10, 15, random(0))))
    assert parts == [(row, column) for row in range(3) for column in range(5)]
    assert len(slide.sampled(10, 10, 40, random(0))) == 40
    assert len(slide.sampled(30, 50, 3, random(0))) == 3


def test_a_speck_is_never_missed(tmp_path: Path) -> None:
    """Where places at random show nothing but background, all of the slide is looked at."""
    white = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    white[29, 49] = 0
    slide = LargeSlide(saved(tmp_path, white), Tiling(2, 10))
    for seed in range(20):
        assert (slide.sampled(10, 10, 2, random(seed)).min(axis=(1, 2, 3)) == 0).all()


def test_larger_than_the_slide_is_as_large_as_it(tmp_path: Path) -> None:
    """Tiles of another scale may be."""
    slide = LargeSlide(saved(tmp_path, ramp()), Tiling(4, 10))
    assert slide.sampled(40, 20, 2, random(0)).shape == (2, 30, 20, 3)


def test_a_function_of_the_generator_alone(tmp_path: Path) -> None:
    slide = LargeSlide(saved(tmp_path, ramp()), Tiling(4, 10))
    first = slide.sampled(10, 10, 4, random(1))
    copy = pickle.loads(pickle.dumps(slide))
    assert np.array_equal(copy.sampled(10, 10, 4, random(1)), first)
    assert not np.array_equal(copy.sampled(10, 10, 4, random(2)), first)


def test_background_and_what_is_corrupt_make_room_for_others(tmp_path: Path) -> None:
    """White right of column 620, and one of the file's tiles broken."""
    path = pyramid(tmp_path)
    tiles = LargeSlide(path, Tiling(4, TILE)).spread(TILE, TILE, 99)
    broken = Box(BROKEN[1].start, BROKEN[0].start, BROKEN[1].stop, BROKEN[0].stop)
    boxes = [Box(left, top, left + TILE, top + TILE) for top in range(0, 640, TILE) for left in (*range(0, 772, TILE), 772)]
    expected = [box for box in boxes if box.left < 620 and not box.intersect(broken).area]
    shown = {pixels()[box.slices].tobytes() for box in expected}
    assert {tile.tobytes() for tile in tiles} == shown
    every = LargeSlide(path, Tiling(4, TILE, skip_white=False)).spread(TILE, TILE, 99)
    assert len(every) == len([box for box in boxes if not box.intersect(broken).area])


def test_tiles_that_cannot_be_read_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each that was asked for in vain; of a slide none of which can be read nothing beside the error."""
    refused: list[tuple[int, int]] = []
    read = ArrayReader.read

    def corrupt(self: ArrayReader, level: int, box: Box) -> Pixels:
        if box.left < 20:
            refused.append((box.left, box.top))
            raise BadImage(f"{box.left}, {box.top} is corrupt")
        return read(self, level, box)

    monkeypatch.setattr(ArrayReader, "read", corrupt)
    slide, bad = LargeSlide(saved(tmp_path, ramp()), Tiling(6, 10)), list[tuple[str, str]]()
    tiles = slide.sampled(10, 10, 15, random(3), bad)
    assert len(tiles) == 15
    assert min(left for _, left in corners(tiles)) >= 20
    assert bad == [(f"10 x 10 at ({left}, {top}), level 0", f"{left}, {top} is corrupt") for left, top in refused[: len(bad)]]
    assert len(refused) - 2 <= len(bad) > 3, "what was read ahead and not needed does not count"
    count = len(bad)
    with pytest.raises(BadImage, match="is corrupt"):
        slide.sampled(30, 50, 1, random(0), bad)
    assert len(bad) == count


def test_a_slide_that_is_judged_by_other_tiles_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of five rows of five tiles that are not white one is broken."""
    slides = SlideImages(ImageFiles((pyramid(tmp_path),)), Tiling(8, TILE))
    for _ in range(2):
        shown = slides.pixels(0, 3)
    assert len(shown) == 24
    (line,) = caplog.messages
    assert "made.tif: 1 of its tiles cannot be read, and others stand in for them (" in line
    assert "128 x 128 pixels at (128, 512) cannot be read" in line


def test_the_level_that_is_asked_for(tmp_path: Path) -> None:
    path, (row, column) = pyramid(tmp_path), RED
    for tiling in (Tiling(1, 40, level=1), Tiling(1, 40, microns=1.1)):
        tiles = LargeSlide(path, tiling).spread(320, 450, 1)
        assert np.array_equal(tiles[0], pixels()[::2, ::2])
        assert tuple(tiles[0][row // 2, column // 2]) == (255, 0, 0)


@pytest.mark.parametrize(
    ("build", "tiling", "message"),
    [
        (lambda folder: folder / "gone.svs", Tiling(2, 10), r"gone\.svs: there is no such file"),
        (lambda folder: saved(folder, ramp()), Tiling(2, 31), r"50 x 30 pixels \(level 0\) are smaller than a tile of 31"),
        (lambda folder: saved(folder, ramp()), Tiling(2, 10, level=1), "there is no level 1"),
        (lambda folder: saved(folder, ramp()), Tiling(2, 10, microns=1), "does not say how large its pixels are"),
        (lambda folder: folder, Tiling(2, 10), "is none of the kinds that are read a region at a time"),
    ],
)
def test_a_slide_that_cannot_be_used_says_why(
    tmp_path: Path, build: Callable[[Path], Path], tiling: Tiling, message: str
) -> None:
    slide = LargeSlide(build(tmp_path), tiling)
    for call in (slide.check, lambda: slide.sampled(10, 10, 2, random(0)), lambda: slide.spread(10, 10, 2)):
        with pytest.raises(BadImage, match=message):
            call()


def test_nothing_but_background(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, np.full((HEIGHT, WIDTH, 3), 240, np.uint8))
    with pytest.raises(BadImage, match=r"slide\.npy: every tile is white: there is nothing to see"):
        LargeSlide(path, Tiling(2, 10)).sampled(10, 10, 2, random(0))
    assert len(LargeSlide(path, Tiling(2, 10, skip_white=False)).sampled(10, 10, 2, random(0))) == 2

    def unreadable(self: ArrayReader, level: int, box: Box) -> Pixels:
        raise BadImage("corrupt")

    monkeypatch.setattr(ArrayReader, "read", unreadable)
    with pytest.raises(BadImage, match="corrupt"):
        LargeSlide(path, Tiling(2, 10)).spread(10, 10, 2)


def test_a_collection_of_slides(tmp_path: Path) -> None:
    path = saved(tmp_path, ramp())
    labelled = LabelledImages(ImageFiles((path, tmp_path / "b.npy"), tmp_path), torch.tensor([0, 1]), ClassNames.numbered(2))
    slides = Tiling(3, 10).of(labelled)
    assert isinstance(slides.images, SlideImages)
    assert slides.images.names == ["slide.npy", "b.npy"]
    assert len(set(corners(slides.images.pixels(0, 3)))) == 12, "judged by four times as many"
    assert len(Tiling(5, 10).of(labelled).images.pixels(0, 3)) == 15, "there are no more"
    assert slides.take([1]).images.names == ["b.npy"]
    assert slides.images.fingerprint == labelled.images.fingerprint
    with pytest.raises(BadImage, match="three channels, where 1 are expected"):
        slides.images.pixels(0, 1)
    with pytest.raises(BadImage, match="is a slide, of which only tiles are read"):
        slides.images.photo(0)
    with pytest.raises(ValueError, match="tiles are of slides, each a file"):
        Tiling(3, 10).of(slides)


def trained(fields: object, crop: int | None = None) -> Predictor:
    """A model whose card has such a recipe."""
    model = copy(small_bagnet())
    assert model.card is not None
    model.card = replace(model.card, preprocessing=Preprocessing(None, crop), more={"recipe": fields})
    return model


RECIPE = Recipe(tiles=8, train_crop=40, microns=0.5, skip_white=False).to_dict()


def test_tiles_are_as_the_card_says_but_for_what_is_asked_for() -> None:
    model = trained(RECIPE)
    assert tiling_of(model) == tiling_for(model) == Tiling(8, 40, None, 0.5, skip_white=False)
    assert tiling_for(model, 3) == Tiling(3, 40, None, 0.5, skip_white=False)
    assert tiling_for(model, level=1) == Tiling(8, 40, 1, skip_white=False)
    assert tiling_for(model, 3, microns=2) == Tiling(3, 40, None, 2, skip_white=False)
    assert tiling_for(model, 0) is None
    assert tiling_for(trained(Recipe().to_dict(), crop=30), 2) == Tiling(2, 30)
    assert tiling_for(small_windowed(), 2) == Tiling(2, small_windowed().transform.crop or small_windowed().geometry.size)
    assert scale_of(model, None, None) == (None, 0.5)
    assert scale_of(model, 0, None) == (0, None)
    assert Tiling(8, 40, None, 0.5).words == "at most 32 tiles of 40 px at 0.5 microns per pixel"


@pytest.mark.parametrize("fields", [None, "modern", [], {}, {"tiles": 3}, Recipe().to_dict()])
def test_a_card_that_says_nothing_of_slides(fields: object) -> None:
    model = trained(fields)
    assert tiling_of(model) is None
    assert tiling_for(model) is None
    assert scale_of(model, None, None) == (None, None)
    with pytest.raises(ValueError, match=r"level and microns are of slides: say how many tiles .*--tiles 16"):
        tiling_for(model, level=1)
    with pytest.raises(ValueError, match="was not trained on tiles, and nothing says how large they are"):
        tiling_for(model, 2)


def test_a_model_that_sees_no_tiles() -> None:
    with pytest.raises(
        ValueError, match=r"tiles are for bags of windows, whose answer for a slide is a mean; reader\.colours is none"
    ):
        tiling_for(reader(), 2)


def test_what_is_seen_of_files_and_of_others(tmp_path: Path) -> None:
    slides = LabelledImages(ImageFiles((saved(tmp_path, ramp()),)), torch.tensor([0]), ClassNames.numbered(2))
    photographs = replace(slides, images=ImageFiles((tmp_path / "a.png",)))
    arrays = replace(slides, images=ArrayImages(ramp()[None], "arrays"))
    model, plain = trained(RECIPE), trained({})
    assert seen_by(model)(slides).images == SlideImages(slides.images, Tiling(8, 40, None, 0.5, skip_white=False))
    assert seen_by(model)(arrays) is arrays
    assert seen_by(plain)(photographs) is seen_by(model, 0)(photographs) is photographs
    with pytest.raises(ValueError, match="tiles are of slides, each a file"):
        seen_by(model, 2)(arrays)
    with pytest.raises(ValueError, match=r"slide\.npy: is a slide: say how many tiles of each are to be seen \(--tiles 16\)"):
        seen_by(plain)(slides)
