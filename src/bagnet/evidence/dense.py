"""Maps finer than the decision grid: the same windows, moved by fewer pixels at a time."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.transforms import Preprocessing
from ..engine.classifier import Classifier
from ..engine.inference import exact, like_weights
from ..geometry import Placement, tiles_of
from ..progress import Listener, Progress, duration, unheard
from .dense_map import DenseMap
from .evidence import Evidence

TILE = 18_816  # places computed at a time: a third of a 224 x 224 map, which keeps BagNet-33 well under a gigabyte
TILE_APART = 512  # the same where each window costs a pass of a network: seconds on a processor, and tiles share nothing
WORTH_SAYING = 8  # tiles, from which on it takes a while
ROUNDED = 1e-2  # of the largest logit: how far a tensor rounded to a picture's 8 bits may move the evidence

_log = logging.getLogger(__name__)


@torch.inference_mode()
def dense(
    model: Classifier,
    x: Tensor,
    classes: Sequence[int] | None = None,
    stride: int = 1,
    *,
    padded: bool = True,
    tile: int = TILE,
    progress: Listener = unheard,
) -> DenseMap:
    """The exact logits of all windows `stride` pixels apart.

    Strides become dilations (the "a trous" algorithm), so that no window is computed twice; the official code runs the
    network on every window instead. Works in tiles that overlap by a window, so the size of x is limited only by the map's.

    Args:
        model: in its own precision; prepared ones are faster.
        x: (B, C, H, W) prepared images.
        classes: indices of the wanted classes; all where None, which for many classes makes a large map.
        stride: in pixels; 1 is the finest.
        padded: put zeros around x (the mean colour) so that windows are centred on every stride-th pixel, as the official heat
            map does: (h, w) = (H, W) at stride 1. Without, only windows inside x count. A network with padding of its own
            has no choice: its map at a multiple of its stride is its evidence.
        tile: places computed at a time; less needs less memory. Of windows that share no arithmetic at most 512.
        progress: told after every tile.

    Raises:
        ValueError: x has the wrong shape or is smaller than one window, stride < 1, or padded=False for a padded network.
        IndexError: a class index is out of range.
    """
    grid = model.geometry
    if stride < 1 or tile < 1:
        raise ValueError(f"stride and tile must be at least 1, got {stride} and {tile}")
    if grid.origin and not padded:
        raise ValueError("this network pads by itself: there is no map without padding")
    finer_model = model.at_stride(stride)
    geometry = finer_model.geometry
    margin = 0 if grid.origin or not padded else (grid.size - 1) // 2
    if margin:
        # An even window has no middle pixel; the odd pixel of padding goes to the end.
        x = F.pad(x, (margin, grid.size - 1 - margin) * 2)
    model.check(x)
    count = model.num_classes if classes is None else len(classes)
    values = x.new_empty((x.shape[0], count, *geometry.grid(x.shape[2], x.shape[3])), device="cpu")
    tiles = list(tiles_of(geometry, x.shape[2], x.shape[3], min(tile, TILE_APART) if model.windows_apart else tile))
    start = time.perf_counter()
    for done, (cells, crop, inside) in enumerate(tiles, 1):
        part = finer_model.evidence(x[(..., *crop.slices)].contiguous(), classes)
        values[(..., *cells.slices)] = part[(..., *inside.slices)].to(values.device, values.dtype)
        if done == 1 and len(tiles) >= WORTH_SAYING:
            expected = duration(len(tiles) * (time.perf_counter() - start))
            _log.info("a map of %s windows, %d px apart; about %s", f"{values[0, 0].numel():,}", geometry.stride, expected)
        progress(Progress("computing the map", done, len(tiles), "tiles"))
    step = stride // geometry.stride
    return DenseMap(values[..., ::step, ::step].contiguous(), grid.origin - margin, stride)


def finer(
    model: Classifier,
    evidence: Evidence,
    transform: Preprocessing,
    classes: Sequence[int],
    stride: int = 1,
    padded: bool = False,
    *,
    progress: Listener = unheard,
) -> DenseMap:
    """The dense map of the image that some evidence was computed from, by the same model and preprocessing.

    Evidence of a prepared tensor has that tensor's picture, of 8 bits: the map is the tensor's as far as the picture is.

    Args:
        model: as for `dense`.
        evidence: has the image.
        transform: that prepared it.
        classes: indices of the wanted classes.
        stride: in pixels, at most the evidence's own.
        padded: as for `dense`; a network with padding of its own always pads.
        progress: as for `dense`.

    Raises:
        ValueError: as `dense`; the map would be coarser than the evidence; the evidence was prepared by another transform; or
            it is of a tensor that no picture can hold, for which there is `dense`.
        IndexError: as `dense`.
    """
    if stride > model.geometry.stride:
        raise ValueError(f"a stride of {stride} is coarser than the evidence, whose windows are {model.geometry.stride} px apart")
    of_tensor = evidence.placement == Placement.identity(*evidence.placement.input_size)
    if of_tensor:
        transform = replace(transform, resize=None, crop=None)
    elif transform.placement(evidence.image.size, evidence.placement.orientation) != evidence.placement:
        raise ValueError("the evidence was prepared by another transform, which saw the image at another size")
    with exact(model):
        x = like_weights(transform(evidence.image)[None], model)
        if of_tensor:
            _check_rounding(model, evidence, x, classes)
        return dense(model, x, classes, stride, padded=padded or model.geometry.origin < 0, progress=progress)


@torch.inference_mode()
def _check_rounding(model: Classifier, evidence: Evidence, x: Tensor, classes: Sequence[int]) -> None:
    """See that x is still what the evidence was computed from."""
    values = model.evidence(x, classes)[0]
    kept = evidence.indices_among(model.classes)
    expected = torch.tensor(evidence.values[[kept.index(index) for index in classes]]).to(values)
    if not float((values - expected).abs().max()) <= ROUNDED * float(expected.abs().max()):
        raise ValueError(
            "the evidence is of a tensor that a picture cannot hold (beyond black and white, or prepared otherwise): "
            "give the tensor itself to dense"
        )
