"""Does a map say what moves the network, and does it lie on the object? Maps of bags of windows beside those of other methods.

Of a bag of windows the map is exact, so that a poor score on an object's box says that the network looks elsewhere, and not that
the map is wrong. Of other networks a method's map is a guess at what the network does: the first three measures test it.

- `single_deletion`: a 4 x 4 grid of parts of the image, each masked by itself with the mean colour: the rank correlation of the
  logit's drop with the sum of the map over the part (Hesse, Schaub-Meyer & Roth, "Benchmarking the attribution quality of vision
  models", 2024). They train networks on single deletions, so that these are nothing new to them: where that was not done, part of
  every score is how the network takes them.
- `deletion`, `insertion`: the area under the target's probability as squares of pixels are masked, or brought back, from the
  largest part of the map to the least (Petsiuk, Das & Saenko, "RISE", 2018); low and high are good. Masked pixels have the mean
  colour.
- `pointing`: whether the map's maximum lies in the object (Zhang et al. 2016); `energy`: which share of the map's positive part
  does (Wang et al., "Score-CAM", 2020). A map at random has the object's share of the image for both, which is told beside them.

The class is the network's own answer for the first three, and what the image shows for the last two.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from os import PathLike, fspath
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from ..attribution import METHODS, attribute
from ..data.labels import LabelledImages
from ..engine.classifier import Predictor, has_evidence, model_name, names_apart
from ..engine.inference import exact
from ..evidence.edits import occlude
from ..evidence.pixels import pixel_evidence
from ..geometry import Box, Placement
from ..progress import Listener
from ..runs.store import Rows, claim
from ..runs.sweep import check_some, sweep
from ..runs.table import write_table
from ..statistics import Estimate, mean, spearman
from .evaluate import matched

EVIDENCE = "evidence"  # the map of a bag of windows itself
BESIDE = ("integrated_gradients", "grad_cam", "occlusion")  # of other networks, unless told
MEASURES = ("single_deletion", "deletion", "insertion", "pointing", "energy")
ON_OBJECTS = ("pointing", "energy")
TABLE, SCORES, UNFINISHED = "faithfulness.csv", "scores.csv", "unfinished"
_GRID = 4  # parts along an axis, of single deletions
_SQUARES, _STEPS = 8, 16  # along an axis, of deletion and insertion, and in how many steps all of them go
_LEAST_OCCLUDED = 8  # pixels: side of the squares of occlusion, which are as large as those of deletion where the image is larger
_SEED = 0

Floats = NDArray[np.float64]
Regions = Mapping[str, Path | Box]


@dataclass(frozen=True, slots=True)
class Faithfulness:
    """One measure of one method's maps of one network.

    Args:
        network: name of its card.
        method: "evidence", or one of `METHODS`.
        measure: of `MEASURES`, or "object_share": what a map at random has of pointing and energy.
        images: on which it is defined.
        score: the mean over them.
        difference: this less the score of the first network's first method, image by image; None of that itself, and where no
            image has both.
    """

    network: str
    method: str
    measure: str
    images: int
    score: Estimate
    difference: Estimate | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON and a table can hold it."""
        estimates = {"": self.score, **({"difference_": self.difference} if self.difference else {})}
        numbers = {f"{name}{key}": value for name, each in estimates.items() for key, value in each.to_dict().items()}
        return {"network": self.network, "method": self.method, "measure": self.measure, "images": self.images, **numbers}


