from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bagnet.studies.paper.masking import Masking
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

METHODS = ("saliency", "integrated_gradients", "occlusion")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return images_of(tmp_path / "images.npz", noise(4, READ), [0, 1, 2, 0])


def curves(measures: Any) -> dict[str, Any]:
    return {curve["source"]: curve for curve in measures["curves"]}


def test_what_is_read_is_masked_first(images: Path, tmp_path: Path) -> None:
    measures = measures_of(Masking(CELL, methods=METHODS), gather([("reader", reads_one_cell())], images), tmp_path)
    by_source = curves(measures)
    assert set(by_source) == {*METHODS, "random"}
    for method in METHODS:
        values = [point["value"] for point in by_source[method]["mean"]]
        # One cell masked: nothing is left to read, and three classes are alike. Further cells change nothing.
        assert by_source[method]["masked"][:2] == [0, 1]
        assert values[0] > 0.9
        np.testing.assert_allclose(values[1:], 1 / 3, atol=1e-5)
        assert by_source[method]["table"]["value"] == pytest.approx(1 / 3, abs=1e-5)
    assert by_source["random"]["mean"][1]["value"] > 0.5


def test_a_bagnets_map_finds_it_in_another_network(tmp_path: Path) -> None:
    """A BagNet that looks for the same brightness, in images where only one cell is bright."""
    pictures = np.zeros((4, READ, READ, 3), np.uint8)
    pictures[:, CELL : 2 * CELL, CELL : 2 * CELL] = 255
    data = images_of(tmp_path / "images.npz", pictures, [0, 1, 2, 0])
    material = gather([("reader", reads_one_cell()), ("bag", averaging())], data)
    findings = findings_of(Masking(CELL, methods=()), material, tmp_path)
    (curve,) = (curve for curve in findings.measures.curves if curve.source == "bag")
    assert curve.table.value == pytest.approx(1 / 3, abs=1e-5)
    assert findings.sentences[0].startswith("reader, 1 of 9 cells masked: bag 0.333 [")


def test_a_cell_of_one_colour_is_its_own_mean(tmp_path: Path) -> None:
    pictures = np.repeat(noise(4, READ // CELL), CELL, 1).repeat(CELL, 2)
    material = gather([("reader", reads_one_cell())], images_of(tmp_path / "images.npz", pictures, [0, 1, 2, 0]))
    by_source = curves(measures_of(Masking(CELL, "cell", ("saliency",)), material, tmp_path))
    values = [point["value"] for point in by_source["saliency"]["mean"]]
    np.testing.assert_allclose(values, values[0], atol=1e-5)


def test_a_method_that_cannot_be_applied_is_left_out(images: Path, tmp_path: Path) -> None:
    """And the images are not to blame."""

    def twisted(x: Tensor) -> Tensor:  # no rule of relevance covers a sine
        return torch.sin(x.flatten(1)[:, :3] * 3)

    material = gather([("twisted", saying(twisted, 3, READ))], images)
    findings = findings_of(Masking(CELL, methods=("epsilon_lrp", "saliency")), material, tmp_path)
    assert findings.measures.left_out == ["epsilon_lrp on twisted"]
    assert findings.sentences[-1].startswith("Left out, as the method's map did not add up")
    assert {curve.images for curve in findings.measures.curves} == {4}


def test_a_network_that_nothing_could_be_measured_of(images: Path, tmp_path: Path) -> None:
    """Its images have no row; the other one's result stands."""

    def refusing(x: Tensor) -> Tensor:
        raise ValueError("no such image")

    models = [("reader", reads_one_cell()), ("refusing", saying(refusing, 3, READ))]
    findings = findings_of(Masking(CELL, methods=("saliency",)), gather(models, images), tmp_path)
    assert {curve.model for curve in findings.measures.curves} == {"reader"}
    assert findings.measures.unmeasured == ["refusing"]
    assert findings.measures.left_out == []
    assert findings.sentences[-1] == "refusing is left out: it could be asked about none of the images."


def test_without_methods_or_other_models(images: Path, tmp_path: Path) -> None:
    """Only chance is left for a network; a BagNet alone is asked about by its own map."""
    findings = findings_of(Masking(CELL, methods=()), gather([("reader", reads_one_cell())], images), tmp_path / "reader")
    (sentence,) = findings.sentences
    assert sentence.startswith("reader, 1 of 9 cells masked: Random order ")
    findings = findings_of(Masking(CELL, methods=()), gather([("bag", small_bagnet(READ))], images), tmp_path / "bag")
    assert "(best BagNet's map)" in findings.sentences[0]
    assert set(findings.figures) == {"masking", "masking_table"}


def test_inputs_are_checked_before_anything_is_measured(images: Path) -> None:
    model = reads_one_cell()
    material = gather([("reader", model)], images)
    with pytest.raises(ValueError, match=f"cell={READ}: the input of reader, {READ} px, has no two such cells"):
        Masking(READ).check(material)
    prepared_by(model, plain(None))
    with pytest.raises(ValueError, match="reader takes images of any size"):
        Masking(CELL).check(material)


def test_bad_options() -> None:
    for options, message in (
        ({"fill": "black"}, "choose among mean, cell"),
        ({"methods": ("magic",)}, "choose among saliency"),
        ({"cell": 0}, "one pixel at least"),
    ):
        with pytest.raises(ValueError, match=message):
            Masking(**options)  # type: ignore[arg-type]
