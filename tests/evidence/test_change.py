"""What an edit changes equals a full run, and costs little."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bagnet.engine.cost import multiply_adds
from bagnet.engine.fold import FoldedFeatures
from bagnet.evidence.change import boxes_of, changed, occlude
from bagnet.geometry import Box
from bagnet.model import Architecture, BagNet


def image(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn((1, 3, height, width), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    assert found.shape == expected.shape
    return bool((found - expected).abs().max() <= 1e-9 * expected.abs().max())


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
        assert close(changed(model, before, edited, box), model.evidence(edited))


@torch.inference_mode()
def test_a_mask_of_several_parts(sibling: BagNet) -> None:
    model, x = sibling.double(), image(58, 71)
    mask = torch.zeros(58, 71, dtype=torch.bool)
    for rows, columns in ((slice(3, 9), slice(50, 60)), (slice(40, 41), slice(2, 30)), (slice(57, 58), slice(70, 71))):
        mask[rows, columns] = True
    edited = torch.where(mask, -1.0, x)
    assert len(boxes_of(mask)) == 3
    found = changed(model, model.evidence(x, [2, 0]), edited, boxes_of(mask), [2, 0])
    assert close(found, model.evidence(edited, [2, 0]))


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
    cuts = [model.geometry.cut_out(model.geometry.cells_touching(box, 224, 224), 224, 224)[0] for box in boxes]
    worst = max(cuts, key=lambda cut: cut.area)
    assert multiply_adds(network, 3, worst.height, worst.width) * 25 <= whole


def test_shapes_that_do_not_fit_are_refused(sibling: BagNet) -> None:
    x = image(58, 71).float()
    values = sibling.evidence(x)
    for wrong, edited in ((values[..., 1:], x), (values, torch.cat([x, x])), (values, x[..., 8:])):
        with pytest.raises(ValueError, match="is not that of an image"):
            changed(sibling, wrong, edited, Box(0, 0, 4, 4))
