"""A sweep gives each image once, ready for the model or with the reason why not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bagnet.data.decode import BadImage
from bagnet.data.sources import open_images
from bagnet.data.transforms import Preprocessing
from bagnet.model import BagNet
from bagnet.progress import Progress
from bagnet.runs.sweep import NotANumber, check_finite, check_some, sweep

WHOLE = Preprocessing(None, None)


@pytest.fixture
def model(small: Callable[..., BagNet]) -> BagNet:
    model = small().double()
    assert model.card is not None
    model.card = replace(model.card, preprocessing=WHOLE)
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images of two sizes in turn, one smaller than a window, one broken."""
    random = np.random.default_rng(0)
    for number, side in enumerate((50, 60, 50, 8, 60, 50)):
        Image.fromarray(random.integers(0, 256, (side, 50, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "6.png").write_bytes(b"no image")
    return tmp_path


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_every_image_once(model: BagNet, folder: Path, batch_size: int) -> None:
    images, told = open_images(folder), list[Progress]()
    rows: list[int] = []
    bad: list[tuple[int, str]] = []
    for batch in sweep(model, images, batch_size=batch_size, workers=0, progress=told.append):
        assert not (batch.rows and batch.bad)
        for row, x in zip(batch.rows, batch.x, strict=True):
            assert torch.equal(x, WHOLE(images.photo(row).image).double())
        rows += batch.rows
        bad += batch.bad
    assert sorted(rows) == [0, 1, 2, 4, 5]
    assert [row for row, _ in sorted(bad)] == [3, 6]
    assert dict(bad)[3].startswith("3.png: an image of 8 x 50 pixels")
    assert dict(bad)[6].count("6.png") == 1
    assert told[-1] == Progress("bagnet33.untrained", 7, 7)


def test_images_of_one_size_are_together(model: BagNet, folder: Path) -> None:
    batches = [list(batch.rows) for batch in sweep(model, open_images(folder), workers=0)]
    assert batches == [[0, 2, 5], [1, 4], []]


def test_some_rows_go_on_where_others_stopped(model: BagNet, folder: Path) -> None:
    told = list[Progress]()
    batches = list(sweep(model, open_images(folder), [4, 5], batch_size=1, workers=0, progress=told.append, stage="asking"))
    assert [list(batch.rows) for batch in batches] == [[4], [5]]
    assert told == [Progress("asking", 6, 7), Progress("asking", 7, 7)]


def test_inside_all_is_exact_and_afterwards_as_before(model: BagNet, folder: Path) -> None:
    model.train()
    for _ in sweep(model, open_images(folder), workers=0):
        assert not model.training
        assert torch.is_inference_mode_enabled()
    assert model.training
    assert not torch.is_inference_mode_enabled()

    def interrupted() -> None:
        for _ in sweep(model, open_images(folder), workers=0):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert model.training
    assert not torch.is_inference_mode_enabled()


def test_inputs_that_no_image_could_make_fit_are_refused_at_once(model: BagNet, folder: Path) -> None:
    with pytest.raises(ValueError, match="too small for windows of 33"):
        next(sweep(model, open_images(folder), transform=Preprocessing(20, 20), workers=0))
    with pytest.raises(ValueError, match=r"shape \(B, 3, H, W\)"):
        next(sweep(model, open_images(folder), transform=Preprocessing(40, 40, mean=(0.5,), std=(0.5,)), workers=0))


def test_what_is_not_finite_is_named() -> None:
    check_finite(torch.zeros(2), "it", "a.png")
    for value in (torch.nan, torch.inf):
        with pytest.raises(NotANumber, match=r"a\.png: it answers with logits that are not finite"):
            check_finite(torch.tensor([0.0, value]), "it", "a.png")


def test_none_is_too_few() -> None:
    check_some([1], [(0, "broken")])
    with pytest.raises(BadImage, match=r"none of 2 images can be used: a\.png: broken"):
        check_some([], [(0, "a.png: broken"), (1, "b.png: broken")])
