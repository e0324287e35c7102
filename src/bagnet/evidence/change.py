"""What an edit of the image changes: recompute the windows that it touches, and nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.transforms import Preprocessing
from ..engine.prepare import Prepared
from ..geometry import Axis, Box, Placement, Span
from ..model import BagNet
from .cover import cover, touched_cells
from .cut import batches, cells_across, cut_for
from .evidence import Evidence
from .explain import ImageLike, exactly, like_weights, take

Mask = Tensor | NDArray[np.bool_]


@overload
def change(
    model: BagNet | Prepared, before: Evidence, image: ImageLike, where: Box | Mask, *, transform: Preprocessing | None = None
) -> Evidence: ...
@overload
def change(
    model: BagNet | Prepared, before: Tensor, image: Tensor, where: Box | Mask, classes: Sequence[int] | None = None
) -> Tensor: ...
def change(
    model: BagNet | Prepared,
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
        check_values(model, before, image, classes)
        return _values(model, before, image, where, classes)
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
    touched = _on_input(expected, _checked(where, height, width))
    with exactly(model):
        x = like_weights(seen.x[None], model)
        old = torch.tensor(before.values, device=x.device)[None]
        check_values(model, old, x, None)
        values = _values(model, old, x, touched, None)[0].cpu().numpy()
    return replace(
        before,
        values=values,
        logits=values.mean((1, 2), dtype=np.float64).astype(values.dtype),
        image=seen.picture,
        source=seen.source,
    )


def check_values(model: BagNet | Prepared, values: Tensor, x: Any, classes: Sequence[int] | None) -> None:
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
    exact = model.exact if isinstance(model, Prepared) else model
    count = model.architecture.num_classes if classes is None else len(exact.rows(classes))
    expected = (1, count, *model.geometry.grid(*x.shape[2:]))
    if tuple(values.shape) != expected:
        raise ValueError(
            f"evidence of shape {tuple(values.shape)} is not that of an image of shape {tuple(x.shape)} for {count} classes, "
            f"which is {expected}"
        )


def check_box(box: Any) -> Box:
    """The box. ValueError: it is none, or not of whole numbers."""
    if not isinstance(box, Box) or not all(isinstance(edge, Integral) for edge in box):
        raise ValueError(f"a box is written bagnet.Box(left, top, right, bottom), in whole pixels, got {box!r}")
    return box


@torch.inference_mode()
def _values(model: BagNet | Prepared, before: Tensor, x: Tensor, where: Box | Mask, classes: Sequence[int] | None) -> Tensor:
    geometry, (height, width) = model.geometry, x.shape[2:]
    rows, columns = geometry.grid(height, width)
    found = _checked(where, height, width)
    after = before.clone()
    if isinstance(found, Box):
        cells = geometry.cells_touching(found, height, width)
        if not cells.area:
            return after
        room = cells_across(geometry, found.height, rows), cells_across(geometry, found.width, columns)
        parts = [(cells, *cut_for(geometry, cells, *room, height, width))]
        touched = None
    else:
        touched = touched_cells(geometry, found.to(x.device))
        parts = cover(geometry, touched, height, width)
    alike: dict[tuple[int, int], list[tuple[Box, Box, Box]]] = defaultdict(list)
    for part in parts:
        alike[part[1].height, part[1].width].append(part)
    for members in alike.values():
        for some in batches(len(members), members[0][1]):
            cuts = torch.cat([x[(..., *cut.slices)] for _, cut, _ in members[some]])
            for (cells, _, inside), values in zip(members[some], model.evidence(cuts, classes), strict=True):
                new, old = values[(..., *inside.slices)].to(after), after[(0, ..., *cells.slices)]
                after[(0, ..., *cells.slices)] = new if touched is None else torch.where(touched[cells.slices], new, old)
    return after


def _checked(where: Any, height: int, width: int) -> Box | Tensor:
    """A box, or a mask (H, W) as a bool tensor."""
    if not isinstance(where, (Tensor, np.ndarray)):
        return check_box(where)
    mask = torch.as_tensor(where)
    if mask.dtype != torch.bool or mask.shape != (height, width):
        raise ValueError(f"a mask must be bool and of shape {(height, width)}, got {mask.dtype} {tuple(mask.shape)}")
    return mask


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
