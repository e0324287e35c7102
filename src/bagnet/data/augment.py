"""What training does to an image: crops, mirror images, changed colours; images mixed with others.

Everything random is a function of a key, (seed, epoch, row): whoever asks for it, in whichever process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import resize

from .decode import BadImage
from .sources import BadParts, Large

_RATIO = float(np.log(4 / 3))  # of the sides of a random resized crop, at most

POLICIES = ("none", "trivial", "rand")
_CROPS, _GOLDEN = 4, np.uint64(0x9E3779B97F4A7C15)  # what randomness is for, as in `_random`; SplitMix64's step


@dataclass(frozen=True, slots=True)
class Augmentation:
    """A random view of an image.

    Args:
        crop: side of the square cropped at a random position; smaller images are padded with black.
        scale: smallest area of the crop as a share of the image, resized to `crop` afterwards; 0 crops without resizing.
        mirror: share of images that are mirrored.
        policy: "none", "trivial" (TrivialAugment, Mueller & Hutter 2021) or "rand" (RandAugment, Cubuk et al. 2020).
    """

    crop: int
    scale: float = 0.0
    mirror: float = 0.5
    policy: str = "none"

    def __call__(self, pixels: Tensor, key: Sequence[int]) -> Tensor:
        """(C, H, W) uint8 -> (C, crop, crop) uint8.

        Raises:
            ValueError: the policy changes colours, and there are neither one nor three channels.
        """
        _check_channels(self.policy, len(pixels))
        if self.only_crops(pixels.shape[1:]):
            return self.crops(pixels[None], (0,), (key,))[0]
        with _seeded(key):
            view: Tensor = self._transforms()(pixels)
        return view

    def only_crops(self, size: Sequence[int]) -> bool:
        """Whether images of (height, width) are cropped and mirrored, and nothing else, so that `crops` can do many at once."""
        return not self.scale and self.policy == "none" and min(size) >= self.crop

    def crops(self, pixels: Tensor, rows: Sequence[int], keys: Sequence[Sequence[int]]) -> Tensor:
        """What the call gives of each of some rows, all at once: so cheap that one process feeds a GPU.

        Args:
            pixels: (N, C, H, W) uint8, for which `only_crops`.
            rows: B of them.
            keys: of each.

        Returns:
            (B, C, crop, crop) uint8.
        """
        drawn = _uniform(keys, 3)
        places = [(drawn[:, axis] * (side - self.crop + 1)).astype(np.int64) for axis, side in enumerate(pixels.shape[2:])]
        every = np.lib.stride_tricks.sliding_window_view(pixels.numpy(), (self.crop, self.crop), (2, 3))
        views = every[rows, :, places[0], places[1]]
        mirrored = drawn[:, 2] < self.mirror
        views[mirrored] = views[mirrored][..., ::-1]
        return torch.from_numpy(views)

    def _transforms(self) -> v2.Transform:
        transform = _TRANSFORMS.get(self)
        if transform is None:
            crop = (
                v2.RandomResizedCrop(self.crop, (self.scale, 1.0), antialias=True)
                if self.scale
                else v2.RandomCrop(self.crop, pad_if_needed=True)
            )
            transform = _TRANSFORMS[self] = v2.Compose([crop, *_flips_and_colours(self.mirror, self.policy)])
        return transform


@dataclass(frozen=True, slots=True)
class WindowSampling:
    """Some windows of an image at random places, each as likely as any other, instead of a crop.

    Of an image larger than memory they are tiles that it chooses.

    Args:
        window: side of a window.
        count: how many.
        scale: smallest area of what becomes a window, as a share of a window's, and the largest is as many times as large; the
            same for all windows of a view. 0 takes windows as they are.
        mirror: share of images that are mirrored.
        policy: as for `Augmentation`, the same for all windows of a view.
    """

    window: int
    count: int
    scale: float = 0.0
    mirror: float = 0.5
    policy: str = "none"

    def __call__(self, pixels: Tensor | Large, key: Sequence[int], bad: BadParts | None = None) -> Tensor:
        """(C, H, W) uint8 -> (count, C, window, window) uint8; `bad` gets tiles that cannot be read, as others stand in for them.

        Raises:
            BadImage: the image is smaller than a window, or cannot be read.
            ValueError: the policy changes colours, and there are neither one nor three channels.
        """
        random = _random(key, 4)
        box = self._box(random)
        if isinstance(pixels, Tensor):
            windows = self._anywhere(pixels, box, random)
        else:
            windows = torch.from_numpy(pixels.sampled(*box, self.count, random, bad)).permute(0, 3, 1, 2).contiguous()
        if tuple(windows.shape[2:]) != (self.window, self.window):
            windows = resize(windows, [self.window, self.window], antialias=True)
        with _seeded(key):
            view: Tensor = self._transforms()(windows)
        return view

    def _anywhere(self, pixels: Tensor, box: tuple[int, int], random: np.random.Generator) -> Tensor:
        """(count, C, height, width) of an image in memory, at places drawn each by itself."""
        _check_channels(self.policy, len(pixels))
        height, width = pixels.shape[1:]
        if min(height, width) < self.window:
            raise BadImage(f"an image of {height} x {width} pixels (height x width) is smaller than a window of {self.window}")
        tall, wide = (min(side, whole) for side, whole in zip(box, (height, width), strict=True))
        tops, lefts = (random.integers(free + 1, size=self.count) for free in (height - tall, width - wide))
        return torch.stack([pixels[:, top : top + tall, left : left + wide] for top, left in zip(tops, lefts, strict=True)])

    def _box(self, random: np.random.Generator) -> tuple[int, int]:
        """(height, width) of what becomes a window."""
        if not self.scale:
            return self.window, self.window
        area = np.exp(random.uniform(np.log(self.scale), -np.log(self.scale)))
        ratio = np.exp(random.uniform(-_RATIO, _RATIO))
        height, width = (max(1, round(self.window * (area * shape) ** 0.5)) for shape in (ratio, 1 / ratio))
        return height, width

    def _transforms(self) -> v2.Transform:
        transform = _TRANSFORMS.get(self)
        if transform is None:
            transform = _TRANSFORMS[self] = v2.Compose([v2.Identity(), *_flips_and_colours(self.mirror, self.policy)])
        return transform


View = Augmentation | WindowSampling


@dataclass(frozen=True, slots=True)
class Views:
    """What is done to images in each epoch.

    Args:
        early: at first.
        final: from epoch `final_from` on.
        final_from: counted from 0.
    """

    early: View
    final: View
    final_from: int

    def __call__(self, epoch: int) -> View:
        """The augmentation of an epoch."""
        return self.final if epoch >= self.final_from else self.early


_TRANSFORMS: dict[View, v2.Transform] = {}  # built once in each process


@dataclass(frozen=True, slots=True)
class Mixing:
    """Mixup (Zhang et al. 2018) and cutmix (Yun et al. 2019): an image is blended with another, or gets a box of it.

    Args:
        mixup: alpha of mixup's Beta distribution; 0 for none.
        cutmix: alpha of cutmix's; 0 for none. With both, each has half of the images.
    """

    mixup: float = 0.0
    cutmix: float = 0.0

    def __bool__(self) -> bool:
        return self.mixup > 0 or self.cutmix > 0

    def partner(self, key: Sequence[int], rows: int) -> int:
        """The row of the image that is mixed in, any of the data set's."""
        return int(_random(key, 1).integers(rows))

    def mix(self, image: Tensor, partner: Tensor, key: Sequence[int]) -> tuple[Tensor, float]:
        """(the mixed image, the share that is still the first one's) of two (C, H, W) images of one size."""
        random = _random(key, 2)
        if self.mixup and (not self.cutmix or random.random() < 0.5):
            share = float(random.beta(self.mixup, self.mixup))
            return torch.lerp(partner.float(), image.float(), share), share
        share = float(random.beta(self.cutmix, self.cutmix))
        height, width = image.shape[1:]
        sides = [round(side * (1 - share) ** 0.5) for side in (height, width)]
        top, left = (int(random.integers(whole - part + 1)) for whole, part in zip((height, width), sides, strict=True))
        box = (slice(None), slice(top, top + sides[0]), slice(left, left + sides[1]))
        mixed = image.to(torch.float32, copy=True)
        mixed[box] = partner[box].float()
        return mixed, 1 - sides[0] * sides[1] / (height * width)


