"""Maps that `predict` wrote come back as the evidence that `explain` gives."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bagnet
from bagnet.data.transforms import Preprocessing
from bagnet.model import BagNet
from bagnet.runs.maps import open_maps
from bagnet.runs.predict import predict


@pytest.fixture
def model(small: Callable[..., BagNet]) -> BagNet:
    model = small(kernel3=(1, 1, 1, 0))
    assert model.card is not None
    model.card = replace(model.card, preprocessing=Preprocessing(44, 40))
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(4):
        Image.fromarray(random.integers(0, 256, (50, 60, 3), dtype=np.uint8)).save(tmp_path / f"photos/{number}.png")
    (tmp_path / "photos/broken.jpg").write_bytes(b"no image")
    return tmp_path / "photos"


@pytest.fixture
def maps(model: BagNet, folder: Path, tmp_path: Path) -> Path:
    predict(model, folder, tmp_path / "out.csv", top=2, maps=tmp_path / "maps", workers=0)
    return tmp_path / "maps"


def test_they_are_the_evidence_that_explain_gives(model: BagNet, folder: Path, maps: Path) -> None:
    opened = bagnet.open_maps(maps)
    assert opened.names == ("0.png", "1.png", "2.png", "3.png")
    assert len(opened) == len(list(opened)) == 4
    whole = bagnet.explain(model, folder / "2.png")
    for kept in (opened[2], opened["2.png"], opened[1:3][1]):
        best = whole.top(2)
        assert [answer.name for answer in kept.top()] == [answer.name for answer in best]
        assert kept.top(1)[0].probability == pytest.approx(best[0].probability, rel=1e-4)
        assert np.allclose(kept.map(), whole.map(), atol=1e-4)
        assert (kept.geometry, kept.placement, kept.image) == (whole.geometry, whole.placement, whole.image)
        assert kept.windows(best[1].name)[0].box == whole.windows(best[1].index)[0].box


def test_at_a_temperature_rows_and_maps_are_what_explain_says(model: BagNet, folder: Path, tmp_path: Path) -> None:
    plain = bagnet.explain(model, folder / "2.png")
    assert model.card is not None
    model.card = replace(model.card, temperature=3.0)
    predict(model, folder, tmp_path / "warm.csv", top=2, maps=tmp_path / "warm", workers=0)
    whole = bagnet.explain(model, folder / "2.png")
    assert np.array_equal(whole.values, plain.values)
    assert whole.probabilities == pytest.approx(np.exp(plain.logits / 3) / np.exp(plain.logits / 3).sum(), rel=1e-5)
    kept = bagnet.open_maps(tmp_path / "warm")["2.png"]
    assert [answer.probability for answer in kept.top(2)] == pytest.approx([a.probability for a in whole.top(2)], rel=1e-4)
    with (tmp_path / "warm.csv").open(newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["image"] == "2.png")
    assert float(row["probability_1"]) == pytest.approx(whole.top(1)[0].probability, rel=1e-4)


def test_images_that_were_moved_are_found_where_they_are_now(folder: Path, maps: Path) -> None:
    there = folder.rename(folder.parent / "moved")
    with pytest.raises(FileNotFoundError, match=r"say where the images are now, open_maps\(folder, images=...\)"):
        open_maps(maps)
    assert open_maps(maps, there)[0].image.size == (60, 50)
    (there / "0.png").unlink()
    with pytest.raises(ValueError, match="other images than these"):
        open_maps(maps, there)


def test_what_holds_no_maps_says_so(tmp_path: Path, maps: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no maps"):
        open_maps(tmp_path)
    with pytest.raises(KeyError, match="has no maps of"):
        open_maps(maps)["9.png"]
    (maps / "00000001.npz").write_bytes(b"no")
    with pytest.raises(ValueError, match="not a file of maps"):
        open_maps(maps)[1]
    (maps / "maps.json").write_text("{")
    with pytest.raises(ValueError, match="its maps are broken"):
        open_maps(maps)
