"""Maps that say what moves a network, and maps that do not; objects that are where they should be."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import bagnet
from bagnet.architecture import ExternalArchitecture
from bagnet.bag import BagOfFeatures
from bagnet.card import Card
from bagnet.data.labelled import open_labelled
from bagnet.data.names import ClassNames
from bagnet.data.transforms import Preprocessing
from bagnet.evaluation.faithfulness import (
    curve_areas,
    deletion_drops,
    faithfulness,
    grid_boxes,
    on_object,
    open_regions,
    parts_of,
    region_of,
)
from bagnet.evidence.pixels import pixel_evidence
from bagnet.geometry import Box, Placement
from bagnet.model import BagNet
from bagnet.runs.store import OtherRun
from bagnet.zoo.external import ExternalNetwork

PLAIN = Preprocessing(None, None, mean=(0.0,) * 3, std=(1.0,) * 3)


@pytest.fixture
def bright() -> BagOfFeatures:
    """Class 1 for what is bright, class 0 for what is dark, windows of 4 side by side."""
    head = nn.Linear(1, 2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[-4.0], [4.0]]))
        head.bias.copy_(torch.tensor([2.0, -2.0]))
    grey = nn.Conv2d(3, 1, 1, bias=False)
    nn.init.constant_(grey.weight, 1 / 3)
    network = nn.Sequential(grey, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    return bagnet.windowed(network, 4, 4, scale="native", classes=["dark", "bright"], preprocessing=PLAIN)


@pytest.fixture
def whole() -> ExternalNetwork:
    """The same as a network that sees the image at once; its answer is the brightness of the left half."""

    class Left(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 1)
            nn.init.constant_(self.conv.weight[0], -1.0)
            nn.init.constant_(self.conv.weight[1], 1.0)
            nn.init.zeros_(self.conv.bias)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x)[..., : x.shape[3] // 2].mean((2, 3))

    names = ClassNames.from_words(["dark", "bright"])
    return ExternalNetwork(Left(), Card("left.test", ExternalArchitecture("left", 2), names, PLAIN)).eval()


def test_the_grid_covers_the_image() -> None:
    boxes = grid_boxes(13, 18, 4)
    assert len(boxes) == 16
    assert sum(box.area for box in boxes) == 13 * 18
    values = np.random.default_rng(0).normal(size=(13, 18))
    assert parts_of(values).sum() == pytest.approx(values.sum())


@pytest.mark.parametrize("padded", [False, True])
def test_drops_of_a_bag_in_closed_form_are_those_of_running_it(small: Callable[..., BagNet], padded: bool) -> None:
    model = small(kernel3=(1, 1, 1, 0), num_classes=4, padded=padded).double()
    x = torch.rand(1, 3, 50, 61, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    drops = deletion_drops(model, x, 2)
    for box, drop in zip(grid_boxes(50, 61, 4), drops, strict=True):
        masked = x.clone()
        masked[(..., *box.slices)] = 0
        with torch.inference_mode():
            assert drop == pytest.approx(float(model(x)[0, 2] - model(masked)[0, 2]), abs=1e-9)


def test_of_windows_side_by_side_the_map_says_every_drop(bright: BagOfFeatures) -> None:
    """Up to what the fill says: the drop of a part is its share of the logit less that of black."""
    x = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    drops = deletion_drops(bright, x, 1)
    parts = parts_of(pixel_evidence(bright, x, 1)[0].sum(0).numpy())
    np.testing.assert_allclose(drops, parts - (-2.0) / 16, atol=1e-6)


def test_curves_have_known_areas(bright: BagOfFeatures) -> None:
    """An image whose right half is bright: the right order first takes the bright squares away."""
    x = torch.zeros(1, 3, 16, 16)
    x[..., 8:] = 1
    right, wrong = np.zeros((16, 16)), np.zeros((16, 16))
    right[:, 8:], wrong[:, :8] = 1, 1
    shares = np.array([*np.linspace(0.5, 0, 9), *[0] * 8])
    probability = 1 / (1 + np.exp(-(8 * shares - 4)))
    expected = float(((probability[1:] + probability[:-1]) / 2).mean())
    assert curve_areas(bright, x, right, 1)["deletion"] == pytest.approx(expected, abs=1e-6)
    assert curve_areas(bright, x, wrong, 1)["deletion"] > expected
    assert curve_areas(bright, x, right, 1)["insertion"] > curve_areas(bright, x, wrong, 1)["insertion"]


def test_maps_and_objects() -> None:
    region = np.zeros((4, 4), bool)
    region[:2, :2] = True
    values = np.full((4, 4), -1.0)
    values[0, 0], values[3, 3] = 3, 1
    assert on_object(values, region) == {"pointing": 1.0, "energy": 0.75, "object_share": 0.25}
    values[3, 3] = 3  # two maxima, one of them on the object
    assert on_object(values, region)["pointing"] == 0.5
    assert np.isnan(on_object(-np.ones((4, 4)), region)["energy"])


def test_an_object_through_resize_and_crop(tmp_path: Path) -> None:
    transform = Preprocessing(20, 16)
    placement = transform.placement((40, 60))
    mask = np.zeros((60, 40), np.uint8)
    mask[10:30, 8:20] = 7
    Image.fromarray(mask).save(tmp_path / "mask.png")
    by_box = region_of(Box(8, 10, 20, 30), (40, 60), placement)
    np.testing.assert_array_equal(by_box, region_of(tmp_path / "mask.png", (40, 60), placement))
    assert by_box.shape == (16, 16)
    top, left = placement.vertical.start, placement.horizontal.start
    expected = np.zeros((16, 16), bool)
    expected[max(0, 5 - top) : 15 - top, 4 - left : 10 - left] = True
    np.testing.assert_array_equal(by_box, expected)
    beyond = Preprocessing(10, 14).placement((40, 40))  # the crop is larger than the image
    assert region_of(Box(0, 0, 40, 40), (40, 40), beyond).sum() == 100
    with pytest.raises(ValueError, match=r"a mask of 40 x 60 pixels for an image of 40 x 41"):
        region_of(tmp_path / "mask.png", (40, 41), Placement.identity(41, 40))


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "regions.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("image,left,top,right,bottom\na.png,1,2,1,4\n", "line 2: the box"),
        ("image,left,top,right,bottom\na.png,1,x,3,4\n", "line 2: edges of a box are whole numbers"),
        ("image,left\na.png,1\n", "line 2: has no image with a mask"),
        ("image,mask\n", "names no image"),
    ],
)
def test_bad_tables(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        open_regions(table(tmp_path, text))


def test_a_mask_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.png: there is no such mask"):
        open_regions(table(tmp_path, "file,mask\na.png,none.png\n"))


def photographs(tmp_path: Path) -> Path:
    """Six, whose left half is bright where they show class "bright"."""
    random = np.random.default_rng(0)
    lines = ["image,left,top,right,bottom"]
    for number in range(6):
        label = ("dark", "bright")[number % 2]
        pixels = random.integers(0, 60, (16, 16, 3), dtype=np.uint8) + np.uint8(130 if number % 2 else 10)
        folder = tmp_path / "images" / "val" / label
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        lines.append(f"{number}.png,0,0,8,16")
    table(tmp_path, "\n".join(lines) + "\n")
    return tmp_path / "images"


def test_networks_side_by_side(bright: BagOfFeatures, whole: ExternalNetwork, tmp_path: Path) -> None:
    pytest.importorskip("captum")
    source = photographs(tmp_path)
    words = {"regions": tmp_path / "regions.csv", "methods": ["integrated_gradients"], "workers": 0}
    results = {
        (each.network, each.method, each.measure): each
        for each in faithfulness([bright, whole], source, tmp_path / "out", **words)
    }
    name = bright.card.name if bright.card else ""
    assert results[name, "evidence", "single_deletion"].score.value == pytest.approx(1, abs=1e-3)  # ties by rounding
    assert results[name, "evidence", "single_deletion"].difference is None
    gradients = results["left.test", "integrated_gradients", "energy"]
    assert gradients.score.value == pytest.approx(1)  # it looks at the left half alone
    assert results["left.test", "random", "object_share"].score.value == pytest.approx(0.5)
    assert abs(results["left.test", "random", "energy"].score.value - 0.5) < 0.1
    difference = results[name, "random", "single_deletion"].difference
    assert difference is not None
    assert difference.value == pytest.approx(results[name, "random", "single_deletion"].score.value - 1, abs=1e-3)
    with (tmp_path / "out" / "scores.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 6 * 4
    assert (tmp_path / "out" / "faithfulness.csv").is_file()


def test_it_goes_on_where_it_was_cut_short(bright: BagOfFeatures, tmp_path: Path) -> None:
    source = photographs(tmp_path)
    whole = faithfulness(bright, source, tmp_path / "whole", workers=0, batch_size=2)

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        faithfulness(bright, source, tmp_path / "out", workers=0, batch_size=2, progress=stop)
    with pytest.raises(OtherRun):
        faithfulness(bright, source, tmp_path / "out", workers=0, batch_size=2, measures=["deletion"])
    with pytest.raises(OtherRun):
        faithfulness(bright, source, tmp_path / "out", workers=0, batch_size=2, regions={"0.png": Box(0, 0, 8, 16)})
    again = faithfulness(bright, source, tmp_path / "out", workers=0, batch_size=2)
    assert [each.to_dict() for each in again] == [each.to_dict() for each in whole]


def test_refusals(bright: BagOfFeatures, tmp_path: Path) -> None:
    images = open_labelled(photographs(tmp_path), "val")
    with pytest.raises(ValueError, match="there is no measure 'luck'"):
        faithfulness(bright, images, tmp_path / "out", measures=["luck"])
    with pytest.raises(ValueError, match="there is no attribution method 'luck'"):
        faithfulness(bright, images, tmp_path / "out", methods=["luck"])
    with pytest.raises(ValueError, match="under names of their own"):
        faithfulness([bright, bright], images, tmp_path / "out")
    assert not (tmp_path / "out").exists()