def faithfulness(
    networks: Predictor | Sequence[Predictor],
    source: str | PathLike[str] | LabelledImages,
    out: str | PathLike[str] = "faithfulness",
    *,
    split: str = "val",
    measures: Sequence[str] = MEASURES,
    methods: Sequence[str] = BESIDE,
    regions: str | PathLike[str] | Regions | None = None,
    count: int | None = None,
    batch_size: int = 16,
    workers: int | None = None,
    overwrite: bool = False,
    progress: Listener | None = None,
) -> list[Faithfulness]:
    """Measure maps of networks on the same images; a table goes to `out/faithfulness.csv`, every image's scores beside it.

    Goes on where it was cut short.

    Args:
        networks: bags of windows, whose evidence is measured, and other networks, whose maps by `methods` are. Random maps of
            each are measured, too.
        source: as for `open_labelled`, or what that returned.
        out: a folder.
        split: of the source.
        measures: of `MEASURES`; deletion and insertion cost 34 passes an image and method.
        methods: of attribution, of networks that are no bags.
        regions: where the objects are: a table as `open_regions` reads it, or what that returned. Without it there is no
            `pointing` and no `energy`.
        count: of images, spread evenly over the source; all where None.
        batch_size: images at a time.
        workers: processes that read images.
        overwrite: begin anew where the folder holds other work.
        progress: told after every batch.

    Raises:
        ValueError: there is no such measure or method, no network, or one of the names is there twice.
        ImportError: a method needs captum.
        OtherRun: the folder holds work with other settings.
        UnknownClass, AmbiguousClass, BadImage, FileNotFoundError: as `evaluate` and `open_regions`.
    """
    chosen = list(networks) if isinstance(networks, Sequence) else [networks]
    names = names_apart(chosen)
    for kind, asked, known in (("measure", measures, MEASURES), ("attribution method", methods, tuple(METHODS))):
        if unknown := [name for name in asked if name not in known]:
            raise ValueError(f"there is no {kind} {unknown[0]!r}: choose among {', '.join(known)}")
    of_regions = regions if isinstance(regions, Mapping) or regions is None else open_regions(regions)
    folder = Path(fspath(out))
    prepared = [matched(network, source, split) for network in chosen]
    images = prepared[0][1]
    rows = list(range(0, len(images), max(1, len(images) // count)))[:count] if count else list(range(len(images)))
    settings = {
        "images": images.images.fingerprint,
        "rows": len(rows),
        "networks": [f"{name} {network.weights_digest}" for name, network in zip(names, chosen, strict=True)],
        "measures": list(measures),
        "methods": list(methods),
        "regions": "" if of_regions is None else sha256(repr(sorted(of_regions.items(), key=str)).encode()).hexdigest(),
    }
    with claim(folder / UNFINISHED, settings, overwrite=overwrite) as store:
        kept = store.rows("scores")
        for network, (_, labelled, columns) in zip(chosen, prepared, strict=True):
            subject = _Subject(network, labelled, columns, measures, methods, of_regions)
            subject.measure(kept, rows, batch_size, workers, progress)
        scores = [dict(row) for _, row in kept]
        check_some(
            [row for row in scores if not row.get("error")], [(row["image"], row["error"]) for row in scores if row.get("error")]
        )
        results = _summary(scores, names)
        write_table(folder / SCORES, ["network", "method", "image", *MEASURES, "object_share"], _flat(scores))
        lines = [each.to_dict() for each in results]
        write_table(folder / TABLE, list(dict.fromkeys(key for line in lines for key in line)), lines)
        store.discard()
    return results


def open_regions(path: str | PathLike[str]) -> Regions:
    """Where objects are, by the names of images, or the last parts of them.

    Args:
        path: of a CSV file with a column `image` (or `file`), and either `left`, `top`, `right`, `bottom` in pixels of the
            upright image, the last two beyond the object, or `mask`: an image as large as the photograph, beside the table, in
            which what is not 0 is the object.

    Raises:
        FileNotFoundError: there is no such table, or no such mask.
        ValueError: it has other columns, or a box is none.
    """
    table = Path(fspath(path))
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    edges = ("left", "top", "right", "bottom")
    regions: dict[str, Path | Box] = {}
    for number, row in enumerate(rows, 2):
        name = row.get("image") or row.get("file")
        if not name or not (row.get("mask") or all(row.get(edge) for edge in edges)):
            raise ValueError(f"{table}, line {number}: has no image with a mask, or with left, top, right and bottom")
        if row.get("mask"):
            regions[name] = _mask_of(table, row["mask"])
            continue
        try:
            box = Box(*(int(row[edge]) for edge in edges))
        except ValueError:
            raise ValueError(f"{table}, line {number}: edges of a box are whole numbers") from None
        if box.width <= 0 or box.height <= 0:
            raise ValueError(f"{table}, line {number}: the box {tuple(box)} holds nothing")
        regions[name] = box
    if not regions:
        raise ValueError(f"{table}: names no image")
    return regions


def _mask_of(table: Path, mask: str) -> Path:
    """A mask beside its table, or in a folder there that is called so."""
    places = [table.parent / mask, *(folder / mask for folder in table.parent.iterdir() if folder.is_dir())]
    for path in places:
        if path.is_file():
            return path
    raise FileNotFoundError(f"{places[0]}: there is no such mask")


class _Subject:
    """A network whose maps are measured."""

    def __init__(
        self,
        network: Predictor,
        images: LabelledImages,
        columns: Sequence[int],
        measures: Sequence[str],
        methods: Sequence[str],
        regions: Regions | None,
    ) -> None:
        self.network, self.images, self.columns, self.regions = network, images, list(columns), regions
        self.name, self.measures = model_name(network), measures
        self.methods = [EVIDENCE, "random"] if has_evidence(network) else [*methods, "random"]

    def measure(self, kept: Rows, rows: Sequence[int], batch_size: int, workers: int | None, progress: Listener | None) -> None:
        """Add the scores of each image that has none yet."""
        source = self.images.images
        todo = [row for row in rows if f"{self.name}:{row}" not in kept.done]
        stage = f"maps of {self.name}"
        for batch in sweep(self.network, source, todo, batch_size=batch_size, workers=workers, progress=progress, stage=stage):
            good = self._scores(batch.rows, batch.x) if batch.rows else []
            bad = [(row, {"network": self.name, "image": source.names[row], "error": reason}) for row, reason in batch.bad]
            kept.append([(f"{self.name}:{row}", line) for row, line in (*zip(batch.rows, good, strict=True), *bad)])

    def _scores(self, rows: Sequence[int], x: Tensor) -> list[dict[str, Any]]:
        """Of each image of a batch, the scores of each method."""
        with exact(self.network), torch.inference_mode():
            answers = self.network(x).argmax(1)
        truth = torch.tensor([self.columns[int(self.images.shares(row).argmax())] for row in rows])
        regions = [self._region(row) for row in rows]
        lines: list[dict[str, Any]] = [
            {"network": self.name, "image": self.images.images.names[row], "scores": {}} for row in rows
        ]
        drops = (
            [deletion_drops(self.network, image[None], int(answer)) for image, answer in zip(x, answers, strict=True)]
            if "single_deletion" in self.measures
            else []
        )
        for method in self.methods:
            maps = self._maps(method, x, answers, rows)
            shown = maps if (answers == truth).all() else self._maps(method, x, truth, rows)
            for number, line in enumerate(lines):
                scores: dict[str, float] = {}
                if drops:
                    scores["single_deletion"] = spearman(drops[number], parts_of(maps[number]))
                if {"deletion", "insertion"} & set(self.measures):
                    scores |= curve_areas(self.network, x[number : number + 1], maps[number], int(answers[number]))
                if (region := regions[number]) is not None:
                    scores |= on_object(shown[number], region)
                wanted = {name: scores[name] for name in (*self.measures, "object_share") if name in scores}
                line["scores"][method] = {name: _number(value) for name, value in wanted.items()}
        return lines

    def _maps(self, method: str, x: Tensor, targets: Tensor, rows: Sequence[int]) -> Floats:
        """(B, H, W) maps of the targets' logits."""
        if method == EVIDENCE:
            assert has_evidence(self.network)
            return pixel_evidence(self.network, x, targets).sum(1).double().numpy()
        module = cast(nn.Module, self.network)
        square = max(_LEAST_OCCLUDED, min(x.shape[2:]) // _SQUARES)
        words: dict[str, Any] = {"seed": _SEED, "rows": list(rows), "steps": 50, "window": square, "stride": square}
        return attribute(method, module, x, targets, **words).values.double().numpy()

    def _region(self, row: int) -> NDArray[np.bool_] | None:
        """(H, W) which pixels of the network's input are the object's; None where nobody says, or none of it is left."""
        if self.regions is None or not set(ON_OBJECTS) & set(self.measures):
            return None
        name = self.images.images.names[row]
        where = self.regions.get(name) or self.regions.get(name.rsplit("/", 1)[-1])
        if where is None:
            return None
        photo = self.images.images.photo(row)
        region = region_of(where, photo.size, self.network.transform.placement(photo.size))
        return region if region.any() else None


def region_of(where: Path | Box, size: tuple[int, int], placement: Placement) -> NDArray[np.bool_]:
    """(H, W) of a network's input: the pixels whose centres lie in an object.

    Args:
        where: a mask or a box, in pixels of the upright image.
        size: (width, height) of that image.
        placement: where the input lies in it.

    Raises:
        ValueError: a mask has another size.
    """
    whole: NDArray[np.bool_]
    if isinstance(where, Box):
        whole = np.zeros((size[1], size[0]), bool)
        whole[where.slices] = True
    else:
        with Image.open(where) as mask:
            values = np.asarray(mask)
        whole = np.asarray(values.any(2) if values.ndim == 3 else values > 0)
        if whole.shape != (size[1], size[0]):
            raise ValueError(
                f"{where}: a mask of {whole.shape[1]} x {whole.shape[0]} pixels for an image of {size[0]} x {size[1]}"
            )
    rows, columns = (
        np.floor((np.arange(axis.length) + 0.5 + axis.start) * axis.scale).astype(np.int64)
        for axis in (placement.vertical, placement.horizontal)
    )
    inside = ((rows >= 0) & (rows < size[1]))[:, None] & ((columns >= 0) & (columns < size[0]))[None]
    region: NDArray[np.bool_] = whole[np.clip(rows, 0, size[1] - 1)][:, np.clip(columns, 0, size[0] - 1)] & inside
    return region


def grid_boxes(height: int, width: int, count: int) -> list[Box]:
    """`count` x `count` boxes that cover an image, row by row, as alike in size as whole pixels allow."""
    rows, columns = (np.linspace(0, side, count + 1).round().astype(int) for side in (height, width))
    return [Box(int(columns[c]), int(rows[r]), int(columns[c + 1]), int(rows[r + 1])) for r in range(count) for c in range(count)]


def parts_of(values: Floats, count: int = _GRID) -> Floats:
    """(count * count,) sums of an (H, W) map over the boxes of a grid."""
    return np.array([values[box.slices].sum() for box in grid_boxes(values.shape[0], values.shape[1], count)])


def deletion_drops(network: Predictor, x: Tensor, target: int, count: int = _GRID) -> Floats:
    """(count * count,) by how much a logit falls with each part of (1, C, H, W) masked by the mean colour.

    Of a bag of windows only the windows that see the part are computed again (`occlude`): the same numbers as in full.
    """
    boxes = grid_boxes(x.shape[2], x.shape[3], count)
    with exact(network), torch.inference_mode():
        whole = network(x)[0, target]
        if has_evidence(network):
            left = occlude(network, x, boxes, classes=[target])[:, 0]
        else:
            masked = x.repeat(len(boxes), 1, 1, 1)
            for image, box in zip(masked, boxes, strict=True):
                image[(slice(None), *box.slices)] = 0
            left = network(masked)[:, target]
    drops: Floats = (whole - left).double().numpy()
    return drops


def curve_areas(
    network: Predictor, x: Tensor, values: Floats, target: int, count: int = _SQUARES, steps: int = _STEPS
) -> dict[str, float]:
    """`deletion` and `insertion` of one image: areas under the target's probability, by trapezoids.

    Args:
        network: that answers.
        x: (1, C, H, W) prepared image.
        values: (H, W) the map that gives the order.
        target: the class.
        count: squares along an axis.
        steps: in which they are masked or brought back, as many in each.
    """
    boxes = grid_boxes(x.shape[2], x.shape[3], count)
    order = np.argsort(-parts_of(values, count), kind="stable")
    gone, back = x[0].clone(), torch.zeros_like(x[0])
    images = [[gone.clone()], [back.clone()]]
    for group in np.array_split(order, steps):
        for square in group:
            where = (slice(None), *boxes[square].slices)
            gone[where], back[where] = 0, x[0][where]
        for kept, image in zip(images, (gone, back), strict=True):
            kept.append(image.clone())
    with exact(network), torch.inference_mode():
        probability = [network(part).softmax(1)[:, target].double().numpy() for part in map(torch.stack, images)]
    return {name: float((p[1:] + p[:-1]).mean() / 2) for name, p in zip(("deletion", "insertion"), probability, strict=True)}


def on_object(values: Floats, region: NDArray[np.bool_]) -> dict[str, float]:
    """`pointing` and `energy` of an (H, W) map, and the object's share of the image; of tied maxima, the share on the object."""
    highest = values == values.max()
    positive = np.maximum(values, 0)
    energy = positive[region].sum() / positive.sum() if positive.any() else float("nan")
    return {"pointing": float(region[highest].mean()), "energy": float(energy), "object_share": float(region.mean())}


def _number(value: float) -> float | None:
    """As JSON can hold it."""
    return None if np.isnan(value) else round(float(value), 6)


def _flat(scores: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """A row for each image, network and method."""
    for row in scores:
        for method, measures in row.get("scores", {}).items():
            yield {"network": row["network"], "method": method, "image": row["image"], **measures}


def _summary(scores: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[Faithfulness]:
    """Means over the images, and differences to the first network's first method."""
    tables: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for row in _flat(scores):
        key = row.pop("network"), row.pop("method")
        tables.setdefault(key, {})[row.pop("image")] = {name: value for name, value in row.items() if value is not None}
    ordered = sorted(tables.items(), key=lambda pair: names.index(pair[0][0]))  # stable: methods stay in their order
    first = ordered[0][1]
    results = []
    for (network, method), images in ordered:
        for measure in (*MEASURES, "object_share"):
            values = {image: each[measure] for image, each in images.items() if measure in each}
            if not values:
                continue
            both = [image for image in values if measure in first.get(image, {})]
            difference = None
            if images is not first and both and measure != "object_share":
                with suppress(ValueError):
                    difference = mean([values[image] - first[image][measure] for image in both])
            results.append(Faithfulness(network, method, measure, len(values), mean(list(values.values())), difference))
    return results
