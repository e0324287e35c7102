from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bagnet.studies.paper.sensitivity import Sensitivity
from bagnet.studies.paper.subjects import gather

from .material import (
    CELL,
    READ,
    averaging,
    findings_of,
    images_of,
    measures_of,
    noise,
    plain,
    prepared_by,
    reads_one_cell,
    saying,
    small_bagnet,
)


def test_the_place_that_is_read(tmp_path: Path) -> None:
    data = images_of(tmp_path / "images.npz", noise(4, READ), [0, 1, 2, 0])
    material = gather([("reader", reads_one_cell())], data)
    small, large = measures_of(Sensitivity((CELL, READ), CELL, ()), material, tmp_path)["drops"]
    drops = np.array(small["by_position"])
    assert drops.argmax() == 4
    assert np.abs(np.delete(drops, 4)).max() < 1e-6
    # Logits a, 0, 0 have a standard deviation of a / sqrt(3), and the mask takes all of a.
    assert drops[4] == pytest.approx(3**0.5, rel=1e-4)
    assert large["by_position"] == pytest.approx([3**0.5], rel=1e-4)


def test_a_network_that_is_the_bagnet_drops_as_it(tmp_path: Path) -> None:
    """Recomputed only where a mask touches the image, or wholly."""
    bag = small_bagnet(READ)
    data = images_of(tmp_path / "images.npz", noise(3, READ), [0, 1, 2])
    material = gather([("same", saying(bag, 3, READ)), ("bag", bag)], data)
    measures = measures_of(Sensitivity((CELL,), CELL, ()), material, tmp_path)
    drops = {drop["model"]: drop["by_position"] for drop in measures["drops"]}
    np.testing.assert_allclose(drops["same"], drops["bag"], atol=1e-4)


def test_maps_that_agree(tmp_path: Path) -> None:
    """On images that are bright in one cell alone, occlusion of a network that reads it, and a BagNet as bright as its window."""
    pictures = np.zeros((4, READ, READ, 3), np.uint8)
    pictures[:, CELL : 2 * CELL, CELL : 2 * CELL] = 128 + noise(4, CELL) // 2
    data = images_of(tmp_path / "images.npz", pictures, [0, 1, 2, 0])
    agreement = {}
    for name, sign in (("with", 1.0), ("against", -1.0)):
        bag = averaging(sign)
        material = gather([("reader", reads_one_cell()), ("bag", bag)], data)
        findings = findings_of(Sensitivity((CELL,), CELL, ("occlusion",)), material, tmp_path / name)
        (pair,) = findings.measures.agreement
        assert (pair.model, pair.map, pair.method, pair.images) == ("reader", "bag", "occlusion", 4)
        agreement[name] = pair.rank_correlation.value
        assert findings.sentences[-1].startswith("With reader, the map of bag agrees most with Occlusion: rank correlation ")
    assert agreement["with"] > 0.5
    assert agreement["against"] == pytest.approx(-agreement["with"])


def test_bad_options() -> None:
    with pytest.raises(ValueError, match="choose among saliency"):
        Sensitivity(methods=("magic",))
    for sides in ((8, 0), ()):
        with pytest.raises(ValueError, match="one pixel at least"):
            Sensitivity(sides=sides)


def test_what_does_not_suit_is_said_before_anything_is_measured(tmp_path: Path) -> None:
    reader = reads_one_cell()
    models = [("bag", small_bagnet(READ)), ("reader", reader)]
    material = gather(models, images_of(tmp_path / "data.npz", noise(2, READ), [0, 1]))
    with pytest.raises(ValueError, match="the input of bag has 24 px, less than such a mask"):
        Sensitivity(sides=(8, 25)).check(material)
    with pytest.raises(ValueError, match="cell=24: the input of reader, 24 px, has no two such cells"):
        Sensitivity(sides=(8,), cell=24).check(material)
    prepared_by(reader, plain(None))
    with pytest.raises(ValueError, match="reader takes images of any size"):
        Sensitivity(sides=(8,)).check(material)
