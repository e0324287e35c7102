"""BagNets do not notice where two tiles lie, and a network that does is measured as one computes on paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bagnet.data.decode import BadImage
from bagnet.engine.classifier import Predictor
from bagnet.geometry import Box, Geometry
from bagnet.model import BagNet
from bagnet.studies.paper.layout import Canvas, Layout, two_tiles
from bagnet.studies.paper.subjects import gather
from bagnet.zoo.load import create

from ...conftest import randomised
from .material import findings_of, images_of, measures_of, noise, plain, prepared_by, saying, small_bagnet

SIZE = 24


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return images_of(tmp_path / "images.npz", noise(2, SIZE), [0, 1])


def changes(model: Predictor, images: Path, out: Path, distances: tuple[int, ...] = (0, 8, 16)) -> dict[str, Any]:
    (result,) = measures_of(Layout(8, distances), gather([("it", model)], images), out)["models"]
    return dict(result)


def padded() -> BagNet:
    model = randomised(create(kernel3=(1, 1, 0, 0), layers=(1, 1, 1, 1), width=4, num_classes=3, padded=True)).eval()
    return prepared_by(model, plain(SIZE))


@pytest.mark.parametrize("kind", ["unpadded", "padded"])
def test_bagnets_do_not_notice(kind: str, images: Path, tmp_path: Path) -> None:
    result = changes(small_bagnet(SIZE) if kind == "unpadded" else padded(), images, tmp_path)  # 9 px every 8
    near, at_a_window = result["distances"]
    assert not near["apart"]
    assert near["change"]["low"] > 1e-4, "windows that see both tiles"
    assert at_a_window["apart"]
    assert at_a_window["largest"] < 1e-9
    assert result["swapped"]["largest"] < 1e-9


def test_larger_windows_need_more_room(images: Path, tmp_path: Path) -> None:
    result = changes(small_bagnet(SIZE, kernel3=(1, 1, 1, 0)), images, tmp_path, (0, 8, 16, 24))  # 17 px
    assert [entry["apart"] for entry in result["distances"]] == [False, False, True]
    assert result["distances"][1]["largest"] > 1e-4
    assert result["distances"][2]["largest"] < 1e-9


def weighted_by_column(x: Tensor) -> Tensor:
    moment = (x.mean((1, 2)) * torch.arange(x.shape[3])).sum(1)
    return torch.stack([moment, moment * 0], 1)


def test_a_network_that_knows_the_column_by_hand(tmp_path: Path) -> None:
    pixels = noise(1, SIZE)
    data = images_of(tmp_path / "one.npz", pixels.repeat(2, 0), [0, 1])
    result = changes(saying(weighted_by_column, 2, SIZE), data, tmp_path)
    # No BagNet, no margin: the tiles are columns 0 to 7 and, where they are 16 px apart, 24 to 31 of a canvas of 8 x 32.
    image = torch.tensor(pixels[0]).double() / 255
    tiles = [image[box.slices].mean((0, 2)) for box in two_tiles(SIZE, SIZE, 8)]
    moments, sums = [float((tile * torch.arange(8)).sum()) for tile in tiles], [float(tile.sum()) for tile in tiles]
    before = moments[0] + moments[1] + 24 * sums[1]
    spread = before / 2  # of (before, 0)
    assert result["distances"][0]["change"]["value"] == pytest.approx(16 * sums[1] / spread, rel=1e-4)
    assert result["distances"][1]["change"]["value"] == pytest.approx(8 * sums[1] / spread, rel=1e-4)
    assert result["swapped"]["change"]["value"] == pytest.approx(24 * abs(sums[0] - sums[1]) / spread, rel=1e-3)
    assert not result["swapped"]["apart"]


def test_every_window_that_touches_a_tile_is_on_the_canvas() -> None:
    geometries = [Geometry(9, 8), Geometry(25, 4), Geometry(33, 8, -16)]
    canvas = Canvas.holding(geometries, 16, (32, 0, 64))
    assert canvas.distances == (0, 32, 64)
    assert canvas.margin == 32
    for geometry in geometries:
        far = geometry.stride * 100
        for distance in canvas.distances:
            for box in canvas.boxes(distance):
                cells = geometry.cells_touching(box, canvas.height, canvas.width)
                anywhere = geometry.cells_touching(box.shift(far, far), 2 * far, 2 * far)
                assert (cells.width, cells.height) == (anywhere.width, anywhere.height)
                assert Box(0, 0, canvas.width, canvas.height).contains(geometry.field(cells))


def test_what_does_not_fit_is_said_before_anything_is_measured(images: Path) -> None:
    material = gather([("it", small_bagnet(SIZE))], images)
    for experiment, reason in (
        (Layout(8, (0, 4, 8)), "multiples of the BagNets' strides, 8 px"),
        (Layout(8, (8,)), "two or more"),
        (Layout(12, (0, 8)), "tile=12: .* multiple of the BagNets' strides, 8 px"),
    ):
        with pytest.raises(ValueError, match=reason):
            experiment.check(material)
    large = gather([("it", small_bagnet(40, kernel3=(1, 1, 1, 1)))], images)
    with pytest.raises(ValueError, match="a window of 33 px sees both tiles at all of them; the largest must be 32 at least"):
        Layout(8, (0, 24)).check(large)


def test_a_network_of_one_size_does_not_silence_others(images: Path, tmp_path: Path) -> None:
    def only_square(x: Tensor) -> Tensor:
        return x.reshape(len(x), 3, SIZE, SIZE).mean((2, 3))

    square = ("square", saying(only_square, 3, SIZE))
    with pytest.raises(ValueError, match=r"square is left out: .* no canvas of 8 x 24 pixels"):
        findings_of(Layout(8, (0, 8)), gather([square], images), tmp_path)
    findings = findings_of(Layout(8, (0, 8)), gather([("it", small_bagnet(SIZE)), square], images), tmp_path)
    assert [model.model for model in findings.measures.models] == ["it"]
    assert list(findings.measures.left_out) == ["square"]
    assert findings.sentences[-1].startswith("square is left out")


def test_images_that_cannot_be_asked_about(images: Path, tmp_path: Path) -> None:
    with pytest.raises(BadImage, match="two tiles of 16 px side by side do not fit into 24 x 24 pixels"):
        findings_of(Layout(16, (0, 8)), gather([("it", small_bagnet(SIZE))], images), tmp_path)
    same = gather([("it", saying(lambda x: x.new_ones(len(x), 3), 3, SIZE))], images)
    with pytest.raises(BadImage, match="it gives all classes the same logit"):
        findings_of(Layout(8, (0, 8)), same, tmp_path)
