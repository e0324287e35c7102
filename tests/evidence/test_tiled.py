"""Large inputs in tiles: the same numbers as in one piece, in little memory."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import bagnet
from bagnet.data.transforms import Preprocessing
from bagnet.engine.classifier import Classifier, has_evidence
from bagnet.engine.inference import exact
from bagnet.evidence import tiled
from bagnet.evidence.tiled import Bag, bag_of, tiles_for
from bagnet.geometry import tiles_of
from bagnet.model import BagNet
from bagnet.progress import Progress

from ..engine.classifiers import SUBJECTS

WHOLE = Preprocessing(None, None)


def image(height: int = 90, width: int = 131, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn((1, 3, height, width), generator=torch.Generator().manual_seed(0), dtype=dtype)


@torch.inference_mode()
def in_tiles(model: Classifier, x: Tensor, cells: int = 20, maps: int = tiled.MAPS, keep: tuple[int, ...] = ()) -> Bag:
    with exact(model):
        return bag_of(model, x, list(tiles_of(model.geometry, x.shape[2], x.shape[3], cells)), keep, maps=maps)


@torch.inference_mode()
def whole(model: Classifier, x: Tensor) -> tuple[Tensor, Tensor]:
    with exact(model):
        logits, values = model.logits_and_evidence(x)
    return logits[0], values[0]


def test_tiles_give_the_whole(sibling: BagNet) -> None:
    """Of both families; the mean is over each window once, though the last tiles overlap their neighbours."""
    x = image()
    logits, values = whole(sibling.double(), x)
    bag = in_tiles(sibling, x, cells=7)
    largest = float(logits.abs().max())
    assert list(bag.kept) == list(range(5))
    assert float((bag.logits - logits).abs().max()) <= 1e-9 * largest
    assert float((bag.values - values).abs().max()) <= 1e-9 * float(values.abs().max())


@pytest.mark.parametrize("name", [name for name, subject in SUBJECTS.items() if subject.windows is not None])
def test_whatever_has_windows_is_tiled(name: str) -> None:
    model = SUBJECTS[name].build()
    assert has_evidence(model)
    x = image(dtype=torch.float32)
    logits, values = whole(model, x)
    bag = in_tiles(model, x, cells=4)
    assert float((bag.logits - logits).abs().max()) <= 1e-4 * float(logits.abs().max())
    assert float((bag.values - values).abs().max()) <= 1e-4 * float(values.abs().max())


@pytest.mark.parametrize("maps", [1, 1000])
def test_the_strongest_maps_are_kept_where_there_is_no_room_for_all(small: Callable[..., BagNet], maps: int) -> None:
    """Whatever the first tiles made of it, the five strongest of the whole are there, with those that were asked for."""
    model = small(kernel3=(1, 1, 1, 0), num_classes=40).double()
    x = image()
    logits, values = whole(model, x)
    weakest = int(logits.argmin())
    bag = in_tiles(model, x, maps=maps, keep=(weakest,))
    assert {weakest, *logits.topk(5).indices.tolist()} <= set(bag.kept)
    assert len(bag.kept) == len(set(bag.kept)) <= max(maps // values[0].numel(), 5) + 5
    assert float((bag.values - values[list(bag.kept)]).abs().max()) <= 1e-9 * float(values.abs().max())
    assert float((bag.logits - logits).abs().max()) <= 1e-9 * float(logits.abs().max())


def test_a_class_that_only_the_last_tile_makes_strong_is_computed_again(small: Callable[..., BagNet]) -> None:
    """Black but for a corner of noise, of which the first tiles see nothing."""
    model = small(kernel3=(1, 1, 1, 0), num_classes=40).double()
    x = torch.zeros(1, 3, 90, 131, dtype=torch.float64)
    x[..., -30:, :] = 50 * image()[..., -30:, :]
    computed: list[Progress] = []
    logits, values = whole(model, x)
    tiles = list(tiles_of(model.geometry, 90, 131, 20))
    with exact(model), torch.inference_mode():
        bag = bag_of(model, x, tiles, maps=1, progress=computed.append)
    assert [progress.stage for progress in computed].count("computing the map") > 0
    assert set(logits.topk(5).indices.tolist()) <= set(bag.kept)
    assert float((bag.values - values[list(bag.kept)]).abs().max()) <= 1e-9 * float(values.abs().max())


def test_no_tile_is_large(small: Callable[..., BagNet]) -> None:
    """Whatever the input: that is what keeps memory flat."""
    for model in (small(), small(kernel3=(1, 1, 0, 0), strides=(1, 1, 1, 1)), small(padded=True)):
        for height, width in ((2848, 4288), (500, 30_000)):
            tiles = tiles_for(model.geometry, height, width)
            assert max(tile.crop.area for tile in tiles) <= 1.05 * tiled.PIXELS
            assert max(tile.cells.area for tile in tiles) <= 1.05 * tiled.PIXELS
    assert len(tiles_for(small().geometry, 256, 340)) == 1, "of usual size: in one piece"


def test_explain_in_tiles(
    small: Callable[..., BagNet], photograph: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What to expect is said, and the evidence is of the classes that are kept: with the probabilities among all."""
    model = small(kernel3=(1, 1, 1, 0), num_classes=40)
    complete = bagnet.explain(model, photograph, size=300)
    caplog.set_level("INFO", "bagnet")
    monkeypatch.setattr(tiled, "PIXELS", 50**2)
    monkeypatch.setattr(tiled, "MAPS", 20_000)
    steps: list[Progress] = []
    weakest = int(complete.logits.argmin())
    evidence = bagnet.explain(model, photograph, size=300, keep=[weakest], progress=steps.append)
    rows, columns = complete.values.shape[1:]
    assert evidence.values.shape == (20_000 // (rows * columns), rows, columns)
    said = caplog.messages[0]
    assert re.search(rf"photograph\.jpg: an input of 385 x 300 pixels, {rows * columns:,} windows; about \d+ s and ", said)
    assert said.endswith(f"; of 40 classes the maps of {len(evidence.classes)} are kept, the strongest")
    assert steps[-1].done == steps[-1].total == len(steps)
    kept = evidence.indices_among(model.classes)
    assert weakest in kept
    assert np.abs(evidence.values - complete.values[kept]).max() <= 1e-5 * np.abs(complete.values).max()
    pairs = zip(evidence.top(5), complete.top(5), strict=True)
    for ours, theirs in pairs:
        assert (kept[ours.index], ours.name) == (theirs.index, theirs.name)
        assert ours.probability == pytest.approx(theirs.probability, rel=1e-4)


def test_a_finer_map_of_a_tensor_whose_maps_are_not_all_kept(
    small: Callable[..., BagNet], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bagnet.evidence.dense import finer

    model = small(kernel3=(1, 1, 1, 0), num_classes=40)
    monkeypatch.setattr(tiled, "PIXELS", 50**2)
    monkeypatch.setattr(tiled, "MAPS", 1)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8))
    evidence = bagnet.explain(model, WHOLE(picture))
    best = evidence.top(1)[0].index
    index = evidence.indices_among(model.classes)[best]
    values = finer(model, evidence, WHOLE, [index], 4).values[0, 0, ::2, ::2].numpy()
    assert values == pytest.approx(evidence.map(best), abs=1e-3 * float(np.abs(evidence.map(best)).max()))
