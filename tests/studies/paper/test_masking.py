from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bagnet.studies.paper import masking
from bagnet.studies.paper.maps import title_of
from bagnet.studies.paper.masking import Masking
from bagnet.studies.paper.subjects import gather
from bagnet.zoo.external import ExternalNetwork

from .material import images_of, noise, saying, small_bagnet

SIZE, CELL = 24, 8  # nine cells


class ReadsOneCell(nn.Module):
    """The logit of class 0 is how bright the middle cell is; a linear network, for which the methods are exact."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * SIZE * SIZE, 3)
        weight = torch.zeros(3, 3, SIZE, SIZE)
        weight[0, :, 8:16, 8:16] = 0.1
        with torch.no_grad():
            self.linear.weight.copy_(weight.flatten(1))
            self.linear.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.linear(x.flatten(1))
        return found


def reads_one_cell() -> ExternalNetwork:
    model = saying(lambda x: x, 3, SIZE)
    return ExternalNetwork(ReadsOneCell(), model.card).eval()  # type: ignore[arg-type]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return images_of(tmp_path / "images.npz", noise(6, SIZE), [0, 1, 2, 0, 1, 2])


METHODS = ("saliency", "integrated_gradients", "occlusion")


def test_what_is_read_is_masked_first(images: Path, tmp_path: Path) -> None:
    material = gather([("reader", reads_one_cell())], images)
    record = Masking(CELL, methods=METHODS).run(material, tmp_path).record
    found: dict[str, Any] = {one["source"]: one for one in record["measures"]["curves"]}
    assert set(found) == {*METHODS, "random"}
    for method in METHODS:
        curve = [point["value"] for point in found[method]["mean"]]
        # One cell masked: nothing is left to read, and three classes are alike. Further cells change nothing.
        assert found[method]["masked"][:2] == [0, 1]
        assert curve[0] > 0.9
        np.testing.assert_allclose(curve[1:], 1 / 3, atol=1e-5)
        assert found[method]["table"]["value"] == pytest.approx(1 / 3, abs=1e-5)
    chance = [point["value"] for point in found["random"]["mean"]]
    assert chance[1] > 0.5


def test_a_bagnets_map_finds_it_in_another_network(tmp_path: Path) -> None:
    """A BagNet that looks for the same brightness, in images where only one cell is bright."""
    pictures = np.zeros((6, SIZE, SIZE, 3), np.uint8)
    pictures[:, 8:16, 8:16] = 255
    bag = small_bagnet(SIZE)
    for module in bag.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.zeros_(module.running_mean), nn.init.ones_(module.running_var)  # type: ignore[arg-type]
            nn.init.ones_(module.weight), nn.init.zeros_(module.bias)
    with torch.no_grad():
        bag.fc.weight.zero_()
        bag.fc.weight[0] = 1.0
    data = images_of(tmp_path / "images.npz", pictures, [0, 1, 2, 0, 1, 2])
    material = gather([("reader", reads_one_cell()), ("bag", bag)], data)
    record = Masking(CELL, methods=()).run(material, tmp_path).record
    found = {one["source"]: one for one in record["measures"]["curves"]}
    assert found["bag"]["table"]["value"] == pytest.approx(1 / 3, abs=1e-5)
    assert "bag" in record["sentences"][0]


def test_a_cell_of_one_colour_is_its_own_mean(tmp_path: Path) -> None:
    pictures = np.repeat(noise(6, SIZE // CELL), CELL, 1).repeat(CELL, 2)
    data = images_of(tmp_path / "images.npz", pictures, [0, 1, 2, 0, 1, 2])
    material = gather([("reader", reads_one_cell())], data)
    record = Masking(CELL, "cell", ("saliency",)).run(material, tmp_path).record
    (curve, _) = record["measures"]["curves"]
    values = [point["value"] for point in curve["mean"]]
    np.testing.assert_allclose(values, values[0], atol=1e-5)


def test_a_method_that_cannot_be_applied_is_left_out(images: Path, tmp_path: Path) -> None:
    def twisted(x: Tensor) -> Tensor:  # no rule of relevance covers a sine
        return torch.sin(x.flatten(1)[:, :3] * 3)

    material = gather([("twisted", saying(twisted, 3, SIZE))], images)
    record = Masking(CELL, methods=("epsilon_lrp", "saliency")).run(material, tmp_path).record
    assert record["measures"]["left_out"] == ["epsilon_lrp on twisted"]
    assert "Left out" in record["sentences"][-1]
    assert record["unusable"] == {}, "the images are not to blame"


def test_a_network_that_nothing_could_be_measured_of(images: Path, tmp_path: Path) -> None:
    """Its images have no row; the other one's result stands."""

    def refusing(x: Tensor) -> Tensor:
        raise ValueError("no such image")

    models = [("reader", reads_one_cell()), ("refusing", saying(refusing, 3, SIZE))]
    findings = Masking(CELL, methods=("saliency",)).find(gather(models, images), tmp_path)
    assert {one["model"] for one in findings.measures["curves"]} == {"reader"}
    assert findings.measures["unmeasured"] == ["refusing"]
    assert findings.measures["left_out"] == []
    assert findings.sentences[-1] == "refusing is left out: it could be asked about none of the images."


def test_without_methods_or_other_models(images: Path, tmp_path: Path) -> None:
    """Only chance is left for a network; a BagNet alone is asked about by its own map."""
    (tmp_path / "bag").mkdir()
    (sentence,) = Masking(CELL, methods=()).find(gather([("reader", reads_one_cell())], images), tmp_path).sentences
    assert sentence.startswith("reader, 1 of 9 cells masked: Random order ")
    found = Masking(CELL, methods=()).find(gather([("bag", small_bagnet(SIZE))], images), tmp_path / "bag")
    assert "(best BagNet's map)" in found.sentences[0]
    assert set(found.figures) == {"masking", "masking_table"}


def test_methods_are_called_as_the_field_calls_them(images: Path, tmp_path: Path) -> None:
    material = gather([("reader", reads_one_cell())], images)
    (sentence,) = Masking(CELL, methods=("integrated_gradients", "occlusion")).find(material, tmp_path).sentences
    assert "Integrated gradients 0.333" in sentence
    assert "Occlusion 0.333" in sentence
    names = {"epsilon_lrp": "\N{GREEK SMALL LETTER EPSILON}-LRP", "grad_cam": "Grad-CAM", "deeplift": "DeepLIFT", "bag": "bag"}
    assert {name: title_of(name) for name in names} == names


def test_cells_need_room(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is measured."""
    monkeypatch.setattr(masking, "measured", None)
    model = reads_one_cell()
    material = gather([("reader", model)], images)
    for cell in (SIZE, 1000):
        with pytest.raises(ValueError, match=f"cell={cell}: the input of reader, {SIZE} px, has no two such cells"):
            Masking(cell).run(material, tmp_path)
    model.transform = replace(model.transform, resize=None, crop=None)
    with pytest.raises(ValueError, match="reader takes images of any size"):
        Masking(CELL).run(material, tmp_path)


def test_bad_options(images: Path, tmp_path: Path) -> None:
    material = gather([("reader", reads_one_cell())], images)
    for options, message in (
        ({"fill": "black"}, "choose among mean, cell"),
        ({"methods": ("magic",)}, "choose among saliency"),
        ({"cell": 0}, "one pixel at least"),
    ):
        with pytest.raises(ValueError, match=message):
            Masking(**options).run(material, tmp_path)  # type: ignore[arg-type]
