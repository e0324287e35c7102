"""Batches are the same whoever makes them: in whatever process, after whatever else, of pixels kept or read again."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms.v2.functional import resize

from bagnet.data import samples
from bagnet.data.arrays import ArrayImages
from bagnet.data.augment import Augmentation, Mixing, Views
from bagnet.data.decode import BadImage, Photo
from bagnet.data.labels import LabelledImages
from bagnet.data.names import ClassNames
from bagnet.data.samples import Batch, Key, Order, Pixels, Prepared, Samples
from bagnet.data.sources import ImageFiles, Images
from bagnet.data.transforms import Preprocessing

PLAIN = Preprocessing(None, 4, mean=(0,), std=(1 / 255,))  # the pixels as they are
CUT = Augmentation(4, mirror=0)


def flat(rows: int, size: tuple[int, int] = (4, 4), channels: int = 1) -> ArrayImages:
    """Images of one colour each: 10 times the row."""
    values = np.arange(0, 10 * rows, 10, dtype=np.uint8)[:, None, None, None]
    return ArrayImages(np.broadcast_to(values, (rows, *size, channels)).copy(), "flat")


def noise(rows: int, size: tuple[int, int], channels: int = 3) -> ArrayImages:
    return ArrayImages(np.random.default_rng(0).integers(0, 256, (rows, *size, channels), np.uint8), "noise")


@dataclass(frozen=True)
class Broken(Images):
    """Images of which some cannot be read."""

    images: Images
    bad: Sequence[int]

    @property
    def names(self) -> Sequence[str]:
        return self.images.names

    def photo(self, row: int) -> Photo:
        return self.images.photo(row)

    def pixels(self, row: int, channels: int) -> Any:
        if row in self.bad:
            raise BadImage(f"{self.names[row]}: broken")
        return self.images.pixels(row, channels)


def labelled(images: Images) -> LabelledImages:
    """A class for each image."""
    count = len(images.names)
    return LabelledImages(images, torch.arange(count), ClassNames.numbered(count))


def files(folder: Path, sizes: Sequence[tuple[int, int]]) -> ImageFiles:
    """PNG files of noise, by (width, height)."""
    random = np.random.default_rng(1)
    for row, (width, height) in enumerate(sizes):
        Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)).save(folder / f"{row}.png")
    return ImageFiles(tuple(folder / f"{row}.png" for row in range(len(sizes))), folder)


def rows_of(order: Order) -> list[int]:
    return [row for part in order for _, row in part]


def test_every_row_comes_once_an_epoch_in_an_order_of_its_own() -> None:
    order = Order(12, 4, seed=5)
    epochs = []
    for epoch in range(3):
        order.set_epoch(epoch)
        parts = list(order)
        assert [len(part) for part in parts] == [4, 4, 4]
        assert {found for part in parts for found, _ in part} == {epoch}
        epochs.append(rows_of(order))
        assert sorted(epochs[-1]) == list(range(12))
    assert (len(order), order.steps) == (3, 3)
    assert epochs[0] != epochs[1] != epochs[2]
    assert rows_of(Order(12, 4, seed=5)) == epochs[0]
    assert rows_of(Order(12, 6, seed=5)) == epochs[0]
    assert rows_of(Order(12, 4, seed=6)) != epochs[0]


def test_rows_that_fill_no_batch_sit_an_epoch_out() -> None:
    order = Order(11, 4, seed=0)
    out = []
    for epoch in range(30):
        order.set_epoch(epoch)
        rows = rows_of(order)
        assert len(set(rows)) == len(rows) == 8
        out.append(set(range(11)) - set(rows))
    assert set.union(*out) == set(range(11))  # not always the same
    assert (len(order), order.steps) == (2, 2)


@pytest.mark.parametrize(("rows", "size"), [(3, 3), (1, 1)])
def test_fewer_rows_than_a_batch_are_one_batch(rows: int, size: int) -> None:
    order = Order(rows, 64, seed=0)
    assert (order.batch_size, len(order)) == (size, 1)
    assert sorted(rows_of(order)) == list(range(rows))
    assert Order(7, 64, seed=0, ranks=2, parts=2).batch_size == 4


@pytest.mark.parametrize(("ranks", "parts"), [(1, 2), (2, 1), (2, 2), (4, 2)])
def test_ranks_and_parts_deal_the_same_batches_out(ranks: int, parts: int) -> None:
    whole = list(Order(37, 16, seed=3))
    dealt = [list(Order(37, 16, seed=3, rank=rank, ranks=ranks, parts=parts)) for rank in range(ranks)]
    assert [len(mine) for mine in dealt] == [2 * parts] * ranks
    assert {len(part) for mine in dealt for part in mine} == {16 // ranks // parts}
    for step, batch in enumerate(whole):
        keys = [key for mine in dealt for part in mine[step * parts : (step + 1) * parts] for key in part]
        assert sorted(keys) == sorted(batch)
    order = Order(37, 16, seed=3, ranks=ranks, parts=parts)
    assert (len(order), order.steps) == (2 * parts, 2)


def test_going_on_leaves_out_what_was_done_of_that_epoch_alone() -> None:
    order = Order(24, 8, seed=1, parts=2)
    epochs: list[list[list[Key]]] = []
    for epoch in range(3):
        order.set_epoch(epoch)
        epochs.append(list(order))
    order.go_on(1, 5)
    for epoch, first in ((0, 0), (1, 5), (2, 0)):
        order.set_epoch(epoch)
        assert list(order) == epochs[epoch][first:]
    assert len(order) == 6
    order.go_on(2, 6)
    assert list(order) == []


def test_weights_say_how_often_a_row_is_drawn() -> None:
    order = Order(400, 40, seed=0, weights=torch.tensor([0.0, 1.0, 3.0, 0.0] * 100))
    rows = rows_of(order)
    assert len(rows) == 400
    assert {row % 4 for row in rows} == {1, 2}
    assert sum(row % 4 == 2 for row in rows) == pytest.approx(300, abs=35)  # four standard deviations
    assert rows == rows_of(order)
    shares = [Order(400, 40, seed=0, rank=rank, ranks=2, weights=torch.tensor([0.0, 1.0, 3.0, 0.0] * 100)) for rank in (0, 1)]
    assert sorted(row for share in shares for row in rows_of(share)) == sorted(rows)
    order.set_epoch(1)
    assert rows_of(order) != rows


@pytest.mark.parametrize(
    ("rows", "batch_size", "dealt"),
    [(0, 4, {}), (10, 0, {}), (10, 5, {"ranks": 2}), (10, 6, {"ranks": 2, "parts": 2}), (3, 8, {"ranks": 2, "parts": 2})],
)
def test_what_cannot_be_dealt_out_is_refused(rows: int, batch_size: int, dealt: dict[str, int]) -> None:
    message = f"{rows} images in steps of {batch_size} cannot be dealt out evenly among {dealt.get('ranks', 1)} processes"
    with pytest.raises(ValueError, match=message):
        Order(rows, batch_size, 0, **dealt)  # type: ignore[arg-type]


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_those_of_the_pictures(tmp_path: Path, channels: int) -> None:
    images = files(tmp_path, [(5, 4)] * 3)
    kept, read = Pixels(images, channels), Pixels(images, channels, keep=0)
    assert kept.kept is not None
    assert kept.kept.shape == (3, channels, 4, 5)
    assert read.kept is None
    assert len(kept) == len(read) == 3
    for row in range(3):
        expected = torch.from_numpy(images.pixels(row, channels)).permute(2, 0, 1)
        assert torch.equal(kept[row], expected)
        assert torch.equal(read[row], expected)
    (tmp_path / "1.png").unlink()
    assert kept[1].shape == (channels, 4, 5)
    with pytest.raises(BadImage, match=r"1\.png: there is no such file"):
        read[1]


def test_pixels_are_kept_where_they_fit() -> None:
    images = flat(3, (2, 5), channels=5)  # 150 bytes
    kept = Pixels(images, 5, keep=150)
    assert kept.kept is not None
    assert kept[2].tolist() == [[[20] * 5] * 2] * 5
    assert Pixels(images, 5, keep=149).kept is None


def test_pixels_of_several_sizes_are_read_each_time(tmp_path: Path) -> None:
    sizes = [(5, 4), (6, 4), (3, 8)]
    pixels = Pixels(files(tmp_path, sizes), 3)
    assert pixels.kept is None
    assert [tuple(pixels[row].shape) for row in range(3)] == [(3, height, width) for width, height in sizes]


def test_the_shorter_side_is_resized(tmp_path: Path) -> None:
    images = files(tmp_path, [(12, 8), (8, 12), (6, 6), (3, 5)])
    plain, pixels = Pixels(images, 3), Pixels(images, 3, shorter=6)
    assert [tuple(pixels[row].shape) for row in range(4)] == [(3, 6, 9), (3, 9, 6), (3, 6, 6), (3, 10, 6)]
    assert torch.equal(pixels[2], plain[2])
    assert torch.equal(pixels[0], resize(plain[0], [6], antialias=True))
    alike = Pixels(flat(3, (8, 12), channels=5), 5, shorter=4)
    assert alike.kept is not None
    assert torch.equal(alike.kept, torch.tensor([0, 10, 20], dtype=torch.uint8)[:, None, None, None].expand(3, 5, 4, 6))


def test_an_image_too_long_to_be_resized_is_refused_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "LARGEST", 128)
    assert Pixels(flat(1, (2, 4)), 1, shorter=8)[0].shape == (1, 8, 16)
    pixels = Pixels(flat(1, (2, 5)), 1, shorter=8)
    with pytest.raises(BadImage, match="flat:0: 5 x 2 pixels would be more than 128 with a shorter side of 8"):
        pixels[0]
    assert Pixels(flat(1, (2, 500)), 1)[0].shape == (1, 2, 500)


@pytest.mark.parametrize("keep", [0, 1 << 20])
def test_unreadable_images_are_listed(tmp_path: Path, keep: int) -> None:
    images = files(tmp_path, [(5, 4)] * 4)
    (tmp_path / "0.png").write_bytes(b"no image")
    (tmp_path / "2.png").unlink()
    pixels = Pixels(images, 3, keep=keep)
    for row, reason in ((0, r"0\.png: not an image of a known kind"), (2, r"2\.png: there is no such file")):
        with pytest.raises(BadImage, match=reason):
            pixels[row]
    assert torch.equal(pixels[3], torch.from_numpy(images.pixels(3, 3)).permute(2, 0, 1))
    if keep:  # else reading ended with the first that shows how large they are
        assert list(pixels.unreadable) == [0, 2]
        assert str(tmp_path / "2.png") in pixels.unreadable[2]


def test_a_picture_has_not_five_channels(tmp_path: Path) -> None:
    pixels = Pixels(files(tmp_path, [(5, 4)] * 2), 5)
    assert len(pixels.unreadable) == 2
    assert "a picture has no 5 channels" in pixels.unreadable[0]


def make(
    images: Images,
    *,
    preprocessing: Preprocessing = PLAIN,
    views: Any = lambda epoch: CUT,
    mixing: Mixing = Mixing(),  # noqa: B008
    seed: int = 0,
    teacher: Tensor | None = None,
    keep: int = 1 << 20,
) -> Samples:
    pixels = Pixels(images, len(preprocessing.mean), keep=keep)
    return Samples(labelled(images), pixels, preprocessing, views, mixing, seed, teacher)


def assert_same(one: Batch, other: Batch) -> None:
    for first, second in zip(one[:3], other[:3], strict=True):
        assert isinstance(first, Tensor)
        assert isinstance(second, Tensor)
        assert first.dtype == second.dtype
        assert torch.equal(first, second)
    assert [tuple(pair) for pair in one.unreadable] == [tuple(pair) for pair in other.unreadable]


def test_a_batch_has_the_images_that_were_asked_for() -> None:
    batch = make(flat(5))[[(0, 3), (0, 1)]]
    assert torch.allclose(batch.images, torch.tensor([30.0, 10.0])[:, None, None, None].expand(2, 1, 4, 4))
    assert batch.images.dtype == torch.float32
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.targets.tolist() == [[0, 0, 0, 1, 0], [0, 1, 0, 0, 0]]
    assert batch.teacher.shape == (2, 0)
    assert batch.unreadable == []


def test_images_are_normalised_as_the_preprocessing_says() -> None:
    step = Preprocessing(None, 4, mean=(0.5, 0, 0.25), std=(0.5, 1, 2))
    batch = make(flat(2, channels=3), preprocessing=step)[[(0, 1)]]
    expected = torch.tensor([(10 / 255 - 0.5) / 0.5, 10 / 255, (10 / 255 - 0.25) / 2])
    assert torch.allclose(batch.images[0, :, 2, 3], expected)


def test_a_sample_is_a_function_of_seed_epoch_and_row() -> None:
    images, views = noise(6, (9, 12)), Views(Augmentation(5, policy="trivial"), Augmentation(7, 0.3), 2)
    step = Preprocessing(None, 7)
    whole = make(images, preprocessing=step, views=views, mixing=Mixing(0.4, 1), seed=3)
    apart = make(images, preprocessing=step, views=views, mixing=Mixing(0.4, 1), seed=3, keep=0)
    assert apart.pixels.kept is None
    batch = whole[[(1, row) for row in range(6)]]
    assert batch.images.shape == (6, 3, 5, 5)
    torch.manual_seed(99)
    again = pickle.loads(pickle.dumps(apart))  # as in another process
    for row in reversed(range(6)):
        one = again[[(1, row)]]
        assert torch.equal(one.images[0], batch.images[row])
        assert torch.equal(one.targets[0], batch.targets[row])
    assert whole[[(2, 0)]].images.shape == (1, 3, 7, 7)  # the final view
    assert not torch.equal(whole[[(0, 0)]].images, whole[[(1, 0)]].images)
    other = make(images, preprocessing=step, views=views, mixing=Mixing(0.4, 1), seed=4)
    assert not torch.equal(other[[(1, 0)]].images[0], batch.images[0])
    kept = whole.pixels.kept
    assert kept is not None
    assert np.array_equal(kept.permute(0, 2, 3, 1).numpy(), images.values)  # as it was


@pytest.mark.parametrize("mixing", [Mixing(1), Mixing(cutmix=1), Mixing(1, 1)], ids=["mixup", "cutmix", "both"])
def test_targets_and_teacher_are_mixed_as_the_pixels_are(mixing: Mixing) -> None:
    teacher = torch.rand(6, 6).softmax(1).half()
    batch = make(flat(6), mixing=mixing, teacher=teacher)[[(epoch, row) for epoch in range(5) for row in range(6)]]
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

        def mix(self, image: Tensor, other: Tensor, key: object) -> tuple[Tensor, float]:
            crops.append(torch.equal(image, other))
            return image.float(), 1.0

    for epoch in range(5):
        make(images, mixing=Spy())[[(epoch, 0)]]  # type: ignore[arg-type]
    assert not any(crops)


def test_several_labels_are_mixed_too() -> None:
    images = flat(4)
    targets = torch.tensor([[True, True], [False, True], [False, False], [True, False]])
    several = LabelledImages(images, targets, ClassNames.numbered(2))
    made = Samples(several, Pixels(images, 1), PLAIN, lambda epoch: CUT, Mixing(), 0)
    assert made[[(0, 2), (0, 0)]].targets.tolist() == [[0, 0], [1, 1]]
    made = Samples(several, Pixels(images, 1), PLAIN, lambda epoch: CUT, Mixing(1), 0)
    for row in range(4):
        mixing, key = Mixing(1), (0, 0, row)
        share = mixing.mix(torch.zeros(1, 4, 4), torch.zeros(1, 4, 4), key)[1]
        expected = share * targets[row].float() + (1 - share) * targets[mixing.partner(key, 4)].float()
        assert torch.allclose(made[[(0, row)]].targets[0], expected)


@pytest.mark.parametrize("keep", [0, 1 << 20])
def test_the_next_image_stands_in_for_one_that_cannot_be_read(keep: int) -> None:
    teacher = torch.eye(5).half()
    made = make(Broken(flat(5), (1, 2, 4)), teacher=teacher, keep=keep)
    batch = made[[(0, 1), (0, 0), (0, 4)]]
    assert batch.targets.argmax(1).tolist() == [3, 0, 0]
    assert batch.images[:, 0, 0, 0].tolist() == pytest.approx([30, 0, 0])
    assert torch.equal(batch.teacher, batch.targets)
    assert batch.unreadable == [(1, "flat:1: broken"), (2, "flat:2: broken"), (4, "flat:4: broken")]


def test_a_partner_that_cannot_be_read_is_replaced_too() -> None:
    made = make(Broken(flat(5), (0, 1, 3, 4)), mixing=Mixing(cutmix=1))
    batch = made[[(0, row) for row in range(5)]]
    assert torch.allclose(batch.images, torch.full((5, 1, 4, 4), 20.0))
    assert torch.allclose(batch.targets, torch.eye(5)[2].expand(5, 5))
    assert {row for row, _ in batch.unreadable} >= {0, 1, 3, 4}


def test_where_no_image_can_be_read_there_are_no_samples() -> None:
    with pytest.raises(BadImage, match="none of the 3 images can be read: flat:0: broken"):
        make(Broken(flat(3), (0, 1, 2)))


def test_images_that_vanish_while_training(tmp_path: Path) -> None:
    images = files(tmp_path, [(5, 4)] * 2)
    made = make(images, preprocessing=Preprocessing(None, 4), keep=0)
    for path in images.paths:
        path.unlink()
    with pytest.raises(BadImage, match="none of the 2 images can be read"):
        made[[(0, 0)]]


def test_a_policy_that_does_not_fit_is_no_broken_image() -> None:
    made = make(
        flat(2, channels=5),
        preprocessing=Preprocessing(None, 4, mean=(0,) * 5, std=(1,) * 5),
        views=lambda epoch: Augmentation(4, policy="rand"),
    )
    with pytest.raises(ValueError, match="rand changes colours of pictures, not of 5 channels"):
        made[[(0, 0)]]


def test_a_loader_gives_the_batches_of_the_order() -> None:
    images, order = noise(10, (9, 12)), Order(10, 4, seed=2, parts=2)
    made = make(images, preprocessing=Preprocessing(None, 4), mixing=Mixing(1, 1), seed=2)
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
    found: list[list[Batch]] = []
    for workers in (0, 1, 2):
        made = make(images, preprocessing=Preprocessing(None, 7), views=views, mixing=Mixing(0.4, 1), seed=2, teacher=teacher)
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
        found.append(batches)
    for batches in found[1:]:
        for one, other in zip(found[0], batches, strict=True):
            assert_same(one, other)


def test_prepared_is_what_the_preprocessing_makes_of_the_pictures(tmp_path: Path) -> None:
    images, step = files(tmp_path, [(12, 8), (8, 12), (6, 6)]), Preprocessing(7, 6)
    prepared = Prepared(images, step)
    assert len(prepared) == 3
    for place in range(3):
        row, x = prepared[place]
        assert row == place
        assert isinstance(x, Tensor)
        assert torch.equal(x, step(images.photo(place).image))
    some = pickle.loads(pickle.dumps(Prepared(images, step, [2, 0])))
    assert [some[place][0] for place in range(len(some))] == [2, 0]
    assert torch.equal(some[1][1], step(images.photo(0).image))


def test_prepared_says_why_it_is_not(tmp_path: Path) -> None:
    images = files(tmp_path, [(5, 4), (5, 4), (1, 60000)])
    (tmp_path / "0.png").write_bytes(b"no image")
    (tmp_path / "1.png").unlink()
    prepared = Prepared(images, Preprocessing())
    reasons = ("not an image of a known kind", "there is no such file", "squarer shape or choose a smaller size")
    for row, reason in enumerate(reasons):
        place, found = prepared[row]
        assert place == row
        assert isinstance(found, str)
        assert reason in found
        assert "\n" not in found
    row, found = Prepared(flat(2, channels=5), Preprocessing())[1]
    assert (row, found) == (1, "flat:1: has 5 channels, where 3 are expected")


def test_groups_that_are_read_together_stay_together() -> None:
    """40 groups of 5 rows: at most 16 of them are open at a time, each row comes once, in another order each epoch."""
    order = Order(200, 10, seed=1, starts=range(0, 200, 5))
    rows = [row for batch in order for _, row in batch]
    assert sorted(rows) == list(range(200))
    assert [len({row // 5 for row in rows[first : first + 80]}) for first in (0, 80)] == [16, 16]
    order.set_epoch(1)
    assert [row for batch in order for _, row in batch] != rows
