from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from bagnet.studies.paper import sensitivity
from bagnet.studies.paper.maps import bagnet_map
from bagnet.studies.paper.sensitivity import Sensitivity
from bagnet.studies.paper.subjects import Material, Subject, gather

from .material import images_of, noise, saying, small_bagnet
from .test_masking import CELL, SIZE, reads_one_cell


def test_the_place_that_is_read(tmp_path: Path) -> None:
    data = images_of(tmp_path / "images.npz", noise(4, SIZE), [0, 1, 2, 0])
    material = gather([("reader", reads_one_cell())], data)
    record = Sensitivity((CELL, SIZE), CELL, ()).run(material, tmp_path).record
    small, large = record["measures"]["drops"]
    falls = np.array(small["by_place"])
    assert falls.argmax() == 4
    assert np.abs(np.delete(falls, 4)).max() < 1e-6
    # Logits a, 0, 0 have a standard deviation of a / sqrt(3), and the mask takes all of a.
    assert falls[4] == pytest.approx(3**0.5, rel=1e-4)
    assert large["by_place"] == pytest.approx([3**0.5], rel=1e-4)


def test_maps_that_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A method whose map is the BagNet's, and one that says the contrary. A network that is the BagNet itself drops as it."""

    def method(name: str, target: Subject, place: int, x: Tensor, material: Material, row: int, cell: int) -> Tensor:
        values = bagnet_map(material.bagnets[0], place, material, row, target, x)
        return values if name == "occlusion" else -values

    monkeypatch.setattr(sensitivity, "method_map", method)
    bag = small_bagnet(SIZE)
    same = saying(bag, 3, SIZE)
    pictures = np.zeros((5, SIZE, SIZE, 3), np.uint8)
    pictures[:, 8:16, 8:16] = noise(5, 8)
    data = images_of(tmp_path / "images.npz", pictures, [0, 1, 2, 0, 1])
    material = gather([("same", same), ("bag", bag)], data)
    record = Sensitivity((CELL,), CELL, ("occlusion", "saliency")).run(material, tmp_path).record
    agreement = {one["method"]: one["rank_correlation"]["value"] for one in record["measures"]["agreement"]}
    assert agreement == pytest.approx({"occlusion": 1.0, "saliency": -1.0})
    drops = {one["model"]: one["by_place"] for one in record["measures"]["drops"]}
    np.testing.assert_allclose(drops["same"], drops["bag"], atol=1e-4)  # recomputed only where touched, or wholly


def test_bad_options(tmp_path: Path) -> None:
    data = images_of(tmp_path / "images.npz", noise(2, SIZE), [0, 1])
    material = gather([("reader", reads_one_cell())], data)
    with pytest.raises(ValueError, match="choose among saliency"):
        Sensitivity(methods=("magic",)).run(material, tmp_path)
    for sides in ((8, 0), ()):
        with pytest.raises(ValueError, match="one pixel at least"):
            Sensitivity(sides=sides).run(material, tmp_path)


def test_what_does_not_suit_is_said_before_anything_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensitivity, "measured", None)
    data = images_of(tmp_path / "data.npz", noise(2, SIZE), [0, 1])
    reader = reads_one_cell()
    material = gather([("bag", small_bagnet(SIZE)), ("reader", reader)], data)
    with pytest.raises(ValueError, match="the input of bag has 24 px, less than such a mask"):
        Sensitivity(sides=(8, 25)).run(material, tmp_path)
    with pytest.raises(ValueError, match="cell=24: the input of reader, 24 px, has no two such cells"):
        Sensitivity(sides=(8,), cell=24).run(material, tmp_path)
    reader.transform = replace(reader.transform, resize=None, crop=None)
    with pytest.raises(ValueError, match="reader takes images of any size"):
        Sensitivity(sides=(8,)).run(material, tmp_path)
