"""Photographs that would not fit go through tiles to the same evidence."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bagnet
from bagnet.geometry import Box
from bagnet.slides import large
from bagnet.slides.large import PER_PIXEL, explain_large, why_in_tiles
from bagnet.slides.readers import open_reader

from ..engine.classifiers import small_bagnet

PIXELS = np.random.default_rng(0).integers(0, 256, (120, 200, 3), np.uint8)


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    Image.fromarray(PIXELS).save(tmp_path / "scan.png")
    return tmp_path / "scan.png"


def test_what_fits_is_explained_in_one_piece(photograph: Path, tmp_path: Path) -> None:
    needed = PER_PIXEL * 120 * 200
    assert why_in_tiles(photograph) == ""
    assert why_in_tiles(photograph, free=2 * needed) == ""
    assert why_in_tiles(photograph, free=needed) == "200 x 120 pixels would take 0.0 GB in one piece, of 0.0 GB that are free"
    np.save(tmp_path / "scan.npy", PIXELS)
    assert why_in_tiles(tmp_path / "scan.npy") == "200 x 120 pixels, read from the disk"
    (tmp_path / "broken.png").write_bytes(b"no image")
    assert why_in_tiles(tmp_path / "broken.png", free=0) == "", "explain says what is wrong with it"


def test_the_limit_of_pillow_does_not_matter_for_a_header(photograph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor that of `decode`, for whoever reads a region at a time."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    monkeypatch.setattr(large, "LARGEST", 1000)
    assert why_in_tiles(photograph) == "200 x 120 pixels are more than the 1,000 that are explained in one piece"
    assert np.array_equal(open_reader(photograph).read(0, Box(0, 0, 200, 120)), PIXELS)
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_it_is_what_explain_says(temperature: float, photograph: Path, tmp_path: Path) -> None:
    model = copy(small_bagnet())
    assert model.card is not None
    seen = {"tiles": 4, "train_crop": 40, "level": 0, "microns": 0.5, "skip_white": True}  # of no matter for a photograph
    model.card = replace(model.card, temperature=temperature, more={"recipe": seen})
    whole = bagnet.explain(model, photograph, transform=model.transform.whole(None))
    result = explain_large(model, photograph, ["dog", "cow"], tmp_path / "out")
    assert np.abs(result.slide.map("dog") - whole.map("dog")).max() < 1e-5 * np.abs(whole.values).max()
    assert [answer.name for answer in result.top(3)] == [answer.name for answer in whole.top(3)]
    for answer, expected in zip(result.top(5), whole.top(5), strict=True):
        assert answer.index == expected.index
        assert answer.logit == pytest.approx(expected.logit, abs=1e-5)
        assert answer.probability == pytest.approx(expected.probability, abs=1e-5)
    assert [path.name for path in result.pictures] == ["dog.png", "cow.png"]
    assert Image.open(result.pictures[0]).size == (200, 120)


def test_available_memory_decides(photograph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "available_memory", lambda: 1000)
    assert why_in_tiles(photograph) != ""
    monkeypatch.setattr(large, "available_memory", lambda: None)
    assert why_in_tiles(photograph) == ""
