"""What an edit of the image changes: recompute the windows that it touches, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.decode import ImageLike
from ..data.names import check_classes
from ..data.transforms import Preprocessing
from ..engine.classifier import Classifier
from ..engine.inference import exact, like_weights
from ..geometry import Axis, Box, Placement, Span, Tile, batches_of, cell_tiles, covering_tiles, tile_touching, touched_cells
from .evidence import Evidence
from .explain import take

Mask = Tensor | NDArray[np.bool_]


@overload
def change(
    model: Classifier, before: Evidence, image: ImageLike, where: Box | Mask, *, transform: Preprocessing | None = None
) -> Evidence: ...
@overload
def change(
    model: Classifier, before: Tensor, image: Tensor, where: Box | Mask, classes: Sequence[int] | None = None
) -> Tensor: ...
def change(
    model: Classifier,
    before: Evidence | Tensor,
    image: Any,
    where: Box | Mask,
    classes: Sequence[int] | None = None,
    *,
    transform: Preprocessing | None = None,
) -> Evidence | Tensor:
    """The evidence of an edited image, from that of the image before: only what the edit touches is computed.

    Args:
        model: that computed `before`.
        before: the image's Evidence, or (1, K, h, w) of its values.
        image: after the edit. With Evidence, anything that `explain` takes, of the same size; with values, the prepared
            (1, C, H, W) tensor.
        where: the pixels that may differ, as a box or as a (H, W) mask of bool; what lies outside is taken to be as it was.
            With Evidence, in pixels of its upright picture (which are the tensor's own if it was of a prepared tensor); with
            values, in pixels of the network's input.
        classes: with values, the K classes they are of; all where None.
        transform: with Evidence, the preprocessing it was made with, where that was not the card's.

    Returns:
        What `before` is: Evidence equal to `explain(model, image)`, its logits the means of its maps, or (1, K, h, w) equal to
        `model.evidence(image, classes)`; what is not touched is the very numbers of `before`.

    Raises:
        ValueError: the shapes do not fit together, `where` is neither a Box nor a mask of the image's size, or classes are
            named beside Evidence.
        FileNotFoundError, BadImage: the image cannot be read.
        IndexError: a class index is out of range.
    """
    if isinstance(before, Tensor):
        _check_values(model, before, image, classes)
        return _changed_values(model, before, image, where, classes)
    if classes is not None:
        raise ValueError("Evidence is of all classes: name some only with values, as in change(model, values, x, box, [7])")
    seen = take(model, image, transform or model.transform)
    expected = before.placement
    if (seen.placement.horizontal, seen.placement.vertical) != (expected.horizontal, expected.vertical):
        raise ValueError(
            f"the image is seen as {_described(seen.placement)}, that of the evidence as {_described(expected)}: an edited image "
            "has the size of the first one and is prepared as it was"
        )
    width, height = expected.image_size
    touched = _on_input(expected, _checked_region(where, height, width))
    with exact(model):
        x = like_weights(seen.x[None], model)
        old = torch.tensor(before.values, device=x.device)[None]
        _check_values(model, old, x, None)
        values = _changed_values(model, old, x, touched, None)[0].cpu().numpy()
    return replace(
        before,
        values=values,
        logits=values.mean((1, 2), dtype=np.float64).astype(values.dtype),
        image=seen.picture,
        source=seen.source,
    )


@torch.inference_mode()
def occlude(
    model: Classifier,
    x: Tensor,
    boxes: Sequence[Box],
    fill: float | Tensor = 0.0,
    classes: Sequence[int] | None = None,
    values: Tensor | None = None,
) -> Tensor:
    """The logits of one image with each of many boxes masked, one at a time: an occlusion sweep.

    Args:
        model: a BagNet or a prepared one.
        x: (1, C, H, W) prepared image.
        boxes: N of them, in pixels of the network's input; parts outside the image mask nothing.
        fill: what masked pixels become, normalised: a number, (C,) of them, or (N, C), a colour for each box. Zero is the mean
            colour.
        classes: indices of the K wanted classes; all where None.
        values: (1, K, h, w) evidence of x for these classes, where it is known already.

    Returns:
        (N, K) logits: equal to those of N full passes.

    Raises:
        ValueError: x has the wrong shape, is not one image or is smaller than one window; `values` are not its evidence for
            these classes; something in `boxes` is no Box; or `fill` has another number of channels or boxes.
        IndexError: a class index is out of range.
    """
    model.check(x)
    if values is None and len(x) == 1:
        values = model.evidence(x, classes)
    before = x.new_empty(0) if values is None else values
    _check_values(model, before, x, classes)
    if isinstance(boxes, Box):
        raise ValueError(f"many boxes are a list of them, got one: write [{boxes}]")
    colours = _fill_colours(fill, x, len(boxes))
    height, width = x.shape[2:]
    sums = before[0].double().sum((1, 2)).repeat(len(boxes), 1)  # in float64: sums over many cells, of which few change

    tiles: list[Tile] = []
    numbers: list[int] = []
    for number, box in enumerate(map(_check_box, boxes)):
        touching = _tiles_touching(model, box, height, width)
        tiles += touching
        numbers += [number] * len(touching)
    for batch in batches_of(tiles):
        crops = torch.cat([x[(..., *tiles[index].crop.slices)] for index in batch])
        for index, crop in zip(batch, crops, strict=True):
            left, top = tiles[index].crop[:2]
            masked = boxes[numbers[index]].intersect(tiles[index].crop).shift(-left, -top)
            crop[(..., *masked.slices)] = colours[numbers[index]]
        after = model.evidence(crops, classes)
        for index, new in zip(batch, after, strict=True):
            old = before[(0, ..., *tiles[index].cells.slices)].double().sum((1, 2))
            sums[numbers[index]] += new[(..., *tiles[index].inside.slices)].double().sum((1, 2)) - old
    return (sums / before[0, 0].numel()).to(before.dtype)


@torch.inference_mode()
def _changed_values(model: Classifier, before: Tensor, x: Tensor, where: Box | Mask, classes: Sequence[int] | None) -> Tensor:
    height, width = x.shape[2:]
    region = _checked_region(where, height, width)
    after = before.clone()
    touched = None
    if isinstance(region, Box):
        tiles = _tiles_touching(model, region, height, width)
    else:
        cells = touched_cells(model.geometry, region.cpu().numpy())
        tiles = (cell_tiles if model.windows_apart else covering_tiles)(model.geometry, cells, height, width)
        touched = torch.from_numpy(cells).to(after.device)
    for tile, values in _evidence_of(model, x, tiles, classes):
        new, old = values.to(after), after[(0, ..., *tile.cells.slices)]
        after[(0, ..., *tile.cells.slices)] = new if touched is None else torch.where(touched[tile.cells.slices], new, old)
    return after


def _tiles_touching(model: Classifier, box: Box, height: int, width: int) -> list[Tile]:
    """The tiles that compute the cells whose windows hold a pixel of a box; none where no window does."""
    if model.windows_apart:
        return cell_tiles(model.geometry, model.geometry.cells_touching(box, height, width), height, width)
    tile = tile_touching(model.geometry, box, height, width)
    return [] if tile is None else [tile]


def _evidence_of(
    model: Classifier, x: Tensor, tiles: Sequence[Tile], classes: Sequence[int] | None
) -> Iterator[tuple[Tile, Tensor]]:
    """(tile, (K, rows, columns) evidence of its cells) of one image, for each tile."""
    for batch in batches_of(tiles):
        crops = torch.cat([x[(..., *tiles[index].crop.slices)] for index in batch])
        for index, values in zip(batch, model.evidence(crops, classes), strict=True):
            yield tiles[index], values[(..., *tiles[index].inside.slices)]


def _check_values(model: Classifier, values: Tensor, x: Any, classes: Sequence[int] | None) -> None:
    """See that values are the evidence, in shape, of one prepared image for these classes.

    Raises:
        ValueError: they are not; the message has both shapes.
        IndexError: a class index is out of range.
    """
    if not isinstance(x, Tensor):
        raise ValueError(
            f"the image must be a prepared (1, C, H, W) tensor, as the evidence is a tensor too, got {type(x).__name__}"
        )
    model.check(x)
    if len(x) != 1:
        raise ValueError(f"one image at a time, of shape (1, C, H, W), got a batch of shape {tuple(x.shape)}")
    count = model.num_classes if classes is None else len(check_classes(classes, model.num_classes))
    expected = (1, count, *model.geometry.grid(*x.shape[2:]))
    if tuple(values.shape) != expected:
        raise ValueError(
            f"evidence of shape {tuple(values.shape)} is not that of an image of shape {tuple(x.shape)} for {count} classes, "
            f"which is {expected}"
        )


def _check_box(box: Any) -> Box:
    """The box. ValueError: it is none, or not of whole numbers."""
    if not isinstance(box, Box) or not all(isinstance(edge, Integral) for edge in box):
        raise ValueError(f"a box is written bagnet.Box(left, top, right, bottom), in whole pixels, got {box!r}")
    return box


def _checked_region(where: Any, height: int, width: int) -> Box | Tensor:
    """A box, or a mask (H, W) as a bool tensor."""
    if not isinstance(where, (Tensor, np.ndarray)):
        return _check_box(where)
    mask = torch.as_tensor(where)
    if mask.dtype != torch.bool or mask.shape != (height, width):
        raise ValueError(f"a mask must be bool and of shape {(height, width)}, got {mask.dtype} {tuple(mask.shape)}")
    return mask


def _fill_colours(fill: float | Tensor, x: Tensor, boxes: int) -> Tensor:
    """(N, C, 1, 1), what each box's pixels become."""
    channels = x.shape[1]
    colour = torch.as_tensor(fill, dtype=x.dtype, device=x.device)
    if colour.shape not in ((), (1,), (channels,), (boxes, channels)):
        raise ValueError(
            f"fill must be a number, one for each of {channels} channels, or that for each of {boxes} boxes, got shape "
            f"{tuple(colour.shape)}"
        )
    return colour.expand(boxes, channels)[..., None, None]


def _on_input(placement: Placement, where: Box | Tensor) -> Box | Tensor:
    """Pixels of the picture -> the pixels of the network's input that depend on them."""
    if isinstance(where, Box):
        return placement.influenced_box(where)
    rows = _influenced(placement.vertical, where.cpu().numpy())
    return torch.from_numpy(_influenced(placement.horizontal, rows.T).T.copy())


def _influenced(axis: Axis, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(source, n) -> (length, n)"""
    spans = [axis.influence(Span(pixel, pixel + 1)) for pixel in range(axis.length)]
    return np.stack([mask[span.start : span.stop].any(0) for span in spans])


def _described(placement: Placement) -> str:
    (width, height), (rows, columns) = placement.image_size, placement.input_size
    return f"{width} x {height} pixels (width x height), of which the network sees {columns} x {rows}"
