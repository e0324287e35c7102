from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bagnet.engine.classifier import Predictor
from bagnet.geometry import Box
from bagnet.studies.paper.interactions import Interactions, Masks
from bagnet.studies.paper.subjects import gather

from .material import findings_of, images_of, measures_of, noise, saying, small_bagnet

SIZE = 17  # room for four masks of 4 px, 4 px apart


def comparison(model: Predictor, out: Path, sides: tuple[int, ...] = (4,), images: int = 5, size: int = SIZE) -> dict[str, Any]:
    data = images_of(out / "images.npz", noise(images, size), [0] * (images - 1) + [1])
    (result,) = measures_of(Interactions(sides), gather([("it", model)], data), out)["comparisons"]
    return dict(result)


def linear(x: Tensor) -> Tensor:
    weights = torch.linspace(-1, 1, x[0].numel(), dtype=x.dtype).reshape(x[0].shape)
    # The first class always leads, so that the same linear function is asked for in each image.
    return torch.stack([(weights * x).sum((1, 2, 3)) + 1000, (0.5 * weights * x).sum((1, 2, 3)), x.sum((1, 2, 3)) * 0], 1)


def product(x: Tensor) -> Tensor:
    """What two places far apart show, multiplied; an empty place reads 2."""
    squares = [x[:, 0, span, span] for span in (slice(0, 4), slice(8, 12))]
    first, second = (square[:, 3, 3] - 0.5 + 2.5 * (square.std((1, 2)) < 1e-4) for square in squares)
    return torch.stack([first * second + 1000, first * 0, first * 0], 1)


def test_a_linear_model_has_none(tmp_path: Path) -> None:
    result = comparison(saying(linear, 3, SIZE), tmp_path)
    assert result["correlation"]["value"] > 1 - 1e-6
    assert not result["exact"]


def test_a_product_of_two_places_has_many(tmp_path: Path) -> None:
    result = comparison(saying(product, 3, SIZE), tmp_path, images=60)
    # With readings a and b of about 0 +- 0.3 the sum is 2ab - 2(a + b), the joint change ab - 4: hardly correlated.
    assert result["correlation"]["high"] < 0.6
    assert result["relative_error"]["value"] > 0.5


def test_bagnets_add_up_where_masks_are_a_window_apart(tmp_path: Path) -> None:
    result = comparison(small_bagnet(25), tmp_path, (8,), size=25)  # windows of 9 px, masks 8 px apart
    assert result["exact"]
    assert result["correlation"]["value"] >= 1 - 1e-9
    assert result["relative_error"]["value"] < 1e-9


def test_bagnets_do_not_where_they_are_closer(tmp_path: Path) -> None:
    result = comparison(small_bagnet(33, kernel3=(1, 1, 1, 1)), tmp_path, size=33)
    assert not result["exact"]
    assert result["relative_error"]["value"] > 1e-3


def test_small_masks_far_apart(tmp_path: Path) -> None:
    """Windows of 17 px on images with no room for larger masks; as near as they are long, they do interact."""
    data = images_of(tmp_path / "images.npz", noise(4, 25), [0, 1] * 2)
    material = gather([("it", small_bagnet(25, kernel3=(1, 1, 1, 0)))], data)
    near, far = measures_of(Interactions((4, 4), (4, 16)), material, tmp_path)["comparisons"]
    assert (near["masks"], far["masks"], far["count"]) == ("4", "4, 16 apart", 4)
    assert not near["exact"]
    assert near["relative_error"]["value"] > 1e-3
    assert far["exact"]
    assert far["correlation"]["value"] >= 1 - 1e-9


def test_where_masks_lie() -> None:
    assert Masks(8, 8).boxes(33, 24) == [Box(0, 0, 8, 8), Box(16, 0, 24, 8), Box(0, 16, 8, 24), Box(16, 16, 24, 24)]
    assert Masks(4, 20).boxes(28, 27) == [Box(0, 0, 4, 4), Box(0, 24, 4, 28)]
    assert Interactions((8, 8, 4), (8, 8, 2)).masks == [Masks(8, 8), Masks(4, 2)]


def test_one_image_says_nothing_of_a_correlation(tmp_path: Path) -> None:
    data = images_of(tmp_path / "two.npz", noise(2, SIZE), [0, 1])
    findings = findings_of(Interactions((4,)), gather([("it", saying(linear, 3, SIZE))], data).sample(1), tmp_path)
    assert findings.sentences == ["So few images say nothing of a correlation."]


def test_masks_without_room_are_said(tmp_path: Path) -> None:
    """Of 4 px there is room on 17 px, and of 8 px on 24 px alone."""
    data = images_of(tmp_path / "data.npz", noise(3, 24), [0, 1, 2])
    models = [("small", small_bagnet(SIZE)), ("linear", saying(linear, 3, SIZE)), ("large", saying(linear, 3, 24))]
    findings = findings_of(Interactions((4, 8)), gather(models, data), tmp_path)
    (entry,) = findings.measures.no_room
    assert (entry.side, entry.gap, entry.input, entry.models, entry.images) == (8, 8, 17, ["small", "linear"], 3)
    assert {each.model for each in findings.measures.comparisons if each.side == 8} == {"large"}
    assert findings.sentences[-1] == (
        "There is no room for 4 masks of 8 px, 8 px apart, on inputs of 17 px (small, linear): left out there."
    )


def test_no_room_for_masks(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no room for 4 masks"):
        comparison(small_bagnet(SIZE), tmp_path, (16,), images=2)
    with pytest.raises(ValueError, match="one pixel at least"):
        Interactions((0,))
    with pytest.raises(ValueError, match="one for each of sides"):
        Interactions((8, 16), (8,))
