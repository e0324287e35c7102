"""The network keeps its promises: windows alone decide cells, cells add up, names and errors tell the truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from bagnet.architecture import Architecture
from bagnet.data.transforms import Preprocessing
from bagnet.geometry import Box, Geometry
from bagnet.model import BagNet, Bottleneck
from bagnet.zoo.catalogue import card_of
from bagnet.zoo.names import model_names

from .conftest import SIBLINGS

UNPADDED = [shape for shape in SIBLINGS if not shape.padded]  # a padded network sees zeros around a window cut out
SIZES = [(65, 65), (64, 90), (101, 57), (58, 73)]


def image(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn((1, 3, height, width), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(values: torch.Tensor, expected: torch.Tensor) -> bool:
    return bool((values - expected).abs().max() <= 1e-9 * expected.abs().max())


@pytest.mark.parametrize("size", SIZES)
@torch.inference_mode()
def test_mean_of_evidence_is_the_logits(sibling: BagNet, size: tuple[int, int]) -> None:
    model, x = sibling.double(), image(*size)
    evidence = model.evidence(x)
    assert evidence.shape == (1, 5, *model.geometry.grid(*size))
    assert close(evidence.mean((2, 3)), model(x))
    logits, both = model.logits_and_evidence(x)
    assert torch.equal(logits, model(x))
    assert torch.equal(both, evidence)


@pytest.mark.parametrize("sibling", UNPADDED, ids=lambda shape: shape.name, indirect=True)
@pytest.mark.parametrize("size", SIZES)
@torch.inference_mode()
def test_a_cell_is_the_network_on_its_window(sibling: BagNet, size: tuple[int, int]) -> None:
    model, x = sibling.double(), image(*size)
    evidence = model.evidence(x)[0]
    rows, columns = model.geometry.grid(*size)
    boxes = [model.geometry.window(row, column).slices for row in range(rows) for column in range(columns)]
    windows = torch.cat([x[..., down, across] for down, across in boxes])
    assert close(model(windows).T.reshape(5, rows, columns), evidence)


@torch.inference_mode()
def test_only_cells_that_touch_a_change_change(sibling: BagNet) -> None:
    model, x = sibling.double(), image(60, 75)
    before = model.evidence(x)[0]
    random = np.random.default_rng(0)
    for _ in range(12):
        left, top = random.integers(0, 75), random.integers(0, 60)
        box = Box(int(left), int(top), int(left + random.integers(1, 12)), int(top + random.integers(1, 12)))
        edited = x.clone()
        edited[(..., *box.slices)] += 3.0
        changed = (model.evidence(edited)[0] != before).any(0).numpy()
        touched = np.zeros_like(changed)
        touched[model.geometry.cells_touching(box, 60, 75).slices] = True
        # A strong change of every pixel shows in every window that holds one, unless all ReLUs are shut; none elsewhere.
        assert not (changed & ~touched).any()
        assert changed.sum() >= 0.9 * touched.sum()


@torch.inference_mode()
def test_pixels_that_no_window_sees_change_nothing(sibling: BagNet) -> None:
    model, x = sibling.double(), image(63, 70)
    before = model(x)
    edited = x.clone()
    for strip in model.geometry.unseen(63, 70):
        edited[(..., *strip.slices)] = 99.0
    assert torch.equal(model(edited), before)


@torch.inference_mode()
def test_chosen_classes_come_in_the_order_asked_for(sibling: BagNet) -> None:
    model, x = sibling.double(), image(50, 50)
    assert close(model.evidence(x, [3, 0]), model.evidence(x)[:, [3, 0]])
    for wrong in ([5], [-1]):
        with pytest.raises(IndexError, match="there is no class"):
            model.evidence(x, wrong)
    with pytest.raises(ValueError, match="no classes are asked for"):
        model.evidence(x, [])


def test_smallest_image_is_one_window(sibling: BagNet) -> None:
    least = sibling.geometry.smallest_input
    assert sibling(torch.zeros(1, 3, least, least + 7)).shape == (1, 5)
    if least > 1:
        with pytest.raises(ValueError, match=f"smallest size is {least} x {least}"):
            sibling(torch.zeros(1, 3, least + 7, least - 1))


@pytest.mark.parametrize("shape", [(3, 40, 40), (1, 1, 40, 40), (40, 40)])
def test_other_tensors_are_refused(sibling: BagNet, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"takes a batch of shape \(B, 3, H, W\)"):
        sibling(torch.zeros(shape))


def test_the_shortcuts_gradient_keeps_its_layout(sibling: BagNet) -> None:
    """In another layout than its map's, the batch norm of the shortcut takes ten times as long to train."""
    model = sibling.train().to(memory_format=torch.channels_last)
    kept: list[bool] = []

    def watch(*hooked: object) -> None:
        hooked[2].register_hook(lambda gradient: kept.append(_is_channels_last(gradient)))  # type: ignore[attr-defined]

    for module in model.modules():
        if isinstance(module, Bottleneck) and module.downsample is not None:
            module.downsample.register_forward_hook(watch)
    x = torch.randn(2, 3, 57, 57).contiguous(memory_format=torch.channels_last)
    model(x).sum().backward()
    assert kept
    assert all(kept)


