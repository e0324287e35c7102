"""What an edit of the image changes: recompute the windows that it touches, and nothing else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ..engine.prepare import Prepared
from ..geometry import Box
from ..model import BagNet

BATCH_PIXELS = 1 << 18  # of cut-outs run together: enough to keep the cores busy, little enough to stay in memory


@torch.inference_mode()
def changed(
    model: BagNet | Prepared, values: Tensor, edited: Tensor, boxes: Box | Iterable[Box], classes: Sequence[int] | None = None
) -> Tensor:
    """The evidence of an edited image, from that of the image before.

    Args:
        model: that computed `values`.
        values: (1, K, h, w) evidence before the edit.
        edited: (1, C, H, W) prepared image after the edit.
        boxes: of the pixels that may differ, in pixels of the network's input; what lies outside is taken to be as it was.
            `Placement.influenced_box` turns a box of the photograph into one of these.
        classes: the K classes of `values`; all where None.

    Returns:
        (1, K, h, w): equal to `model.evidence(edited, classes)`.

    Raises:
        ValueError: the shapes do not fit together.
    """
    model.check(edited)
    height, width = edited.shape[2:]
    grid = model.geometry.grid(height, width)
    if edited.shape[0] != 1 or tuple(values.shape[2:]) != grid or values.shape[0] != 1:
        raise ValueError(f"evidence of shape {tuple(values.shape)} is not that of an image of shape {tuple(edited.shape)}")
    after = values.clone()
    for box in [boxes] if isinstance(boxes, Box) else boxes:
        cells = model.geometry.cells_touching(box, height, width)
        if cells.area:
            cut, inside = model.geometry.cut_out(cells, height, width)
            part = model.evidence(edited[(..., *cut.slices)], classes)
            after[(..., *cells.slices)] = part[(..., *inside.slices)].to(after)
    return after


def boxes_of(mask: Tensor) -> list[Box]:
    """The bounding boxes of the connected parts of a mask (H, W) of changed pixels, for `changed`."""
    from scipy.ndimage import find_objects, label

    parts, _ = label(mask.cpu().numpy() != 0)
    return [Box(across.start, down.start, across.stop, down.stop) for down, across in find_objects(parts)]


@torch.inference_mode()
def occlude(
    model: BagNet | Prepared,
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
        fill: what masked pixels become, normalised: a number or (C,) of them. Zero is the mean colour.
        classes: indices of the wanted classes; all where None.
        values: (1, K, h, w) evidence of x for these classes, where it is known already.

    Returns:
        (N, K) logits: equal to those of N full passes.

    Raises:
        ValueError: x has the wrong shape or is smaller than one window.
    """
    model.check(x)
    geometry, (height, width) = model.geometry, x.shape[2:]
    rows, columns = geometry.grid(height, width)
    values = model.evidence(x, classes) if values is None else values
    wide = torch.float64  # sums over many cells, of which few change
    whole = values[0].to(wide).sum((1, 2))
    sums = whole.repeat(len(boxes), 1)
    colour = torch.as_tensor(fill, dtype=x.dtype, device=x.device).reshape(-1, 1, 1)

    alike: dict[tuple[int, ...], list[tuple[int, Box, Box, Box]]] = defaultdict(list)
    for number, box in enumerate(boxes):
        cells = geometry.cells_touching(box, height, width)
        if cells.area:
            cut, inside = geometry.cut_out(cells, height, width)
            alike[(cut.height, cut.width, *inside)].append((number, cells, cut, inside))
    for (high, across, *_), members in alike.items():
        most = max(1, BATCH_PIXELS // (high * across))
        for start in range(0, len(members), most):
            batch = members[start : start + most]
            cuts = torch.cat([x[(..., *cut.slices)] for _, _, cut, _ in batch])
            for (number, _, cut, _), image in zip(batch, cuts, strict=True):
                masked = boxes[number].intersect(cut).shift(-cut.left, -cut.top)
                image[(..., *masked.slices)] = colour
            after = model.evidence(cuts, classes)[(..., *batch[0][3].slices)].to(wide).sum((2, 3))
            for (number, cells, _, _), new in zip(batch, after, strict=True):
                sums[number] += new - values[(0, ..., *cells.slices)].to(wide).sum((1, 2))
    return (sums / (rows * columns)).to(values.dtype)
