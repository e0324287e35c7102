"""Views and mixtures are functions of their key alone, and their shares are those of the pixels."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from bagnet.data.augment import POLICIES, Augmentation, Mixing, Views, WindowSampling
from bagnet.data.decode import BadImage

KEYS = [(0, epoch, row) for epoch in range(10) for row in range(20)]


def noise(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def disturb(seed: int) -> None:
    """Set the random state of everything that has one."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def states() -> tuple[object, ...]:
    name, *numpys = np.random.get_state()
    return random.getstate(), name, *(np.asarray(part).tolist() for part in numpys), torch.get_rng_state().tolist()


def test_a_cut_is_a_block_of_the_image_and_each_place_is_cut() -> None:
    image = torch.arange(9, dtype=torch.uint8).reshape(1, 3, 3)
    blocks = {str(image[0, top : top + 2, left : left + 2].tolist()) for top in (0, 1) for left in (0, 1)}
    assert {str(Augmentation(2, mirror=0)(image, key)[0].tolist()) for key in KEYS} == blocks
    mirrored = {str(image[0, top : top + 2, left : left + 2].flip(1).tolist()) for top in (0, 1) for left in (0, 1)}
    assert {str(Augmentation(2, mirror=1)(image, key)[0].tolist()) for key in KEYS} == mirrored


def test_half_of_the_images_are_mirrored() -> None:
    image = torch.tensor([[[1, 2]]], dtype=torch.uint8).expand(3, 2, 2)
    views = [Augmentation(2)(image, key) for key in KEYS]
    turned = [bool(view[0, 0, 0] == 2) for view in views]
    assert 70 < sum(turned) < 130  # 200 tosses: four standard deviations
    assert all(torch.equal(view, image.flip(2) if flip else image) for view, flip in zip(views, turned, strict=True))


@pytest.mark.parametrize("size", [(1, 2), (2, 7), (4, 3)], ids=str)
def test_smaller_images_are_padded_with_black(size: tuple[int, int]) -> None:
    white = torch.full((3, *size), 255, dtype=torch.uint8)
    for key in KEYS[:20]:
        view = Augmentation(4)(white, key)
        assert view.shape == (3, 4, 4)
        assert int((view == 255).sum()) == 3 * min(size[0], 4) * min(size[1], 4)
        assert int((view == 0).sum()) == view.numel() - int((view == 255).sum())


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("size", [(1, 1), (9, 30), (40, 20)], ids=str)
def test_a_resized_cut_has_the_size_asked_for(channels: int, size: tuple[int, int]) -> None:
    plain = torch.arange(channels, dtype=torch.uint8)[:, None, None].expand(channels, *size) * 20
    view = Augmentation(16, scale=0.3)(plain, (1, 2, 3))
    assert view.dtype == torch.uint8
    assert torch.equal(view, plain[:, :1, :1].expand(channels, 16, 16))


def test_a_resized_cut_shows_a_part_of_the_image() -> None:
    ramp = torch.arange(0, 240, 5, dtype=torch.uint8).expand(1, 48, 48)  # as bright as a pixel is far right
    seen = [int(view.max()) - int(view.min()) for view in (Augmentation(48, 0.25, mirror=0)(ramp, key) for key in KEYS)]
    assert min(seen) >= 235 * 0.4  # a quarter of the area, at three to four: 0.43 of the width
    assert min(seen) < 235 * 0.6
    assert max(seen) > 235 * 0.9


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("scale", [0, 0.3])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_view_is_a_function_of_its_key_alone(policy: str, scale: float, channels: int) -> None:
    image, augment = noise(channels, 20, 24), Augmentation(16, scale, policy=policy)
    before = image.clone()
    disturb(1)
    views = [augment(image, key) for key in KEYS[:40]]
    disturb(2)
    state = states()
    again = [augment(image, key) for key in reversed(KEYS[:40])]
    assert all(torch.equal(view, repeated) for view, repeated in zip(views, reversed(again), strict=True))
    assert states() == state
    assert torch.equal(image, before)
    assert {(view.shape, view.dtype) for view in views} == {((channels, 16, 16), torch.uint8)}
    assert len({view.numpy().tobytes() for view in views}) > 20  # of the 90 plain cuts about 32 come up in 40 draws


