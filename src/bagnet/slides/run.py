"""The evidence of an image larger than memory, tile by tile into a folder from which the same call goes on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.decode import BadImage
from ..data.names import ClassNames
from ..engine.classifier import Classifier, model_name
from ..engine.inference import exact, like_weights
from ..geometry import Geometry
from ..progress import Listener, unheard
from ..runs.shards import Shard, all_parts, check_shard
from ..runs.store import FINISHED, Rows, Store, claim, held_settings
from .georeference import Georeference
from .plan import TILE_PIXELS, Part, Plan
from .readers import Pixels, Reader, opened
from .reading import Answer, Reading
from .tiles import scale_of

WORK = "slide"  # what a folder is a part of
EVIDENCE, SUMS, TILES = "evidence", "sums", "tiles"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Slide:
    """The evidence that a folder holds. Made by `slide` and `open_slide`.

    Args:
        folder: where.
        model: name of the card.
        classes: T, whose maps there are.
        geometry: of the windows, on the level.
        level: number of the level that was seen.
        downsample: pixels of the largest level that one of this level stands for.
        microns_per_pixel: of the level; None where the file does not say it.
        size: (height, width) of the level in pixels.
        georeference: of the level; None where the file does not say it.
        evidence: (T, h, w) float32, mapped from the disk; NaN where a tile was skipped or could not be read. Of a part of a slide
            only the rows of cells that it has a share in.
        logits: (K,) of all classes: the mean over all windows that were computed.
        all_classes: K, the model's.
        skipped: tiles that held nothing but background.
        bad: (tile, reason) of those that could not be read.
        first_row: of the grid that the evidence has; 0 but for a part of a slide.
    """

    folder: Path
    model: str
    classes: ClassNames
    geometry: Geometry
    level: int
    downsample: float
    microns_per_pixel: float | None
    size: tuple[int, int]
    georeference: Georeference | None
    evidence: NDArray[np.float32]
    logits: NDArray[np.float32]
    all_classes: ClassNames
    skipped: int
    bad: tuple[tuple[int, str], ...]
    first_row: int = 0

    def map(self, target: int | str) -> NDArray[np.float32]:
        """(h, w) logits of every window for a class, by index among `classes`, WordNet id or name; mapped from the disk.

        Raises:
            UnknownClass, AmbiguousClass: as `ClassNames.find`.
        """
        values: NDArray[np.float32] = self.evidence[self.classes.find(target)]
        return values


def slide(
    model: Classifier,
    image: str | PathLike[str],
    classes: Sequence[int | str],
    out: str | PathLike[str],
    *,
    level: int | None = None,
    microns: float | None = None,
    skip_white: bool = False,
    shard: Shard | None = None,
    tile_pixels: int = TILE_PIXELS,
    readers: int = 2,
    overwrite: bool = False,
    progress: Listener = unheard,
) -> Slide:
    """Compute the evidence of some classes at every window of a large image, in memory that does not grow with it.

    Pixels are seen as they are on the level: nothing is resized. A tile holds all pixels that its windows see, so there are no
    seams: the result is, to rounding, what the whole image gives at once. Killed at any moment, the same call goes on after the
    last whole tile, to the same numbers.

    Args:
        model: a BagNet or a windowed network, on any runtime.
        image: a slide, TIFF, zarr, `.npy` or photograph, see `READERS`.
        classes: whose maps are kept, by index, WordNet id or name.
        out: folder for the result.
        level: of the image, 0 the largest.
        microns: per pixel: the level that is nearest to it. Where neither is said, a model whose card says that it was trained on
            slides sees this one as it saw those, and the log says so; any other sees the largest level.
        skip_white: leave out tiles whose every pixel is nearly white; their cells stay NaN and do not count in the logits.
        shard: (2, 4) computes the second of four parts, neighbouring rows of tiles, for machines that share the work;
            `merge_slides` makes one result of all parts.
        tile_pixels: of a tile, about.
        readers: threads that read ahead of the network.
        overwrite: begin anew where the folder holds another run.
        progress: told after every tile.

    Raises:
        FileNotFoundError, BadImage: the image cannot be opened, or not one tile of it can be read.
        UnknownClass, AmbiguousClass: there is no class by that name, or several.
        ValueError: no class is named, there is no such level or part, or the level is smaller than a window.
        OtherRun, Busy: the folder holds another run, or one at work.
        OSError: it cannot be written.
    """
    wanted = [model.classes.find(name) for name in classes]
    if not wanted:
        raise ValueError("name the classes whose evidence is wanted: maps of all would not fit")
    check_shard(shard)
    with opened(image, *scale_of(model, level, microns)) as (reader, number):
        seen = reader.levels[number]
        plan = Plan(model.geometry, seen.height, seen.width, tile_pixels)
        if model.transform.resize is not None:
            _log.info(
                "%s was trained on images scaled to %d pixels, and sees these pixels as they are, in windows of %d: choose the "
                "level at which things are as large as there",
                model_name(model),
                model.transform.resize,
                model.geometry.size,
            )
        settings = _settings(model, Path(fspath(image)), plan, wanted, number, skip_white)
        settings |= {"downsample": seen.downsample, "microns per pixel": _microns(reader, seen.downsample)}
        if shard is not None:
            settings |= {"work": WORK, "shard": list(shard)}
        settings["georeference"] = _on_the_ground(reader, number)
        with claim(Path(fspath(out)), settings, overwrite=overwrite) as store:
            _Work(model, reader, store, plan, wanted, number, skip_white, shard).run(readers, progress)
    return open_slide(out)


def tile_rows(model: Classifier, image: str | PathLike[str], level: int | None = None, microns: float | None = None) -> int:
    """How many rows of tiles `slide` makes of an image: parts of which none reads what another reads, but for the overlap.

    Raises:
        FileNotFoundError, BadImage, ValueError: as `slide`.
    """
    with opened(image, *scale_of(model, level, microns)) as (reader, number):
        seen = reader.levels[number]
        return len({part.tile.cells.top for part in Plan(model.geometry, seen.height, seen.width).parts()})


def input_of(pixels: Pixels, model: Classifier) -> Tensor:
    """(h, w, 3) pixels -> (1, 3, h, w) as the network takes them."""
    x = model.transform.normalise(torch.from_numpy(pixels).permute(2, 0, 1)[None])
    return like_weights(x.contiguous(), model)


def open_slide(folder: str | PathLike[str]) -> Slide:
    """What `slide` wrote.

    Raises:
        ValueError: the folder holds no slide, or one that is not finished.
    """
    path = Path(fspath(folder))
    settings = held_settings(path)
    if settings is None or not (path / f"{FINISHED}.npz").exists():
        held = "nothing of a slide" if settings is None else "a slide that is not finished: give the same command again"
        raise ValueError(f"{path}: holds {held}")
    with np.load(path / f"{FINISHED}.npz", allow_pickle=False) as kept:
        logits, skipped, first_row = kept["logits"], int(kept["skipped"]), int(kept["first_row"])
        bad = tuple((int(tile), str(reason)) for tile, reason in zip(kept["bad"], kept["reasons"], strict=True))
    names = ClassNames.from_words(settings["class names"])
    return Slide(
        path,
        settings["model"],
        ClassNames(names[index] for index in settings["classes"]),
        Geometry(**settings["geometry"]),
        settings["level"],
        settings["downsample"],
        settings["microns per pixel"],
        (settings["height"], settings["width"]),
        _georeference(settings["georeference"]),
        np.load(path / f"{EVIDENCE}.npy", mmap_mode="r"),
        logits,
        names,
        skipped,
        bad,
        first_row,
    )


def _settings(model: Classifier, image: Path, plan: Plan, wanted: list[int], level: int, skip_white: bool) -> dict[str, Any]:
    """All that the evidence depends on."""
    status = image.stat()
    return {
        "model": model_name(model),
        "weights": model.weights_digest,
        "runtime": f"{model.runtime} {model.precision}",
        "image": str(image.resolve()),
        "bytes": status.st_size,
        "changed": status.st_mtime_ns,
        "level": level,
        "height": plan.height,
        "width": plan.width,
        "tile pixels": plan.pixels,
        "geometry": asdict(plan.geometry),
        "normalisation": [list(model.transform.mean), list(model.transform.std)],
        "classes": wanted,
        "class names": [{"names": list(entry.names), "wnid": entry.wnid} for entry in model.classes],
        "skip white": skip_white,
    }


def _microns(reader: Reader, downsample: float) -> float | None:
    return None if reader.microns_per_pixel is None else reader.microns_per_pixel * downsample


def _on_the_ground(reader: Reader, level: int) -> dict[str, Any] | None:
    """Where the pixels of a level lie, as JSON can hold it."""
    largest, seen = reader.levels[0], reader.levels[level]
    if reader.georeference is None:
        return None
    return asdict(reader.georeference.grid(0, 0, largest.width / seen.width, largest.height / seen.height))


def _georeference(kept: dict[str, Any] | None) -> Georeference | None:
    return None if kept is None else Georeference(kept["crs"], tuple(kept["transform"]))


class _Work:
    """One run over the tiles that are still to do."""

    def __init__(
        self,
        model: Classifier,
        reader: Reader,
        store: Store,
        plan: Plan,
        wanted: list[int],
        level: int,
        skip_white: bool,
        shard: Shard | None,
    ) -> None:
        self.model, self.reader, self.store, self.plan = model, reader, store, plan
        self.wanted, self.level, self.skip_white, self.shard = wanted, level, skip_white, shard
        self.parts = plan.shard(shard)
        self.rows = plan.rows_of(self.parts)

    def run(self, readers: int, progress: Listener) -> None:
        parts = self.parts
        self.store.array(EVIDENCE, (len(self.wanted), len(self.rows), self.plan.grid[1]), np.float32, np.nan)
        self.store.array(SUMS, (len(parts), self.model.num_features), np.float64)
        rows = self.store.rows(TILES)
        todo = [part for part in parts if str(part.number) not in rows.done]
        reading = Reading(
            self.reader,
            self.level,
            self.plan,
            todo,
            skip_white=self.skip_white,
            readers=readers,
            stage="computing the evidence",
            done=len(parts) - len(todo),
            progress=progress,
        )
        with exact(self.model), torch.inference_mode():
            for part, pixels in reading:
                rows.append([(str(part.number), self._row(part, pixels))])
            self._finish(dict(rows))

    def _row(self, part: Part, pixels: Answer) -> dict[str, Any]:
        """What is kept of a tile beside its evidence: how many cells it has, and why it lacks some."""
        if isinstance(pixels, BadImage):
            cells = self._rescue(part)
            reason = f"{pixels}: {part.fresh.area - cells:,} of its {part.fresh.area:,} windows are missing"
            _log.warning("%s", reason)
            return {"cells": cells, "error": reason}
        if pixels is None:
            return {"cells": 0, "skipped": True}
        self._write(SUMS, part.number - self.parts[0].number, self._compute(part, pixels))
        return {"cells": part.fresh.area}

    def _rescue(self, part: Part) -> int:
        """Compute what can be read of a tile that cannot be read whole, in small pieces; their cells."""
        sums, cells = torch.zeros(self.model.num_features, dtype=torch.float64), 0
        for piece in self.plan.pieces(part):
            try:
                sums += self._compute(piece, self.reader.read(self.level, piece.tile.crop)).cpu()
                cells += piece.fresh.area
            except BadImage:
                continue
        self._write(SUMS, part.number - self.parts[0].number, sums)
        return cells

    def _compute(self, part: Part, pixels: Pixels) -> Tensor:
        """Write the evidence of the fresh cells of a tile; (C,) the sum of their features."""
        features = self.model.features(input_of(pixels, self.model))[(..., *part.inside.slices)]
        evidence = self.model.head(features, self.wanted)[0]
        self._write(EVIDENCE, (slice(None), *part.fresh.shift(0, -self.rows.start).slices), evidence.float())
        total: Tensor = features[0].sum((1, 2), dtype=torch.float64)
        return total

    def _write(self, name: str, where: Any, values: Tensor) -> None:
        """Into an array that is mapped for so long alone: what stays mapped counts as memory."""
        array = self._array(name, "r+")
        array[where] = values.cpu().numpy()
        array.flush()

    def _array(self, name: str, mode: Literal["r", "r+"]) -> Any:
        return np.load(self.store.folder / f"{name}.npy", mmap_mode=mode)

    def _finish(self, tiles: dict[str, Any]) -> None:
        cells = sum(int(row["cells"]) for row in tiles.values())
        if not cells and self.shard is None:
            self.store.discard()
            reasons = [str(row["error"]) for row in tiles.values() if "error" in row]
            raise BadImage(reasons[0] if reasons else "every tile is white, and white tiles are skipped: there is nothing to see")
        pooled = torch.from_numpy(self._array(SUMS, "r").sum(0) / max(1, cells)).float()
        logits: Tensor = self.model.head(like_weights(pooled[None], self.model))[0]
        _keep(self.store, tiles, logits.float().cpu().numpy(), self.rows.start)


def _keep(store: Store, tiles: dict[str, Any], logits: NDArray[np.float32], first_row: int = 0) -> None:
    """What is known when all is done."""
    bad = [(int(number), str(row["error"])) for number, row in tiles.items() if "error" in row]
    store.keep(
        FINISHED,
        logits=logits,
        first_row=first_row,
        cells=sum(int(row["cells"]) for row in tiles.values()),
        skipped=sum("skipped" in row for row in tiles.values()),
        bad=np.array([number for number, _ in bad], np.int64),
        reasons=np.array([reason for _, reason in bad], np.str_),
    )


def merge_slides(folders: Sequence[str | PathLike[str]], out: str | PathLike[str], *, overwrite: bool = False) -> Slide:
    """One result of the parts that several calls of `slide` computed, each with another `shard`.

    Args:
        folders: of all parts.
        out: folder for the result.
        overwrite: begin anew where the folder holds another run.

    Raises:
        ValueError: a folder holds no finished part, a part is missing or there twice, or they are of different runs.
        OtherRun, Busy: the output holds another run, or one at work.
        OSError: it cannot be written.
    """
    parts = all_parts(folders, WORK, free={"image", "changed"})
    slides = [open_slide(part.folder) for part in parts]
    shape = {name: value for name, value in parts[0].settings.items() if name not in ("work", "shard")}
    plan = Plan(slides[0].geometry, shape["height"], shape["width"], shape["tile pixels"])
    cells = np.array([_cells(slide) for slide in slides], np.float64)
    if not cells.any():
        raise BadImage("not one tile of any part could be computed: there is nothing to see")
    tiles: dict[str, Any] = {}
    with claim(Path(fspath(out)), shape, overwrite=overwrite) as store:
        evidence = store.array(EVIDENCE, (len(slides[0].classes), *plan.grid), np.float32, np.nan)
        for slide, part in zip(slides, parts, strict=True):
            tiles |= dict(Rows(slide.folder / f"{TILES}.jsonl", store.begin, resumed=True))
            for fresh in (tile.fresh for tile in plan.shard(tuple(part.settings["shard"]))):
                values = slide.evidence[(slice(None), *fresh.shift(0, -slide.first_row).slices)]
                evidence[(slice(None), *fresh.slices)] = values
        evidence.flush()
        logits = np.stack([slide.logits for slide in slides]).astype(np.float64)
        _keep(store, tiles, (cells @ logits / cells.sum()).astype(np.float32))
    return open_slide(out)


def _cells(slide: Slide) -> int:
    with np.load(slide.folder / f"{FINISHED}.npz", allow_pickle=False) as kept:
        return int(kept["cells"])
