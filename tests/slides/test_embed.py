"""Mean features of slides, and heads fitted on a label a slide."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bagnet
from bagnet.data.decode import BadImage
from bagnet.geometry import Box
from bagnet.runs.store import OtherRun
from bagnet.slides import embed as module
from bagnet.slides.embed import embed_slides
from bagnet.slides.plan import Plan
from bagnet.slides.readers import ArrayReader

from ..engine.classifiers import small_bagnet

PIXELS = np.random.default_rng(0).integers(0, 200, (150, 233, 3), np.uint8)
SMALL = 60 * 60  # pixels of a tile


def saved(path: Path, pixels: np.ndarray[Any, Any] = PIXELS) -> Path:
    np.save(path, pixels)
    return path


def features(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(C, h, w) of all windows."""
    model = small_bagnet()
    with torch.inference_mode():
        x = model.transform.normalise(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None])
        return model.features(x)[0].numpy()


def test_all_tiles_are_the_mean_of_all_windows(tmp_path: Path) -> None:
    images = [saved(tmp_path / "a.npy"), saved(tmp_path / "b.npy", PIXELS[:80])]
    vectors = embed_slides(small_bagnet(), images, tile_pixels=SMALL)
    expected = np.stack([features(PIXELS).mean((1, 2)), features(PIXELS[:80]).mean((1, 2))])
    assert np.abs(vectors - expected).max() < 1e-5 * np.abs(expected).max()


def test_some_tiles_are_the_mean_of_their_windows(tmp_path: Path) -> None:
    image, model = saved(tmp_path / "a.npy"), small_bagnet()
    parts = list(Plan(model.geometry, 150, 233, SMALL).parts())
    vector = embed_slides(model, [image], tiles=2, tile_pixels=SMALL)[0]
    chosen = [parts[number].fresh for number in module.all_over(len(parts))[:2]]
    every = features(PIXELS)
    expected = np.concatenate([every[(slice(None), *cells.slices)].reshape(len(vector), -1) for cells in chosen], 1).mean(1)
    assert np.abs(vector - expected).max() < 1e-5 * np.abs(expected).max()
    seen = copy(model)
    assert seen.card is not None
    fields = {"tiles": 4, "train_crop": 40, "level": 1, "microns": 0.0, "skip_white": True}
    seen.card = replace(seen.card, more={"recipe": fields})
    with pytest.raises(ValueError, match="there is no level 1"):
        embed_slides(seen, [image], tiles=2, tile_pixels=SMALL)
    assert np.array_equal(embed_slides(seen, [image], tiles=2, level=0, tile_pixels=SMALL)[0], vector)
    with pytest.raises(ValueError, match="at least one tile"):
        embed_slides(model, [image], tiles=0)


def test_white_and_corrupt_tiles_make_room_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    white = PIXELS.copy()
    white[:, :120] = 255
    model, image = small_bagnet(), saved(tmp_path / "white.npy", white)
    result = bagnet.slide(model, image, [0], tmp_path / "out", skip_white=True, tile_pixels=SMALL)
    vector = embed_slides(model, [image], skip_white=True, tile_pixels=SMALL)[0]
    with torch.inference_mode():
        assert model.head(torch.from_numpy(vector)[None])[0].numpy() == pytest.approx(result.logits, abs=1e-5)

    def unreadable(*_: Any) -> Any:
        raise BadImage("a tile is corrupt")

    monkeypatch.setattr(ArrayReader, "read", unreadable)
    assert np.isnan(embed_slides(model, [image])).all()


def test_it_goes_on_where_it_was_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, model = [saved(tmp_path / "a.npy"), saved(tmp_path / "b.npy", PIXELS[:80])], small_bagnet()
    mean, calls = module._mean, list[int]()

    def dies(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return mean(*arguments)

    monkeypatch.setattr(module, "_mean", dies)
    with pytest.raises(KeyboardInterrupt):
        embed_slides(model, images, tmp_path / "kept")
    vectors = embed_slides(model, images, tmp_path / "kept")
    assert len(calls) == 3
    assert np.array_equal(vectors, embed_slides(model, images))
    with pytest.raises(OtherRun, match="tiles None instead of 3"):
        embed_slides(model, images, tmp_path / "kept", tiles=3)


def test_a_planted_texture_is_learnt_from_a_label_a_slide(tmp_path: Path) -> None:
    """Faint noise, and in half of the slides a patch of stripes as bright on average: only a window can tell."""
    linear = pytest.importorskip("sklearn.linear_model")
    random = np.random.default_rng(2)
    images, labels, places = [], [], []
    for number in range(36):
        pixels = random.integers(100, 156, (180, 240, 3), np.uint8)
        top, left = (int(random.integers(0, most)) for most in (100, 160))
        if number % 2:
            pixels[top : top + 80, left : left + 80] = np.where(np.arange(80) // 4 % 2, 200, 56)[:, None, None]
        images.append(saved(tmp_path / f"{number}.npy", pixels))
        labels.append(number % 2)
        places.append((top, left))
    model = small_bagnet()
    vectors = embed_slides(model, images, tile_pixels=SMALL)
    fitted = linear.LogisticRegression(max_iter=5000, C=100).fit(vectors[:24], labels[:24])
    assert fitted.score(vectors[24:], labels[24:]) >= 10 / 12
    mine = bagnet.from_linear(model, fitted.coef_, fitted.intercept_, ["noise", "stripes"])
    result = bagnet.slide(mine, images[25], ["stripes"], tmp_path / "out", tile_pixels=SMALL)
    assert result.logits[1] - result.logits[0] == pytest.approx(fitted.decision_function(vectors[25:26])[0], abs=1e-4)
    row, column = np.unravel_index(result.map("stripes").argmax(), result.evidence.shape[1:])
    window, (top, left) = mine.geometry.window(int(row), int(column)), places[25]
    assert Box(left, top, left + 80, top + 80).intersect(window).area > 0
