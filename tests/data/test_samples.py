"""Batches are the same whoever makes them: in whatever process, after whatever else, of pixels kept or read again."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from bagnet.data.augment import Augmentation, Mixing, Views
from bagnet.data.decode import BadImage
from bagnet.data.labels import LabelledImages
from bagnet.data.names import ClassNames
from bagnet.data.order import Order
from bagnet.data.pixels import Pixels
from bagnet.data.samples import Batch, Samples
from bagnet.data.sources import Images

from .arrays import Broken, files, flat, labelled, noise

CUT = Augmentation(4, mirror=0)


def make(
    images: Images,
    *,
    views: Any = lambda epoch: CUT,
    mixing: Mixing = Mixing(),  # noqa: B008
    channels: int = 3,
    seed: int = 0,
    teacher: Tensor | None = None,
    keep: int = 1 << 20,
) -> Samples:
    pixels = Pixels(images, channels, keep=keep)
    return Samples(labelled(images), pixels, views, mixing, seed, teacher)


def assert_same(batch: Batch, expected: Batch) -> None:
    for first, second in zip(batch[:3], expected[:3], strict=True):
        assert isinstance(first, Tensor)
        assert isinstance(second, Tensor)
        assert first.dtype == second.dtype
        assert torch.equal(first, second)
    assert [tuple(pair) for pair in batch.unreadable] == [tuple(pair) for pair in expected.unreadable]


def test_a_batch_has_the_images_that_were_asked_for() -> None:
    batch = make(flat(5), channels=1)[[(0, 3), (0, 1)]]
    assert torch.equal(batch.images, torch.tensor([30, 10])[:, None, None, None].expand(2, 1, 4, 4))
    assert batch.images.dtype == torch.uint8
    assert batch.targets.tolist() == [[0, 0, 0, 1, 0], [0, 1, 0, 0, 0]]
    assert batch.teacher.shape == (2, 0)
    assert batch.unreadable == []


def test_crops_are_mixed_at_once_as_by_themselves() -> None:
    """Also beside an image that cannot be read, which sends its batch the slower way."""
    teacher = torch.rand(6, 2, generator=torch.Generator().manual_seed(0))
    images, keys = noise(6, (9, 12)), [(1, row) for row in (4, 0, 5, 2)]
    whole = make(images, views=lambda epoch: Augmentation(5), mixing=Mixing(0.4, 1), teacher=teacher)
    batch = whole[keys]
    assert batch.images.dtype == torch.float32
    apart = make(images, views=lambda epoch: Augmentation(5), mixing=Mixing(0.4, 1), teacher=teacher, keep=0)
    assert_same(batch, apart[keys])
    for number, key in enumerate(keys):
        assert torch.equal(whole[[key]].images[0], batch.images[number])
    broken = make(Broken(images, [1]), views=lambda epoch: Augmentation(5), mixing=Mixing(0.4, 1))
    read = broken[[(epoch, 0) for epoch in range(40)]]
    assert {row for row, _ in read.unreadable} == {1}  # as a partner
    assert read.images.shape == (40, 3, 5, 5)


def test_a_sample_is_a_function_of_seed_epoch_and_row() -> None:
    images, views = noise(6, (9, 12)), Views(Augmentation(5, policy="trivial"), Augmentation(7, 0.3), 2)
    whole = make(images, views=views, mixing=Mixing(0.4, 1), seed=3)
    apart = make(images, views=views, mixing=Mixing(0.4, 1), seed=3, keep=0)
    assert apart.pixels.kept is None
    batch = whole[[(1, row) for row in range(6)]]
    assert batch.images.shape == (6, 3, 5, 5)
    torch.manual_seed(99)
    again = pickle.loads(pickle.dumps(apart))  # as in another process
    for row in reversed(range(6)):
        single = again[[(1, row)]]
        assert torch.equal(single.images[0], batch.images[row])
        assert torch.equal(single.targets[0], batch.targets[row])
    assert whole[[(2, 0)]].images.shape == (1, 3, 7, 7)  # the final view
    assert not torch.equal(whole[[(0, 0)]].images, whole[[(1, 0)]].images)
    reseeded = make(images, views=views, mixing=Mixing(0.4, 1), seed=4)
    assert not torch.equal(reseeded[[(1, 0)]].images[0], batch.images[0])
    kept = whole.pixels.kept
    assert kept is not None
    assert np.array_equal(kept.permute(0, 2, 3, 1).numpy(), images.values)  # as it was


def test_crops_of_kept_pixels_are_those_of_each_image_by_itself() -> None:
    images = noise(6, (9, 12))
    at_once, one_by_one = (make(images, views=lambda _: Augmentation(5), seed=1, keep=keep) for keep in (1 << 20, 0))
    keys = [(epoch, row) for epoch in (0, 3) for row in (4, 0, 2)]
    batches = [made[keys[first : first + 3]] for made in (at_once, one_by_one) for first in (0, 3)]
    for first, second in zip(batches[:2], batches[2:], strict=True):
        assert_same(first, second)
    assert not torch.equal(batches[0].images, batches[1].images)


@pytest.mark.parametrize("mixing", [Mixing(1), Mixing(cutmix=1), Mixing(1, 1)], ids=["mixup", "cutmix", "both"])
def test_targets_and_teacher_are_mixed_as_the_pixels_are(mixing: Mixing) -> None:
    teacher = torch.rand(6, 6).softmax(1).half()
    batch = make(flat(6), channels=1, mixing=mixing, teacher=teacher)[[(epoch, row) for epoch in range(5) for row in range(6)]]
    assert torch.allclose(batch.targets.sum(1), torch.ones(30))
    brightness = batch.targets @ torch.arange(0, 60, 10).float()
    assert torch.allclose(batch.images.mean((1, 2, 3)), brightness, rtol=0, atol=1e-3)
    assert torch.allclose(batch.teacher, batch.targets @ teacher.float(), rtol=0, atol=1e-6)
    assert batch.teacher.dtype == torch.float32
    assert int((batch.targets > 0).sum(1).max()) == 2


def test_the_partner_is_seen_in_a_view_of_its_own() -> None:
    images = noise(1, (40, 40), channels=1)  # whose partner is itself
    crops = []

    class Spy:
        def __bool__(self) -> bool:
            return True

        def partner(self, key: object, rows: int) -> int:
            return 0

        def mix(self, image: Tensor, partner: Tensor, key: object) -> tuple[Tensor, float]:
            crops.append(torch.equal(image, partner))
            return image.float(), 1.0

    for epoch in range(5):
        make(images, channels=1, mixing=Spy())[[(epoch, 0)]]  # type: ignore[arg-type]
    assert not any(crops)


def test_several_labels_are_mixed_too() -> None:
    images = flat(4)
    targets = torch.tensor([[True, True], [False, True], [False, False], [True, False]])
    several = LabelledImages(images, targets, ClassNames.numbered(2))
    made = Samples(several, Pixels(images, 1), lambda epoch: CUT, Mixing(), 0)
    assert made[[(0, 2), (0, 0)]].targets.tolist() == [[0, 0], [1, 1]]
    made = Samples(several, Pixels(images, 1), lambda epoch: CUT, Mixing(1), 0)
    for row in range(4):
        mixing, key = Mixing(1), (0, 0, row)
        share = mixing.mix(torch.zeros(1, 4, 4), torch.zeros(1, 4, 4), key)[1]
        expected = share * targets[row].float() + (1 - share) * targets[mixing.partner(key, 4)].float()
        assert torch.allclose(made[[(0, row)]].targets[0], expected)


@pytest.mark.parametrize("keep", [0, 1 << 20])
def test_the_next_image_stands_in_for_one_that_cannot_be_read(keep: int) -> None:
    teacher = torch.eye(5).half()
    made = make(Broken(flat(5), (1, 2, 4)), channels=1, teacher=teacher, keep=keep)
    batch = made[[(0, 1), (0, 0), (0, 4)]]
    assert batch.targets.argmax(1).tolist() == [3, 0, 0]
    assert batch.images[:, 0, 0, 0].tolist() == [30, 0, 0]
    assert torch.equal(batch.teacher, batch.targets)
    assert batch.unreadable == [(1, "flat:1: broken"), (2, "flat:2: broken"), (4, "flat:4: broken")]


def test_a_partner_that_cannot_be_read_is_replaced_too() -> None:
    made = make(Broken(flat(5), (0, 1, 3, 4)), channels=1, mixing=Mixing(cutmix=1))
    batch = made[[(0, row) for row in range(5)]]
    assert torch.allclose(batch.images, torch.full((5, 1, 4, 4), 20.0))
    assert torch.allclose(batch.targets, torch.eye(5)[2].expand(5, 5))
    assert {row for row, _ in batch.unreadable} >= {0, 1, 3, 4}


def test_where_no_image_can_be_read_there_are_no_samples() -> None:
    with pytest.raises(BadImage, match="none of the 3 images can be read: flat:0: broken"):
        make(Broken(flat(3), (0, 1, 2)), channels=1)


def test_images_that_vanish_while_training(tmp_path: Path) -> None:
    images = files(tmp_path, [(5, 4)] * 2)
    made = make(images, keep=0)
    for path in images.paths:
        path.unlink()
    with pytest.raises(BadImage, match="none of the 2 images can be read"):
        made[[(0, 0)]]


def test_a_policy_that_does_not_fit_is_no_broken_image() -> None:
    made = make(
        flat(2, channels=5),
        channels=5,
        views=lambda epoch: Augmentation(4, policy="rand"),
    )
    with pytest.raises(ValueError, match="rand changes colours of pictures, not of 5 channels"):
        made[[(0, 0)]]


def test_a_loader_gives_the_batches_of_the_order() -> None:
    images, order = noise(10, (9, 12)), Order(10, 4, seed=2, parts=2)
    made = make(images, mixing=Mixing(1, 1), seed=2)
    loader: DataLoader[Batch] = DataLoader(made, batch_size=None, sampler=order)
    for epoch in (0, 1):
        order.set_epoch(epoch)
        batches = list(loader)
        assert len(batches) == len(order) == 4
        for batch, keys in zip(batches, order, strict=True):
            assert isinstance(batch, Batch)
            assert_same(batch, made[keys])


@pytest.mark.slow
def test_samples_are_the_same_whatever_the_number_of_workers() -> None:
    views = Views(Augmentation(5, policy="trivial"), Augmentation(7, 0.3), 1)
    images = noise(10, (9, 12))
    order = Order(10, 4, seed=2)
    teacher = torch.rand(10, 10).softmax(1).half()
    orders: list[list[Batch]] = []
    for workers in (0, 1, 2):
        made = make(images, views=views, mixing=Mixing(0.4, 1), seed=2, teacher=teacher)
        context = "spawn" if workers else None
        loader: DataLoader[Batch] = DataLoader(
            made,
            batch_size=None,
            sampler=order,
            num_workers=workers,
            multiprocessing_context=context,
            persistent_workers=workers > 0,
        )
        batches = []
        for epoch in (0, 1):
            order.set_epoch(epoch)
            batches += list(loader)
        orders.append(batches)
    for batches in orders[1:]:
        for expected, batch in zip(orders[0], batches, strict=True):
            assert_same(expected, batch)