def _is_channels_last(x: torch.Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last)


def test_gradient_reaches_exactly_the_window() -> None:
    """The window that the name states is the true receptive field: all of its pixels matter and no other."""
    model = BagNet(Architecture((1, 2, 1, 0), (2, 2, 1, 1), (1, 2, 1, 1), 4, num_classes=2)).double().eval()
    size = model.geometry.size
    x = torch.cat([image(size + 16, size + 16, seed) for seed in range(16)]).requires_grad_()  # ReLUs shut some paths in each
    model.evidence(x)[:, :, 1, 1].sum().backward()  # type: ignore[no-untyped-call]
    reached = (x.grad != 0).any(0).any(0)  # type: ignore[index]
    expected = torch.zeros_like(reached)
    expected[model.geometry.window(1, 1).slices] = True
    assert torch.equal(reached, expected)


def test_head_stays_in_float32_under_autocast(sibling: BagNet) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert sibling(torch.zeros(1, 3, 50, 50)).dtype == torch.float32


def test_parameter_counts_are_the_published_ones() -> None:
    with torch.device("meta"):
        counts = [
            sum(tensor.numel() for tensor in BagNet(Architecture(kernel3)).parameters())
            for kernel3 in ((1, 1, 0, 0), (1, 1, 1, 0), (1, 1, 1, 1))
        ]
    assert counts == [15_688_744, 16_213_032, 18_310_184]


@pytest.mark.parametrize(
    ("strides", "stride", "reached"),
    [
        ((2, 2, 2, 1), 1, 1),
        ((2, 2, 2, 1), 2, 2),
        ((2, 2, 2, 1), 4, 4),
        ((2, 2, 2, 1), 6, 2),
        ((2, 2, 2, 1), 16, 8),
        ((3, 2, 1, 1), 2, 1),
    ],
)
def test_the_finer_stride_that_is_reached(strides: tuple[int, int, int, int], stride: int, reached: int) -> None:
    model = BagNet(Architecture((1, 1, 0, 0), strides, (1, 1, 1, 1), 2, num_classes=2)).eval()
    assert model.at_stride(stride).geometry == Geometry(model.geometry.size, reached)


@torch.inference_mode()
def test_a_finer_grid_has_the_windows_of_the_coarse_one_and_those_between(sibling: BagNet) -> None:
    model = sibling.double()
    x = torch.randn((1, 3, 61, 70), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for stride in (1, 2):
        finer = model.at_stride(stride)
        step = model.geometry.stride // finer.geometry.stride
        values, coarse = finer.evidence(x), model.evidence(x)
        assert values.shape[2:] == finer.geometry.grid(61, 70)
        assert (values[..., ::step, ::step] - coarse).abs().max() <= 1e-9 * coarse.abs().max()
    assert model.at_stride(model.geometry.stride) is model
    with pytest.raises(ValueError, match="at least 1"):
        model.at_stride(0)


def as_timm_prepares(model: BagNet, photo: Image.Image) -> list[Any]:
    """A photograph as timm's tools make an input of it, asked in all the ways in which they ask."""
    answers = [
        timm.data.resolve_model_data_config(model),
        timm.data.resolve_data_config(model=model),
        timm.data.resolve_data_config({}, model=model),
        timm.data.resolve_data_config(pretrained_cfg=model.pretrained_cfg),
    ]
    return [timm.data.create_transform(**answer, is_training=False)(photo) for answer in answers]


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 410, 3), np.uint8))


@pytest.mark.parametrize("name", [name for name in model_names() if isinstance(card_of(name).architecture, Architecture)])
def test_timm_prepares_images_as_the_card_says(name: str) -> None:
    card = card_of(name)
    assert isinstance(card.architecture, Architecture)
    with torch.device("meta"):
        model = BagNet(card.architecture)
    model.card = card
    for prepared in as_timm_prepares(model, noise()):
        assert torch.equal(prepared, card.preprocessing.of_picture(noise()))


@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing(235, 224, "bicubic"),  # 224 / 0.95, which timm rounds down
        Preprocessing(229, 225, "bilinear", (0.5,) * 3, (0.25,) * 3),
        Preprocessing(64, 64),
        *(Preprocessing(crop + more, crop) for crop in (61, 97, 224) for more in (1, 3, 7, 32)),
    ],
    ids=lambda preprocessing: f"{preprocessing.resize}-{preprocessing.crop}",
)
def test_timm_prepares_images_as_any_card_says(preprocessing: Preprocessing, small: Callable[..., BagNet]) -> None:
    model = small()
    assert model.card is not None
    model.card = replace(model.card, preprocessing=preprocessing)
    for prepared in as_timm_prepares(model, noise()):
        assert torch.equal(prepared, preprocessing.of_picture(noise()))