def test_each_part_of_the_key_counts() -> None:
    image = noise(3, 64, 64)
    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0, 3)]
    assert len({Augmentation(32)(image, key).numpy().tobytes() for key in keys}) == len(keys)


def test_the_generators_of_a_gpu_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    Augmentation(4, policy="trivial")(noise(3, 8, 8), (0, 0, 0))
    assert not seeded


@pytest.mark.parametrize("policy", ["trivial", "rand"])
def test_policies_change_pictures_and_nothing_else(policy: str) -> None:
    image = noise(3, 8, 8)
    changed = [key for key in KEYS[:40] if not torch.equal(Augmentation(8, mirror=0, policy=policy)(image, key), image)]
    assert len(changed) > 20
    for channels in (2, 5):
        state = states()
        with pytest.raises(
            ValueError, match=f"{policy} changes colours of pictures, not of {channels} channels: take augment none"
        ):
            Augmentation(8, policy=policy)(noise(channels, 8, 8), (0, 0, 0))
        assert states() == state


def test_channels_are_cut_and_mirrored_alike() -> None:
    plane = noise(1, 12, 12)
    for key in KEYS[:10]:
        view = Augmentation(7)(plane.expand(5, 12, 12), key)
        assert torch.equal(view, view[:1].expand(5, 7, 7))


def test_the_last_epochs_have_another_augmentation() -> None:
    early, final = Augmentation(4), Augmentation(8)
    assert [Views(early, final, 2)(epoch) for epoch in range(4)] == [early, early, final, final]
    assert Views(early, final, 0)(0) == final


@pytest.mark.parametrize(("mixing", "does"), [(Mixing(), False), (Mixing(0.2), True), (Mixing(cutmix=1), True)])
def test_mixing_is_true_where_it_does_anything(mixing: Mixing, does: bool) -> None:
    assert bool(mixing) is does


def test_the_partner_is_any_row() -> None:
    partners = [Mixing(1).partner(key, 5) for key in KEYS]
    assert set(partners) == set(range(5))
    disturb(4)
    assert [Mixing(1).partner(key, 5) for key in KEYS] == partners
    assert Mixing(1).partner(KEYS[0], 1) == 0


@pytest.mark.parametrize("alpha", [0.1, 1.0, 50.0])
def test_mixup_blends_every_pixel_by_its_share(alpha: float) -> None:
    image, partner = torch.full((3, 4, 5), 200, dtype=torch.uint8), torch.full((3, 4, 5), 40, dtype=torch.uint8)
    shares = []
    for key in KEYS:
        mixed, share = Mixing(mixup=alpha).mix(image, partner, key)
        assert 0 <= share <= 1
        assert mixed.dtype == torch.float32
        assert torch.allclose(mixed, torch.full((3, 4, 5), 40 + 160 * share), rtol=0, atol=1e-4)
        shares.append(share)
    assert np.mean(shares) == pytest.approx(0.5, abs=0.15)
    assert np.var(shares) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.4)  # of Beta(alpha, alpha)


@pytest.mark.parametrize("size", [(4, 4), (5, 9), (1, 7), (1, 1)], ids=str)
def test_cutmix_shares_are_counted_in_pixels(size: tuple[int, int]) -> None:
    image, partner = torch.full((2, *size), 9, dtype=torch.uint8), torch.full((2, *size), 4, dtype=torch.uint8)
    boxes = set()
    for key in KEYS:
        mixed, share = Mixing(cutmix=1).mix(image, partner, key)
        pasted = mixed[0] == 4
        assert torch.equal(mixed[0], mixed[1])
        assert bool(((mixed == 4) | (mixed == 9)).all())
        assert share == pytest.approx(1 - int(pasted.sum()) / pasted.numel(), abs=1e-12)
        rows, columns = (torch.nonzero(pasted.any(axis)).flatten().tolist() for axis in (1, 0))
        assert len(rows) * len(columns) == int(pasted.sum())  # a box, without holes
        assert rows == list(range(rows[0], rows[-1] + 1)) if rows else not columns
        boxes.add((*rows, -1, *columns))
    assert len(boxes) > 10 or size[0] == 1
    assert int(image.sum()) == 2 * 9 * size[0] * size[1]


