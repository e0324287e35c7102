from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bagnet.data.transforms import Preprocessing
from bagnet.geometry import squares
from bagnet.studies.paper.maps import check_cells, check_methods, masked, moved, over_cells, pixel_map, title_of
from bagnet.studies.paper.subjects import gather

from .material import READ, images_of, noise, plain, prepared_by, reads_one_cell, small_windowed


def test_a_map_is_moved_through_the_photograph() -> None:
    """A map that says of each pixel where it lies in the photograph says so on another network's input, too."""
    photo = Image.new("RGB", (80, 60))
    source, target = Preprocessing(45, 36), Preprocessing(30, 28)
    before, after = source.placement(photo.size), target.placement(photo.size)
    across, down = ((torch.arange(36.0) + 0.5 + axis.start) * axis.scale for axis in (before.horizontal, before.vertical))
    for axis, values in ((1, across[None].expand(36, 36)), (0, down[:, None].expand(36, 36))):
        placed = (after.vertical, after.horizontal)[axis]
        expected = (np.arange(28) + 0.5 + placed.start) * placed.scale
        values_there = moved(values, source, target, photo.size).numpy()
        along = values_there[14] if axis == 1 else values_there[:, 14]
        inside = (expected > float(values.min())) & (expected < float(values.max()))
        assert 20 < inside.sum() < 28, "what the other sees in addition is zero"
        np.testing.assert_allclose(along[inside], expected[inside], rtol=1e-4)
        assert abs(along[~inside]).max() < float(values.max())


def test_the_map_of_windows_shown_one_at_a_time_is_the_mean_of_those_that_hold_a_pixel(tmp_path: Path) -> None:
    model = small_windowed(16)
    (subject,) = gather([("windows", model)], images_of(tmp_path / "images.npz", noise(2, 16), [0, 1])).subjects
    x = model.transform(noise(1, 16)[0])[None]
    evidence = model.evidence(x, [2])[0, 0]
    total, count = torch.zeros(16, 16), torch.zeros(16, 16)
    for row, column in np.ndindex(*evidence.shape):
        part = (slice(4 * row, 4 * row + 8), slice(4 * column, 4 * column + 8))
        total[part] += evidence[row, column]
        count[part] += 1
    torch.testing.assert_close(pixel_map(subject, x, 2), total / count)


def test_cells_at_the_edge_are_smaller() -> None:
    assert [(box.width, box.height) for box in squares(4, 4, 6)] == [(4, 4), (2, 4)]
    assert over_cells(torch.arange(24.0).reshape(4, 6), 4).tolist() == [10.5, 13.5]


def test_masked_cells_have_one_colour() -> None:
    x = torch.rand(1, 2, 4, 4)
    left, right = squares(4, 4, 4)[0], squares(2, 4, 4)[1]
    assert masked(x, [left], "mean").abs().max() == 0
    filled = masked(x, [right], "cell")
    torch.testing.assert_close(filled[..., :2, 2:], x[..., :2, 2:].mean((2, 3), keepdim=True).expand(1, 2, 2, 2))
    assert torch.equal(filled[..., 2:, :], x[..., 2:, :])


def test_methods_are_called_as_the_field_calls_them() -> None:
    assert [title_of(source) for source in ("deeplift", "grad_cam", "random", "a model")] == [
        "DeepLIFT",
        "Grad-CAM",
        "Random order",
        "a model",
    ]
    with pytest.raises(ValueError, match="methods='magic': choose among saliency, integrated_gradients"):
        check_methods(("saliency", "magic"))


def test_cells_need_room(tmp_path: Path) -> None:
    model = reads_one_cell()
    (subject,) = gather([("reader", model)], images_of(tmp_path / "images.npz", noise(2, READ), [0, 1])).subjects
    check_cells(READ - 1, subject)
    for cell in (READ, 1000):
        with pytest.raises(ValueError, match=f"cell={cell}: the input of reader, {READ} px, has no two such cells"):
            check_cells(cell, subject)
    prepared_by(model, plain(None))
    with pytest.raises(ValueError, match="reader takes images of any size"):
        check_cells(8, subject)