def _flips_and_colours(mirror: float, policy: str) -> list[v2.Transform]:
    policies = {"none": [], "trivial": [v2.TrivialAugmentWide()], "rand": [v2.RandAugment()]}
    return [v2.RandomHorizontalFlip(mirror), *policies[policy]]


def _check_channels(policy: str, channels: int) -> None:
    if policy != "none" and channels not in (1, 3):
        raise ValueError(f"{policy} changes colours of pictures, not of {channels} channels: take augment none")


@contextmanager
def _seeded(key: Sequence[int]) -> Iterator[None]:
    """Torch's randomness on the CPU as the key fixes it, and afterwards as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(_number(key))  # torch.manual_seed would seed CUDA's generators, too
        yield


def _random(key: Sequence[int], purpose: int) -> np.random.Generator:
    return np.random.default_rng((*key, purpose))


def _uniform(keys: Sequence[Sequence[int]], count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(B, count) in [0, 1), each row a function of its key: SplitMix64 (Steele et al. 2014), as a generator of its own takes
    longer to make than a crop to copy.
    """
    words = np.array(keys, np.int64).astype(np.uint64)
    state = np.zeros(len(words), np.uint64)
    for column in (*words.T, np.uint64(_CROPS)):
        state = _scrambled(state + column + _GOLDEN)
    drawn = _scrambled(state[:, None] + np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN)
    uniform: np.ndarray[Any, np.dtype[np.float64]] = (drawn >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return uniform


def _scrambled(words: np.ndarray[Any, np.dtype[np.uint64]]) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """SplitMix64's finalizer."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _number(key: Sequence[int]) -> int:
    return int(np.random.SeedSequence(tuple(key)).generate_state(1, np.uint64)[0])
