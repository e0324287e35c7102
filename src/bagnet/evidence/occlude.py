"""An occlusion sweep: what the logits would be with each of many boxes masked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from ..engine.prepare import Prepared
from ..geometry import Box
from ..model import BagNet
from .change import check_box, check_values
from .cut import batches, cells_across, cut_for


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
    check_values(model, before, x, classes)
    if isinstance(boxes, Box):
        raise ValueError(f"many boxes are a list of them, got one: write [{boxes}]")
    colour = torch.as_tensor(fill, dtype=x.dtype, device=x.device)
    if colour.shape not in ((), (1,), (x.shape[1],), (len(boxes), x.shape[1])):
        raise ValueError(
            f"fill must be a number, one for each of {x.shape[1]} channels, or that for each of {len(boxes)} boxes, got shape "
            f"{tuple(colour.shape)}"
        )
    colours = colour.expand(len(boxes), x.shape[1])[..., None, None]
    geometry, (height, width) = model.geometry, x.shape[2:]
    rows, columns = geometry.grid(height, width)
    wide = torch.float64  # sums over many cells, of which few change
    sums = before[0].to(wide).sum((1, 2)).repeat(len(boxes), 1)

    alike: dict[tuple[int, int], list[tuple[int, Box, Box, Box]]] = defaultdict(list)
    for number, box in enumerate(map(check_box, boxes)):
        cells = geometry.cells_touching(box, height, width)
        if cells.area:
            room = cells_across(geometry, box.height, rows), cells_across(geometry, box.width, columns)
            cut, inside = cut_for(geometry, cells, *room, height, width)
            alike[cut.height, cut.width].append((number, cells, cut, inside))
    for members in alike.values():
        for some in batches(len(members), members[0][2]):
            cuts = torch.cat([x[(..., *cut.slices)] for _, _, cut, _ in members[some]])
            for (number, _, cut, _), image in zip(members[some], cuts, strict=True):
                masked = boxes[number].intersect(cut).shift(-cut.left, -cut.top)
                image[(..., *masked.slices)] = colours[number]
            after = model.evidence(cuts, classes)
            for (number, cells, _, inside), new in zip(members[some], after, strict=True):
                old = before[(0, ..., *cells.slices)].to(wide).sum((1, 2))
                sums[number] += new[(..., *inside.slices)].to(wide).sum((1, 2)) - old
    return (sums / (rows * columns)).to(before.dtype)
