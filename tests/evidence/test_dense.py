"""Dense maps are the logits of every window, whatever the stride, the tiles and the family."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import bagnet
from bagnet.data.transforms import Preprocessing
from bagnet.evidence.dense import dense, finer
from bagnet.model import BagNet

from ..conftest import SIBLINGS

UNPADDED = [shape for shape in SIBLINGS if not shape.padded]
PADDED = [shape for shape in SIBLINGS if shape.padded]


def image(height: int, width: int) -> torch.Tensor:
    return torch.randn((1, 3, height, width), generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def close(values: torch.Tensor, expected: torch.Tensor) -> bool:
    assert values.shape == expected.shape
    return bool((values - expected).abs().max() <= 1e-9 * expected.abs().max())


@pytest.mark.parametrize("sibling", UNPADDED, ids=lambda shape: shape.name, indirect=True)
@pytest.mark.parametrize("stride", [1, 2, 3, 4, 8])
@torch.inference_mode()
def test_every_window_by_itself(sibling: BagNet, stride: int) -> None:
    model, x, size = sibling.double(), image(48, 55), sibling.geometry.size
    fine = dense(model, x, [4, 0], stride, padded=False)
    assert (fine.origin, fine.stride) == (0, stride)
    windows = x.unfold(2, size, stride).unfold(3, size, stride)[0]  # (3, h, w, size, size)
    rows, columns = windows.shape[1:3]
    logits = model(windows.permute(1, 2, 0, 3, 4).reshape(-1, 3, size, size))[:, [4, 0]]
    assert close(fine.values[0], logits.T.reshape(2, rows, columns))


@pytest.mark.parametrize("sibling", UNPADDED, ids=lambda shape: shape.name, indirect=True)
@pytest.mark.parametrize("stride", [1, 4])
@torch.inference_mode()
def test_zero_padding_centres_windows_on_pixels(sibling: BagNet, stride: int) -> None:
    model, x, half = sibling.double(), image(40, 45), (sibling.geometry.size - 1) // 2
    fine = dense(model, x, stride=stride)
    assert fine.origin == -half
    assert fine.values.shape[2:] == (-(-40 // stride), -(-45 // stride))
    assert close(fine.values, dense(model, F.pad(x, [half] * 4), stride=stride, padded=False).values)


@pytest.mark.parametrize("sibling", PADDED, ids=lambda shape: shape.name, indirect=True)
@torch.inference_mode()
def test_padded_networks_have_their_evidence_on_the_grid(sibling: BagNet) -> None:
    model, x, step = sibling.double(), image(50, 61), sibling.geometry.stride
    fine = dense(model, x)
    assert fine.values.shape == (1, 5, 50, 61)
    assert fine.origin == sibling.geometry.origin
    assert close(fine.values[..., ::step, ::step], model.evidence(x))
    with pytest.raises(ValueError, match="pads by itself"):
        dense(model, x, padded=False)


@pytest.mark.parametrize("stride", [1, 2, 4])
@torch.inference_mode()
def test_tiles_leave_no_seam(sibling: BagNet, stride: int) -> None:
    model, x = sibling.double(), image(17, 26)
    whole = dense(model, x, [1], stride).values
    for tile in (1 if stride == 4 else 7, 30, 200, 1000):
        assert close(dense(model, x, [1], stride, tile=tile).values, whole), tile


@torch.inference_mode()
def test_the_grid_is_a_part_of_the_map(sibling: BagNet) -> None:
    """The decision grid is every stride-th window of the map that starts where the grid does."""
    model, x, step = sibling.double(), image(60, 49), sibling.geometry.stride
    half = 0 if sibling.architecture.padded else (sibling.geometry.size - 1) // 2
    evidence = model.evidence(x)
    rows, columns = evidence.shape[2:]
    values = dense(model, x).values[..., half::step, half::step]
    assert close(values[..., :rows, :columns], evidence)


def test_bad_requests(sibling: BagNet) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        dense(sibling, image(40, 40).float(), stride=0)
    with pytest.raises(ValueError, match="takes a batch"):
        dense(sibling, image(40, 40)[0].float())
    with pytest.raises(IndexError):
        dense(sibling, image(40, 40).float(), [5])


def test_progress_counts_tiles(sibling: BagNet) -> None:
    calls: list[tuple[int, int]] = []
    dense(sibling, image(60, 60).float(), [1], tile=400, progress=lambda progress: calls.append((progress.done, progress.total)))
    assert len(calls) > 3
    assert calls == [(done, len(calls)) for done in range(1, len(calls) + 1)]


def test_a_network_shown_each_window_by_itself_goes_in_small_steps_and_says_how_long_it_takes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As many windows as are one tile of a BagNet are minutes of a network that sees them one at a time."""
    caplog.set_level("INFO", "bagnet")
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    model = bagnet.windowed(network.eval(), 9, 4, scale="native", classes=["a", "b"], preprocessing=Preprocessing(None, None))
    x = image(28, 38).float()  # 20 x 30 windows
    whole = dense(model, x, padded=False).values
    assert caplog.messages == []
    monkeypatch.setattr(bagnet.evidence.dense, "TILE_APART", 60)
    calls: list[int] = []
    parts = dense(model, x, padded=False, progress=lambda progress: calls.append(progress.total)).values
    assert (parts - whole).abs().max() <= 1e-6 * whole.abs().max()
    assert len(calls) == calls[0] >= 10
    assert re.fullmatch(r"a map of 600 windows, 1 px apart; about \d+ s", caplog.messages[0])
    assert len(caplog.messages) == 1


def test_finer_sees_a_prepared_tensor_as_it_is(small: Callable[..., BagNet]) -> None:
    """Not resized and cropped once more, as a photograph would be."""
    model = small()
    pixels = torch.randint(0, 256, (3, 52, 75), dtype=torch.uint8)
    x = model.transform.normalise(pixels)
    evidence = bagnet.explain(model, x)
    expected = dense(model, x[None], [1, 3], padded=False)
    fine = finer(model, evidence, model.transform, [1, 3])
    assert fine.origin == expected.origin
    assert (fine.values - expected.values).abs().max() <= 1e-5 * expected.values.abs().max()
    with pytest.raises(ValueError, match="give the tensor itself to dense"):
        finer(model, bagnet.explain(model, 3 * x), model.transform, [1, 3])


def test_finer_refuses_another_transform(small: Callable[..., BagNet]) -> None:
    model = small()
    evidence = bagnet.explain(model, model.transform.picture(torch.zeros(3, 100, 120)))
    with pytest.raises(ValueError, match="another transform"):
        finer(model, evidence, model.transform.with_crop(80), [0])
