"""Evidence of large inputs, tile by tile, in memory that hardly grows with them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..engine.classifier import Classifier
from ..engine.cost import peak_memory
from ..engine.inference import like_weights
from ..geometry import Box, Geometry, Tile, all_over, cells_within, tiles_of
from ..progress import Listener, Progress, duration, unheard
from .dense import TILE, WORTH_SAYING, dense

PIXELS = 1 << 18  # of a tile, at most: maps of the first layers then take some hundred megabytes
MAPS = 1 << 25  # logits that are kept, at most: 128 MB
STRONGEST = 5  # classes whose maps are kept whatever the size

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bag:
    """The logits of an input, and the maps that are kept.

    Args:
        logits: (K,) of all classes, pooled before the head.
        values: (k, h, w) logits of every window.
        kept: k classes whose maps these are.
    """

    logits: Tensor
    values: Tensor
    kept: Sequence[int]


def tiles_for(geometry: Geometry, height: int, width: int) -> list[Tile]:
    """Tiles whose computation takes little memory; of an input of usual size one."""
    return list(tiles_of(geometry, height, width, min(TILE, cells_within(geometry, PIXELS))))


def bag_of(
    model: Classifier,
    x: Tensor,
    tiles: Sequence[Tile],
    keep: Sequence[int] = (),
    *,
    maps: int | None = None,
    name: str = "",
    progress: Listener = unheard,
) -> Bag:
    """Logits and evidence of one input from its tiles, as `Classifier.logits_and_evidence` gives them for the whole.

    Where the maps of all classes hold more logits than `maps`, those of as many classes are kept as fit, and of the five
    strongest in any case. Which are strong is judged by the tiles at hand when there is room for no more, which are from all
    over the input; should one of the five not be among them in the end, its map is computed again.

    Args:
        model: whatever has windows.
        x: (1, C, H, W) prepared.
        tiles: of x, complete.
        keep: classes whose maps are kept in any case.
        maps: logits that are kept, at most; `MAPS` where None.
        name: of the image, for what is said.
        progress: told after every tile.
    """
    rows, columns = model.geometry.grid(x.shape[2], x.shape[3])
    pooled, kept = _Pooled(model, rows, columns), _Kept(model.num_classes, rows, columns, keep, maps or MAPS)
    start = time.perf_counter()
    for done, tile in enumerate((tiles[number] for number in all_over(len(tiles))), 1):
        part = model.features(like_weights(x[(..., *tile.crop.slices)].contiguous(), model))
        features = part[(..., *tile.inside.slices)]
        pooled.add(tile.cells, features)
        kept.add(tile.cells, model.head(features, kept.classes)[0].cpu(), pooled.logits)
        if done == 1 and len(tiles) >= WORTH_SAYING:
            _log.info(_cost(name, x, kept, len(tiles) * (time.perf_counter() - start)))
        progress(Progress("computing the evidence", done, len(tiles), "tiles"))
    return _with_strongest(model, x, Bag(pooled.logits(), *kept.result()), progress)


class _Pooled:
    """The mean of the features of the windows seen so far, each once, though tiles overlap."""

    def __init__(self, model: Classifier, rows: int, columns: int) -> None:
        self.model = model
        self.seen = np.zeros((rows, columns), bool)
        self.total = torch.zeros(model.num_features, dtype=torch.float64)
        self.like = torch.empty(0)

    def add(self, cells: Box, features: Tensor) -> None:
        """(1, C, h, w) of a box of cells."""
        fresh = torch.from_numpy(~self.seen[cells.slices]).to(features.device)
        self.total += features[0][:, fresh].sum(1, dtype=torch.float64).cpu()
        self.seen[cells.slices] = True
        self.like = features[0, :0]

    def logits(self) -> Tensor:
        """(K,) of the windows seen so far."""
        return self.model.head((self.total / int(self.seen.sum())).to(self.like)[None])[0].cpu()


class _Kept:
    """The maps of all classes until these take too much room, and then those of the strongest."""

    def __init__(self, num_classes: int, rows: int, columns: int, keep: Sequence[int], maps: int) -> None:
        self.count = min(num_classes, max(STRONGEST, maps // (rows * columns)))
        self.keep, self.room, self.grid = list(dict.fromkeys(keep)), maps, (rows, columns)
        self.all = list(range(num_classes))
        self.chosen = self.all if self.count == num_classes else None
        self.parts: list[tuple[Box, Tensor]] = []

    @property
    def classes(self) -> list[int] | None:
        """Those whose maps are still wanted; all where None."""
        return None if self.chosen is None or self.chosen == self.all else self.chosen

    def add(self, cells: Box, part: Tensor, logits: Callable[[], Tensor]) -> None:
        """(k, h, w) of a box of cells; `logits` are those of all classes so far."""
        self.parts.append((cells, part))
        if self.chosen is None and sum(part.numel() for _, part in self.parts) >= self.room:
            self._choose(logits())

    def result(self) -> tuple[Tensor, list[int]]:
        """(k, h, w) logits of every window, and of which classes."""
        classes = self.all if self.chosen is None else self.chosen
        values = torch.empty((len(classes), *self.grid), dtype=self.parts[0][1].dtype)
        while self.parts:
            cells, part = self.parts.pop()
            values[(..., *cells.slices)] = part
        return values, classes

    def _choose(self, logits: Tensor) -> None:
        others = [index for index in logits.argsort(descending=True).tolist() if index not in self.keep]
        self.chosen = sorted(self.keep + others[: max(0, self.count - len(self.keep))])
        self.parts = [(cells, part[self.chosen]) for cells, part in self.parts]


def _with_strongest(model: Classifier, x: Tensor, bag: Bag, progress: Listener) -> Bag:
    """With the maps of the strongest classes that were not known to be."""
    strongest = bag.logits.topk(min(STRONGEST, len(bag.logits))).indices.tolist()
    if not (missing := sorted(set(strongest) - set(bag.kept))):
        return bag
    geometry = model.geometry
    tile = min(TILE, cells_within(geometry, PIXELS))
    padded = geometry.origin < 0
    map_of = dense(model, like_weights(x, model), missing, geometry.stride, padded=padded, tile=tile, progress=progress)
    return Bag(bag.logits, torch.cat([bag.values, map_of.values[0].to(bag.values)]), [*bag.kept, *missing])


def _cost(name: str, x: Tensor, kept: _Kept, seconds: float) -> str:
    """What is to be expected, as far as the first tile tells."""
    rows, columns = kept.grid
    size = f"an input of {x.shape[3]} x {x.shape[2]} pixels, {rows * columns:,} windows"
    line = f"{name + ': ' if name else ''}{size}; about {duration(seconds)}"
    if (peak := peak_memory()) is not None:
        held = 2 * 4 * kept.count * rows * columns  # while they are put together
        line += f" and {(peak + held) / 1e9:.1f} GB of memory"
    if kept.count < len(kept.all):
        line += f"; of {len(kept.all):,} classes the maps of {kept.count:,} are kept, the strongest"
    return line
