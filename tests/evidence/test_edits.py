"""What an edit changes equals a full run, and costs little."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import bagnet
from bagnet.architecture import Architecture
from bagnet.data.transforms import Preprocessing
from bagnet.engine.cost import multiply_adds
from bagnet.engine.fold import FoldedFeatures
from bagnet.evidence.edits import change, occlude
from bagnet.geometry import Box, tile_touching
from bagnet.model import BagNet


def image(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn((1, 3, height, width), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(values: torch.Tensor, expected: torch.Tensor) -> bool:
    assert values.shape == expected.shape
    return bool((values - expected).abs().max() <= 1e-9 * expected.abs().max())


def random_boxes(count: int, height: int, width: int) -> list[Box]:
    """Some stick out of the image, some lie outside, some are empty."""
    random = np.random.default_rng(0)
    corners = random.integers((-9, -9), (width + 9, height + 9), (count, 2))
    sides = random.integers(0, 20, (count, 2))
    return [Box(int(x), int(y), int(x + w), int(y + h)) for (x, y), (w, h) in zip(corners, sides, strict=True)]


@torch.inference_mode()
def test_an_edit_equals_a_full_run(sibling: BagNet) -> None:
    model, x = sibling.double(), image(58, 71)
    before = model.evidence(x)
    for box in random_boxes(12, 58, 71):
        edited, inside = x.clone(), box.intersect(Box(0, 0, 71, 58))
        edited[(..., *inside.slices)] += 2.0
        assert close(change(model, before, edited, box), model.evidence(edited))


@torch.inference_mode()
def test_a_mask_equals_a_full_run_and_leaves_the_rest_alone(sibling: BagNet) -> None:
    model, x = sibling.double(), image(58, 71)
    mask = torch.zeros(58, 71, dtype=torch.bool)
    for rows, columns in ((slice(3, 9), slice(50, 60)), (slice(40, 41), slice(2, 30)), (slice(57, 58), slice(70, 71))):
        mask[rows, columns] = True
    edited = torch.where(mask, -1.0, x)
    before = model.evidence(x, [2, 0])
    changed = change(model, before, edited, mask, [2, 0])
    assert close(changed, model.evidence(edited, [2, 0]))
    assert torch.equal(change(model, before, edited, mask.numpy(), [2, 0]), changed)
    for row, column in np.ndindex(changed.shape[2:]):
        window = model.geometry.window(row, column).intersect(Box(0, 0, 71, 58))
        if not mask[window.slices].any():
            assert torch.equal(changed[..., row, column], before[..., row, column])


class Counted:
    """A model that counts the pixels it is given and remembers the shapes."""

    def __init__(self, model: BagNet) -> None:
        self._model, self.pixels, self.shapes = model, 0, set[tuple[int, ...]]()

    def __getattr__(self, name: str) -> object:
        return getattr(self._model, name)

    def evidence(self, x: torch.Tensor, classes: list[int] | None = None) -> torch.Tensor:
        self.pixels += len(x) * x.shape[2] * x.shape[3]
        self.shapes.add(tuple(x.shape))
        return self._model.evidence(x, classes)


@torch.inference_mode()
def test_masks_cost_what_they_touch_and_never_more_than_a_pass(sibling: BagNet) -> None:
    x = image(400, 400).float()
    values = sibling.evidence(x, [0])
    cross, sprinkled = torch.zeros(2, 400, 400, dtype=torch.bool)
    cross[199:201], cross[:, 199:201] = True, True
    sprinkled[torch.rand(400, 400, generator=torch.Generator().manual_seed(0)) < 0.05] = True
    for mask, most in ((cross, 0.5), (sprinkled, 1.0)):
        model = Counted(sibling)
        edited = torch.where(mask, 0.0, x)
        changed = change(model, values, edited, mask, [0])  # type: ignore[call-overload]
        assert (changed - sibling.evidence(edited, [0])).abs().max() <= 1e-4 * changed.abs().max()
        assert model.pixels <= most * 400 * 400


@torch.inference_mode()
def test_one_shape_for_all_places_of_a_box(sibling: BagNet) -> None:
    """A runtime that compiles a program for every shape compiles one."""
    x, model = image(90, 111).float(), Counted(sibling)
    values = sibling.evidence(x)
    # Eleven and a stride of 8 or 4 have no common divisor: a box begins at each offset to the grid, and ends at each border.
    boxes = [Box(left, top, left + 7, top + 7) for left in (*range(0, 104, 11), 104) for top in (*range(0, 83, 11), 83)]
    for box in boxes:
        change(model, values, x, box)  # type: ignore[call-overload]
    assert len(model.shapes) == 1
    occlude(model, x, boxes, values=values)  # type: ignore[arg-type]
    assert {shape[2:] for shape in model.shapes} == {next(iter(model.shapes))[2:]}
    assert {shape[0] for shape in model.shapes} <= {1, 4, 16, 64}


def close_to(evidence: bagnet.Evidence, expected: bagnet.Evidence) -> bool:
    largest = float(np.abs(expected.values).max())
    return all(
        np.allclose(getattr(evidence, name), getattr(expected, name), rtol=0, atol=1e-5 * largest)
        for name in ("values", "logits")
    )


def test_evidence_of_an_edited_photograph(small: Callable[..., BagNet], photograph: Path) -> None:
    """Boxes and masks are of the photograph's own pixels, through resize and crop."""
    model = small(kernel3=(1, 1, 1, 0))
    transform = Preprocessing(resize=60, crop=56)
    before = bagnet.explain(model, photograph, transform=transform)
    box = Box(30, 20, 48, 41)
    picture = before.image.copy()
    picture.paste((255, 0, 0), box)
    mask = np.zeros((70, 90), dtype=bool)
    mask[box.slices] = True
    expected = bagnet.explain(model, picture, transform=transform)
    for where in (box, mask, torch.from_numpy(mask)):
        changed = bagnet.change(model, before, picture, where, transform=transform)
        assert close_to(changed, expected)
        assert (changed.values == before.values).mean() > 0.1
        assert (changed.image, changed.placement) == (expected.image, before.placement)
    with pytest.raises(ValueError, match="has the size of the first one"):
        bagnet.change(model, before, picture, box)
    with pytest.raises(ValueError, match="Evidence is of all classes"):
        bagnet.change(model, before, picture, box, [1])  # type: ignore[call-overload]


