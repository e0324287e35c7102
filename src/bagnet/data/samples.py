"""What a step of training sees: batches in an order that a seed fixes, each image in a view that its key fixes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from torchvision.transforms.v2.functional import resize

from .augment import Augmentation, Mixing
from .decode import LARGEST, BadImage
from .labels import LabelledImages
from .sources import Images
from .tables import STREAMED_GROUPS
from .transforms import Preprocessing

Key = tuple[int, int]  # (epoch, row)
_KEPT = 4 << 30  # bytes of decoded pixels that are kept in memory


class Batch(NamedTuple):
    """Images of one step, ready for the network.

    Args:
        images: (B, C, H, W) float32, normalised.
        targets: (B, K) float32 shares of the classes; of one label, all 1 in one place.
        teacher: (B, K) probabilities or logits that a teacher gave, or (B, 0).
        unreadable: (row, reason) of images that could not be read; another image stands in their place.
    """

    images: Tensor
    targets: Tensor
    teacher: Tensor
    unreadable: list[tuple[int, str]]


class Order(Sampler[list[Key]]):
    """The rows of each step, as (epoch, row): every row once an epoch, in an order that (seed, epoch) fixes.

    The epoch travels with the row, so that whatever is random can be a function of (seed, epoch, row) in any worker. Rows
    that do not fill the last batch sit this epoch out. Processes that train together deal each batch out among them.

    Args:
        rows: how many there are.
        batch_size: rows of a step, over all processes; all rows where there are fewer.
        seed: of the run.
        rank: which process this is.
        ranks: of how many.
        parts: into which each process splits its share of a step.
        weights: (N,) how likely each row is drawn, with replacement; each once where None.
        starts: first rows of groups that are read together: a few groups at a time are mixed, in an order of chance; all rows
            with each other where None.
    """

    def __init__(
        self,
        rows: int,
        batch_size: int,
        seed: int,
        *,
        rank: int = 0,
        ranks: int = 1,
        parts: int = 1,
        weights: Tensor | None = None,
        starts: Sequence[int] | None = None,
    ) -> None:
        self.rows, self.seed = rows, seed
        self.starts = None if starts is None else [*starts, rows]
        self.batch_size = min(batch_size, rows // (ranks * parts) * ranks * parts)
        self.rank, self.ranks, self.parts = rank, ranks, parts
        self.weights = None if weights is None else weights.double().numpy() / weights.double().sum().item()
        if not self.batch_size or self.batch_size % (ranks * parts):
            raise ValueError(
                f"{rows} images in steps of {batch_size} cannot be dealt out evenly among {ranks} processes in {parts} parts"
            )
        self.epoch = 0
        self._from = (0, 0)

    def set_epoch(self, epoch: int) -> None:
        """Give the rows of that epoch from now on."""
        self.epoch = epoch

    def go_on(self, epoch: int, count: int) -> None:
        """Leave out the first parts of an epoch, which were done before an interruption."""
        self._from = (epoch, count)

    @property
    def steps(self) -> int:
        """Of a whole epoch."""
        return self.rows // self.batch_size

    def __len__(self) -> int:
        """Parts of a whole epoch."""
        return self.steps * self.parts

    def __iter__(self) -> Iterator[list[Key]]:
        random = np.random.default_rng((self.seed, self.epoch))
        order = self._order(random)
        share = self.batch_size // self.parts
        first = self._from[1] if self.epoch == self._from[0] else 0
        for part in range(first, len(self)):
            rows = order[part * share : (part + 1) * share]
            yield [(self.epoch, int(row)) for row in rows[self.rank :: self.ranks]]

    def _order(self, random: np.random.Generator) -> np.ndarray[Any, Any]:
        """(N,) all rows of an epoch."""
        if self.weights is not None:
            return random.choice(self.rows, self.rows, p=self.weights)
        if self.starts is None:
            return random.permutation(self.rows)
        groups = random.permutation(len(self.starts) - 1)
        mixed = [groups[first : first + STREAMED_GROUPS] for first in range(0, len(groups), STREAMED_GROUPS)]
        rows = [np.concatenate([np.arange(self.starts[one], self.starts[one + 1]) for one in some]) for some in mixed]
        return np.concatenate([random.permutation(some) for some in rows])


class Pixels:
    """The decoded pixels of a collection of images: kept in memory where all are of one size and fit, else read each time.

    Args:
        images: to read.
        channels: that the network takes.
        shorter: resize the shorter side to so many pixels; None leaves images as they are.
        keep: most bytes to keep.
    """

    def __init__(self, images: Images, channels: int, shorter: int | None = None, keep: int = _KEPT) -> None:
        self.images, self.channels, self.shorter = images, channels, shorter
        self.rows = len(images.names)
        self.unreadable: dict[int, str] = {}
        self.kept = self._read_all(keep)

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, row: int) -> Tensor:
        """(C, H, W) uint8.

        Raises:
            BadImage: it cannot be read.
        """
        if row in self.unreadable:
            raise BadImage(self.unreadable[row])
        return self._read(row) if self.kept is None else self.kept[row]

    def _read(self, row: int) -> Tensor:
        try:
            pixels = torch.from_numpy(self.images.pixels(row, self.channels)).permute(2, 0, 1)
        except OSError as error:
            raise BadImage(" ".join(str(error).split())) from None
        if self.shorter not in (None, min(pixels.shape[1:])):
            height, width = pixels.shape[1:]
            if self.shorter**2 * max(height, width) > LARGEST * min(height, width):
                raise BadImage(
                    f"{self.images.names[row]}: {width} x {height} pixels would be more than {LARGEST:,} with a shorter side of "
                    f"{self.shorter}; cut it to a squarer shape"
                )
            pixels = resize(pixels, [self.shorter], antialias=True)
        return pixels

    def _read_all(self, limit: int) -> Tensor | None:
        """(N, C, H, W) uint8, zeros where unreadable; None where they are too many or of several sizes."""
        kept: Tensor | None = None
        for row in range(self.rows):
            try:
                pixels = self._read(row)
            except BadImage as error:
                self.unreadable[row] = str(error)
                continue
            if kept is None:
                if self.rows * pixels.numel() > limit:
                    return None
                kept = torch.zeros(self.rows, *pixels.shape, dtype=torch.uint8)
            if pixels.shape != kept.shape[1:]:
                return None
            kept[row] = pixels
        return kept


class Samples(Dataset[Batch]):
    """Augmented training images, a batch for each list of keys that `Order` gives.

    Args:
        images: with their labels.
        pixels: of the images.
        preprocessing: for its mean and std.
        views: epoch -> what is done to each image.
        mixing: of images with each other.
        seed: with epoch and row, the only source of randomness.
        teacher: (N, K) probabilities or logits that a teacher gave, where there is one.
        starts: first rows of groups within which images are mixed with each other.

    Raises:
        BadImage: not one image can be read.
    """

    def __init__(
        self,
        images: LabelledImages,
        pixels: Pixels,
        preprocessing: Preprocessing,
        views: Callable[[int], Augmentation],
        mixing: Mixing,
        seed: int,
        teacher: Tensor | None = None,
        starts: Sequence[int] = (0,),
    ) -> None:
        if len(pixels.unreadable) == len(pixels):
            raise BadImage(f"none of the {len(pixels)} images can be read: {next(iter(pixels.unreadable.values()))}")
        self.images, self.pixels, self.preprocessing = images, pixels, preprocessing
        self.views, self.mixing, self.seed = views, mixing, seed
        self.starts = starts
        self.teacher = torch.zeros(len(images), 0) if teacher is None else teacher

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, keys: Sequence[Key]) -> Batch:
        """A whole batch."""
        unreadable: list[tuple[int, str]] = []
        views, targets, teacher = zip(*(self._sample(epoch, row, unreadable) for epoch, row in keys), strict=True)
        images = self.preprocessing.normalise(torch.stack(views)).contiguous(memory_format=torch.channels_last)
        return Batch(images, torch.stack(targets), torch.stack(teacher), unreadable)

    def _sample(self, epoch: int, row: int, unreadable: list[tuple[int, str]]) -> tuple[Tensor, Tensor, Tensor]:
        key = (self.seed, epoch, row)
        view, row = self._view(row, key, unreadable)
        target, teacher = self.images.shares(row), self.teacher[row].float()
        if self.mixing:
            # 3, as Mixing takes 1 and 2; to numpy (1, 2, 3) and (1, 2, 3, 0) are one seed, and the views would be alike.
            first, end = self._group(row)
            other, other_row = self._view(first + self.mixing.partner(key, end - first), (*key, 3), unreadable)
            view, share = self.mixing.mix(view, other, key)
            target = torch.lerp(self.images.shares(other_row), target, share)
            teacher = torch.lerp(self.teacher[other_row].float(), teacher, share)
        return view, target, teacher

    def _group(self, row: int) -> tuple[int, int]:
        """(first row, end) of those that a row may be mixed with: what is read together with it, where that matters."""
        place = bisect_right(self.starts, row)
        return self.starts[place - 1], self.starts[place] if place < len(self.starts) else len(self)

    def _view(self, row: int, key: Sequence[int], unreadable: list[tuple[int, str]]) -> tuple[Tensor, int]:
        """(a view of a row, the row): of the next readable one where it cannot be read."""
        for further in range(len(self)):
            place = (row + further) % len(self)
            try:
                return self.views(key[1])(self.pixels[place], key), place
            except BadImage as error:
                unreadable.append((place, str(error)))
        raise BadImage(f"none of the {len(self)} images can be read")


class Prepared(Dataset[tuple[int, Tensor | str]]):
    """Images as their preprocessing makes them, or the reason why not, under their row.

    Args:
        images: to read.
        preprocessing: of the network.
        rows: which ones; all where None.
    """

    def __init__(self, images: Images, preprocessing: Preprocessing, rows: Sequence[int] | None = None) -> None:
        self.images, self.preprocessing = images, preprocessing
        self.rows = range(len(images.names)) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> tuple[int, Tensor | str]:
        row = self.rows[place]
        try:
            return row, self.preprocessing.of_pixels(self.images.pixels(row, len(self.preprocessing.mean)))
        except (OSError, ValueError) as error:
            return row, " ".join(str(error).split())
