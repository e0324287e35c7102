"""From an image to evidence: every kind of image, the invariant, and windows that lie where they should."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageOps

import bagnet
from bagnet.data.names import UnknownClass
from bagnet.data.transforms import Preprocessing
from bagnet.geometry import Box
from bagnet.model import BagNet

from .detector import magenta_detector

PLAIN = Preprocessing(64, 64)


@pytest.fixture
def model(small: Callable[..., BagNet]) -> BagNet:
    return small(kernel3=(1, 1, 1, 0))


def test_the_mean_of_each_map_is_its_logit(model: BagNet, photograph: Path) -> None:
    evidence = bagnet.explain(model, photograph, transform=PLAIN)
    largest = np.abs(evidence.logits).max()
    assert evidence.values.shape == (5, 6, 6)
    assert np.abs(evidence.values.mean((1, 2)) - evidence.logits).max() <= 1e-5 * largest
    x = PLAIN(Image.open(photograph))[None]
    with torch.inference_mode():
        assert np.abs(evidence.logits - model(x)[0].numpy()).max() <= 1e-5 * largest


def test_all_ways_to_give_an_image_agree(model: BagNet, photograph: Path) -> None:
    opened = Image.open(photograph)
    tensor = PLAIN(opened)
    images = [photograph, str(photograph), opened, np.asarray(opened), tensor, tensor[None]]
    explained = bagnet.explain(model, images, transform=PLAIN)
    assert isinstance(explained, list)
    for evidence in explained[1:]:
        assert np.array_equal(evidence.values, explained[0].values)
    assert explained[4].placement == explained[4].placement.identity(64, 64)
    assert explained[0].image.size == (90, 70)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((8, 8, 3), np.float32), "must be uint8"),
        (torch.zeros(2, 40, 40, dtype=torch.uint8), r"an image as a tensor must be uint8"),
        (torch.zeros(2, 3, 40, 40), "several go in a list"),
        (torch.zeros(1, 40, 40), r"prepared \(3, H, W\)"),
        (torch.zeros(3, 16, 40), "smallest size is 17 x 17"),
        (torch.full((3, 40, 40), torch.nan), "not finite"),
    ],
)
def test_other_images_are_refused(model: BagNet, image: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        bagnet.explain(model, image)  # type: ignore[call-overload]


def test_a_name_is_no_model(photograph: Path, tmp_path: Path) -> None:
    for refused in (
        lambda: bagnet.explain("default", photograph),  # type: ignore[call-overload]
        lambda: bagnet.certify("default", photograph, "2%"),  # type: ignore[arg-type]
        lambda: bagnet.predict("default", photograph, tmp_path / "table.csv"),  # type: ignore[arg-type]
        lambda: bagnet.evaluate("default", tmp_path),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError, match=r"'default' is the name of a model: load it first, bagnet\.load\('default'\)"):
            refused()


def test_the_whole_photograph_at_a_size(model: BagNet, photograph: Path) -> None:
    """Of 90 x 70 pixels: 84 x 66 of the input, of which nothing is cropped."""
    evidence = bagnet.explain(model, photograph, size=66)
    assert evidence.placement.input_size == (66, 84)
    assert evidence.placement.display_box(Box(0, 0, 84, 66)) == Box(0, 0, 90, 70)
    assert np.array_equal(evidence.values, bagnet.explain(model, photograph, transform=Preprocessing(66, None)).values)
    with pytest.raises(ValueError, match="two answers to one question"):
        bagnet.explain(model, photograph, size=66, transform=PLAIN)
    with pytest.raises(UnknownClass, match="no class is called 'unicorn'"):
        bagnet.explain(model, photograph, keep=["unicorn"])


def test_a_card_that_crops_nothing(model: BagNet, photograph: Path) -> None:
    assert model.card is not None
    model.card = replace(model.card, preprocessing=Preprocessing(64, None))
    assert bagnet.explain(model, photograph).placement.input_size == (64, 82)


def test_modes_and_settings_come_back_as_they_were(model: BagNet, photograph: Path) -> None:
    model.train()
    model.bn1.eval()  # a frozen layer in a training network stays frozen
    modes = [module.training for module in model.modules()]
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            evidence = bagnet.explain(model, photograph, transform=PLAIN)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert [module.training for module in model.modules()] == modes
    again = bagnet.explain(model.eval(), photograph, transform=PLAIN)
    assert np.array_equal(evidence.values, again.values)


def test_a_network_in_float64_explains_in_float64(model: BagNet, photograph: Path) -> None:
    evidence = bagnet.explain(model.double(), photograph, transform=PLAIN)
    assert evidence.values.dtype == np.float64
    means = evidence.values.mean((1, 2))
    assert np.abs(means - evidence.logits).max() <= 1e-9 * np.abs(evidence.logits).max()


def test_too_low_a_precision_is_noticed(model: BagNet, photograph: Path) -> None:
    with pytest.raises(ValueError, match="too low a precision"):
        bagnet.explain(model.bfloat16(), photograph, transform=PLAIN)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_planted_square_is_found_in_the_original_photograph(tmp_path: Path, orientation: int) -> None:
    """Through EXIF rotation, antialiased resize and centre crop, in pixels of the upright and of the stored image."""
    stored_square = Box(410, 300, 460, 350)
    stored = Image.new("RGB", (1000, 700), (90, 100, 90))
    ImageDraw.Draw(stored).rectangle((410, 300, 459, 349), fill=(255, 0, 255))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "rotated.png"
    stored.save(path, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    rows, columns = np.nonzero(upright[:, :, 0] == 255)
    square = Box(int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)

    evidence = bagnet.explain(magenta_detector(), path)
    best = evidence.windows("magenta", 1)[0]
    assert best.box.contains(square)
    assert 85 <= best.box.width <= 95  # 33 px of the input, which shows 700 px on 256
    assert evidence.placement.stored_box(best.box).contains(stored_square)
    cell = evidence.geometry.window(best.row, best.column)
    assert evidence.placement.influence_box(cell).contains(best.box)


def test_a_cell_depends_on_nothing_outside_its_influence_box() -> None:
    """Every pixel outside is replaced by noise, at the original resolution."""
    random = np.random.default_rng(0)
    model = magenta_detector(9)
    photo = random.integers(0, 256, (350, 500, 3), dtype=np.uint8)
    evidence = bagnet.explain(model, photo)
    for row, column in ((0, 0), (13, 7), (26, 26)):
        box = evidence.placement.influence_box(evidence.geometry.window(row, column))
        edited = random.integers(0, 256, photo.shape, dtype=np.uint8)
        edited[box.slices] = photo[box.slices]
        after = bagnet.explain(model, edited)
        assert after.map("magenta")[row, column] == pytest.approx(evidence.map("magenta")[row, column], abs=1e-6)
        inside = photo.copy()
        inside[box.slices] = (255, 0, 255)
        assert bagnet.explain(model, inside).map("magenta")[row, column] > evidence.map("magenta")[row, column] + 1