def test_evidence_of_an_edited_tensor(small: Callable[..., BagNet]) -> None:
    model, x = small(kernel3=(1, 1, 1, 0)), torch.randn(3, 58, 71)
    edited = x.clone()
    edited[:, 5:12, 40:51] = 0
    changed = bagnet.change(model, bagnet.explain(model, x), edited, Box(40, 5, 51, 12))
    assert close_to(changed, bagnet.explain(model, edited))


@torch.inference_mode()
def test_an_occlusion_sweep_equals_full_runs(sibling: BagNet) -> None:
    model, x = sibling.double(), image(58, 71)
    boxes = random_boxes(25, 58, 71)
    colour = torch.tensor([0.5, -0.5, 1.0], dtype=torch.float64)
    expected = []
    for box in boxes:
        edited = x.clone()
        edited[(..., *box.intersect(Box(0, 0, 71, 58)).slices)] = colour[:, None, None]
        expected.append(model(edited)[0, [3, 1]])
    assert close(occlude(model, x, boxes, colour, [3, 1]), torch.stack(expected))
    assert occlude(model, x, []).shape == (0, 5)


def test_a_masked_box_costs_less_than_a_25th_of_a_pass() -> None:
    """16 x 16 pixels of 224 x 224 for BagNet-17, wherever the box lies: counted multiply-adds."""
    model = BagNet(Architecture((1, 1, 1, 0)))
    network = FoldedFeatures(model)
    whole = multiply_adds(network, 3, 224, 224)
    assert whole < 15_652_454_400  # of the published layers
    boxes = [Box(96 + left, 96 + top, 112 + left, 112 + top) for left, top in np.ndindex(8, 8)]
    tiles = filter(None, (tile_touching(model.geometry, box, 224, 224) for box in boxes))
    worst = max((tile.crop for tile in tiles), key=lambda crop: crop.area)
    assert multiply_adds(network, 3, worst.height, worst.width) * 25 <= whole


def test_requests_that_do_not_fit_are_refused(sibling: BagNet) -> None:
    x, box = image(58, 71).float(), Box(0, 0, 4, 4)
    values = sibling.evidence(x)
    for wrong, edited in ((values[..., 1:], x), (values, x[..., 8:]), (values[0], x), (values[:, :3], x)):
        with pytest.raises(ValueError, match="is not that of an image"):
            change(sibling, wrong, edited, box)
        if edited is x:
            with pytest.raises(ValueError, match="is not that of an image"):
                occlude(sibling, x, [box], values=wrong)
    with pytest.raises(ValueError, match=r"evidence of shape \(1, 5, .* for 1 classes, which is \(1, 1, "):
        change(sibling, values, x, box, [2])
    two = torch.cat([x, x])
    with pytest.raises(ValueError, match="one image at a time"):
        change(sibling, values, two, box)
    with pytest.raises(ValueError, match="one image at a time"):
        occlude(sibling, two, [box])
    with pytest.raises(IndexError, match="there is no class 7"):
        change(sibling, values, x, Box(0, 0, 0, 0), [7])
    for where in ((0, 0, 4, 4), Box(0, 0, 4.5, 4), None):  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"written bagnet\.Box\(left, top, right, bottom\)"):
            change(sibling, values, x, where)  # type: ignore[call-overload]
        with pytest.raises(ValueError, match=r"written bagnet\.Box"):
            occlude(sibling, x, [where])  # type: ignore[list-item]
    for mask in (torch.zeros(58, 71), torch.zeros(71, 58, dtype=torch.bool)):
        with pytest.raises(ValueError, match="a mask must be bool"):
            change(sibling, values, x, mask)
    with pytest.raises(ValueError, match="many boxes are a list"):
        occlude(sibling, x, box)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one for each of 3 channels"):
        occlude(sibling, x, [box], torch.zeros(2))
    with pytest.raises(ValueError, match="must be a prepared"):
        change(sibling, values, Image.new("RGB", (71, 58)), box)  # type: ignore[call-overload]
