from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from bagnet.data.transforms import Preprocessing
from bagnet.geometry import squares
from bagnet.studies.paper.maps import _moved, over_cells


def test_a_map_is_moved_through_the_photograph() -> None:
    """A map that says of each pixel where it lies in the photograph says so on another network's input, too."""
    photo = Image.new("RGB", (80, 60))
    source, target = Preprocessing(45, 36), Preprocessing(30, 28)
    here, there = source.placement(photo.size), target.placement(photo.size)
    across, down = ((torch.arange(36.0) + 0.5 + axis.start) * axis.scale for axis in (here.horizontal, here.vertical))
    for axis, values in ((1, across[None].expand(36, 36)), (0, down[:, None].expand(36, 36))):
        placed = (there.vertical, there.horizontal)[axis]
        expected = (np.arange(28) + 0.5 + placed.start) * placed.scale
        moved = _moved(values, source, target, photo).numpy()
        found = moved[14] if axis == 1 else moved[:, 14]
        inside = (expected > float(values.min())) & (expected < float(values.max()))
        assert 20 < inside.sum() < 28, "what the other sees in addition is zero"
        np.testing.assert_allclose(found[inside], expected[inside], rtol=1e-4)
        assert abs(found[~inside]).max() < float(values.max())


def test_cells_at_the_edge_are_smaller() -> None:
    assert [(box.width, box.height) for box in squares(4, 4, 6)] == [(4, 4), (2, 4)]
    assert over_cells(torch.arange(24.0).reshape(4, 6), 4).tolist() == [10.5, 13.5]