def test_cutmix_pastes_pixels_where_they_were() -> None:
    image, partner = noise(3, 6, 8).float(), noise(3, 6, 8).float() + 1000
    before = image.clone(), partner.clone()
    for key in KEYS[:20]:
        mixed, _ = Mixing(cutmix=1).mix(image, partner, key)
        assert torch.equal(mixed, torch.where(mixed >= 1000, partner, image))
    assert torch.equal(image, before[0])
    assert torch.equal(partner, before[1])


def test_of_both_each_has_half_of_the_images() -> None:
    image, partner = torch.full((1, 8, 8), 200, dtype=torch.uint8), torch.zeros(1, 8, 8, dtype=torch.uint8)
    mixed = [Mixing(1, 1).mix(image, partner, key)[0] for key in KEYS]
    blended = [bool(((x > 0) & (x < 200)).any()) for x in mixed]
    assert 70 < sum(blended) < 130


@pytest.mark.parametrize("mixing", [Mixing(0.4), Mixing(cutmix=1), Mixing(0.4, 1)], ids=["mixup", "cutmix", "both"])
def test_a_mixture_is_a_function_of_its_key_alone(mixing: Mixing) -> None:
    image, partner = noise(3, 8, 8), noise(3, 8, 8).flip(2)
    disturb(1)
    mixtures = [mixing.mix(image, partner, key) for key in KEYS[:30]]
    disturb(2)
    state = states()
    again = [mixing.mix(image, partner, key) for key in KEYS[:30]]
    assert all(torch.equal(a, b) and x == y for (a, x), (b, y) in zip(mixtures, again, strict=True))
    assert states() == state
    assert len({mixed.numpy().tobytes() for mixed, _ in mixtures}) > 10


def test_windows_are_blocks_of_the_image_and_each_place_is_as_likely() -> None:
    image = torch.arange(20, dtype=torch.uint8).reshape(1, 4, 5)
    blocks = [str(image[0, top : top + 3, left : left + 3].tolist()) for top in (0, 1) for left in (0, 1, 2)]
    sampling = WindowSampling(3, 4, mirror=0)
    drawn = [str(window[0].tolist()) for key in KEYS for window in sampling(image, key)]
    assert len(drawn) == 4 * len(KEYS)
    assert [drawn.count(block) for block in blocks] == pytest.approx([800 / 6] * 6, abs=4 * (800 * 5 / 36) ** 0.5)
    mirrored = {str(window[0].tolist()) for key in KEYS for window in WindowSampling(3, 4, mirror=1)(image, key)}
    assert mirrored == {str(image[0, top : top + 3, left : left + 3].flip(1).tolist()) for top in (0, 1) for left in (0, 1, 2)}


def test_windows_of_other_scales_come_from_boxes_of_such_areas() -> None:
    """Of an image that rises by one a pixel, what a window spans is how wide its box was."""
    ramp = torch.arange(200, dtype=torch.uint8).expand(1, 200, 200)
    sampling = WindowSampling(20, 2, scale=0.25, mirror=0)
    rows = [window[0].float().mean(0) for key in KEYS for window in sampling(ramp, key)]
    spans = [float(row[-1] - row[0]) / 19 for row in rows]
    assert min(spans) > 0.5 / 1.16 - 0.06
    assert max(spans) < 2 * 1.16 + 0.06
    assert min(spans) < 0.6
    assert max(spans) > 1.8
    assert sampling(ramp, KEYS[0]).shape == (2, 1, 20, 20)


@pytest.mark.parametrize("policy", POLICIES)
def test_windows_are_a_function_of_their_key(policy: str) -> None:
    image, sampling = noise(3, 40, 50), WindowSampling(16, 3, 0.5, policy=policy)
    disturb(1)
    first, before = sampling(image, (0, 1, 2)), states()
    disturb(2)
    assert torch.equal(sampling(image, (0, 1, 2)), first)
    assert not torch.equal(sampling(image, (0, 1, 3)), first)
    disturb(1)
    sampling(image, (0, 1, 4))
    assert states() == before


def test_an_image_smaller_than_a_window() -> None:
    with pytest.raises(BadImage, match=r"an image of 10 x 30 pixels .* is smaller than a window of 16"):
        WindowSampling(16, 3)(noise(3, 10, 30), (0, 0, 0))
