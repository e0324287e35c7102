from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bagnet.geometry import Box
from bagnet.studies.paper.interactions import Interactions, Masks
from bagnet.studies.paper.subjects import Material, gather

from .material import images_of, noise, saying, small_bagnet

SIZE = 33


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return images_of(tmp_path / "images.npz", noise(12, SIZE), [0, 1, 2] * 4)


def found(model: Any, images: Path, out: Path, sides: tuple[int, ...] = (8,)) -> dict[str, Any]:
    result = Interactions(sides).run(gather([("it", model)], images), out)
    (one,) = result.record["measures"]["comparisons"]
    return dict(one)


def linear(x: Tensor) -> Tensor:
    weights = torch.linspace(-1, 1, x[0].numel(), dtype=x.dtype).reshape(x[0].shape)
    # The first class always leads, so that the same linear function is asked for in each image.
    return torch.stack([(weights * x).sum((1, 2, 3)) + 1000, (0.5 * weights * x).sum((1, 2, 3)), x.sum((1, 2, 3)) * 0], 1)


def product(x: Tensor) -> Tensor:
    """What two places far apart show, multiplied; an empty place reads 2."""
    one, other = (x[:, 0, place, place] for place in (slice(0, 8), slice(16, 24)))
    read = [place[:, 3, 3] - 0.5 + 2.5 * (place.std((1, 2)) < 1e-4) for place in (one, other)]
    both = read[0] * read[1]
    return torch.stack([both + 1000, both * 0, both * 0], 1)


def test_a_linear_model_has_none(images: Path, tmp_path: Path) -> None:
    one = found(saying(linear, 3, SIZE), images, tmp_path / "out")
    assert one["correlation"]["value"] > 1 - 1e-6
    assert not one["exact"]


def test_a_product_of_two_places_has_many(tmp_path: Path) -> None:
    data = images_of(tmp_path / "many.npz", noise(100, SIZE), [0] * 99 + [1])
    one = found(saying(product, 3, SIZE), data, tmp_path / "out")
    # With readings a and b of about 0 +- 0.3 the sum is 2ab - 2(a + b), the joint change ab - 4: hardly correlated.
    assert one["correlation"]["high"] < 0.6
    assert one["relative_error"]["value"] > 0.5


def test_bagnets_add_up_where_masks_are_a_window_apart(images: Path, tmp_path: Path) -> None:
    one = found(small_bagnet(SIZE), images, tmp_path / "out")  # windows of 9 px, masks 8 px apart
    assert one["exact"]
    assert one["correlation"]["value"] >= 1 - 1e-9
    assert one["relative_error"]["value"] < 1e-9


def test_bagnets_do_not_where_they_are_closer(images: Path, tmp_path: Path) -> None:
    one = found(small_bagnet(SIZE, kernel3=(1, 1, 1, 1)), images, tmp_path / "out", (4,))
    assert not one["exact"]
    assert one["relative_error"]["value"] > 1e-3


def test_small_masks_far_apart(images: Path, tmp_path: Path) -> None:
    """Windows of 17 px on images with no room for larger masks; as near as they are long, they do interact."""
    model = small_bagnet(SIZE, kernel3=(1, 1, 1, 0))
    result = Interactions((4, 4), (4, 16)).run(gather([("it", model)], images), tmp_path)
    near, far = result.record["measures"]["comparisons"]
    assert (near["masks"], far["masks"], far["count"]) == ("4", "4, 16 apart", 4)
    assert not near["exact"]
    assert near["relative_error"]["value"] > 1e-3
    assert far["exact"]
    assert far["correlation"]["value"] >= 1 - 1e-9


def test_where_masks_lie() -> None:
    assert Masks(8, 8).boxes(33, 24) == [Box(0, 0, 8, 8), Box(16, 0, 24, 8), Box(0, 16, 8, 24), Box(16, 16, 24, 24)]
    assert Masks(4, 20).boxes(28, 27) == [Box(0, 0, 4, 4), Box(0, 24, 4, 28)]
    assert Interactions((8, 8, 4), (8, 8, 2)).masks == [Masks(8, 8), Masks(4, 2)]


def test_an_interrupted_run_goes_on(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def counted(x: Tensor) -> Tensor:
        asked.append(len(x))
        if len(asked) == 8:
            raise KeyboardInterrupt
        return linear(x)

    def material(function: Any) -> Material:
        return gather([("it", saying(function, 3, SIZE))], images, batch_size=1)

    with pytest.raises(KeyboardInterrupt):
        Interactions((8,)).run(material(counted), tmp_path / "cut")
    before = len(asked)
    result = Interactions((8,)).run(material(counted), tmp_path / "cut")
    whole = Interactions((8,)).run(material(linear), tmp_path / "whole")
    assert result.record["measures"] == whole.record["measures"]
    assert len(asked) - before < 2 * 12 + 3, "what was measured is not measured again"
    rows = list(csv.DictReader((tmp_path / "cut/interactions/interactions.csv").open()))
    assert len({row["image"] for row in rows}) == len(rows) == 12
    assert Interactions((8,)).run(material(linear), tmp_path / "cut").there_already


def test_one_image_says_nothing_of_a_correlation(tmp_path: Path) -> None:
    data = images_of(tmp_path / "two.npz", noise(2, SIZE), [0, 1])
    result = Interactions((8,)).run(gather([("it", small_bagnet(SIZE, classes=2))], data).sample(1), tmp_path)
    assert result.sentences == ["So few images say nothing of a correlation."]


def test_masks_without_room_are_said(tmp_path: Path) -> None:
    """Of 8 px there is room on 33 px, and of 16 px on 48 px alone."""
    data = images_of(tmp_path / "data.npz", noise(12, 48), [0, 1, 2] * 4)
    models = [("small", small_bagnet(33)), ("linear", saying(linear, 3, 33)), ("large", saying(linear, 3, 48))]
    findings = Interactions((8, 16)).find(gather(models, data), tmp_path)
    measures = findings.measures
    assert measures["no_room"] == [{"side": 16, "gap": 16, "input": 33, "models": ["small", "linear"], "images": 12}]
    assert {one["model"] for one in measures["comparisons"] if one["side"] == 16} == {"large"}
    assert findings.sentences[-1] == (
        "There is no room for 4 masks of 16 px, 16 px apart, on inputs of 33 px (small, linear): left out there."
    )


def test_no_room_for_masks(images: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no room for 4 masks"):
        found(small_bagnet(SIZE), images, tmp_path / "out", (16,))
    with pytest.raises(ValueError, match="one pixel at least"):
        Interactions((0,))
    with pytest.raises(ValueError, match="one for each of sides"):
        Interactions((8, 16), (8,))
