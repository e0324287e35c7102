"""An attack that tries to break certificates: patches that are optimised, at the places where they would cost most.

Projected gradient steps (Madry et al. 2018) on the pixels of a photograph inside a patch, through resize and crop, with random
restarts. What is optimised is the certified classifier's own lead, of margin the mean of bounded evidence, of voting the means
outside every mask, over the strongest rival at each step, or over one that is chosen; what counts is what that classifier answers
to the patched photograph, its pixels rounded to what a file can hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, pad

from ..bag import BagOfFeatures
from ..data.decode import ImageLike, decode
from ..data.transforms import Preprocessing
from ..engine.inference import exact
from ..evidence import Evidence
from ..evidence.explain import explain_batch, take
from ..geometry import Box, Tile, tile_touching
from .bounded import HIGHEST, SHIFT, SLOPE
from .certificate import Certificate, Grid

Pixels = NDArray[np.uint8]
_STEP = 0.1  # of the range of pixels, at the first step; it falls to nothing
_ENOUGH = 1.0  # logits that a rival leads by under a mask, beyond which more is no use there


@dataclass(frozen=True, slots=True)
class Attacked:
    """What became of one image.

    Args:
        broken: the certified classifier answered something else.
        tried: patches that were optimised to their end.
        place: of the one that broke it, in pixels of the certificate's frame; None where none did.
    """

    broken: bool
    tried: int
    place: Box | None = None


class _View(NamedTuple):
    """How one model sees the image: the image goes through `transform`."""

    model: BagOfFeatures
    transform: Preprocessing


def attack(
    models: BagOfFeatures | Sequence[BagOfFeatures],
    image: ImageLike,
    certificate: Certificate,
    certify_again: Callable[[Sequence[Evidence]], Certificate],
    *,
    places: int = 2,
    restarts: int = 1,
    steps: int = 20,
    seed: int = 0,
) -> Attacked:
    """Try to change the answer that a certificate is about.

    Args:
        models: with gradients, as many as vote together; their own modules, not prepared ones.
        image: that it is about.
        certificate: of it.
        certify_again: (evidence of each model) -> certificate by the same claim, whose label is the classifier's answer.
        places: where the patch is put: on the windows where it costs most, then at random.
        restarts: for each place, from random pixels: the first against whichever rival is strongest at each step, the next ones
            for the classes with the largest mean logits, in that order.
        steps: of the gradient.
        seed: of places and pixels.

    Raises:
        ValueError: there are not as many models as the certificate is of, or one does not take photographs.
    """
    models = [models] if isinstance(models, BagOfFeatures) else list(models)
    if len(models) != 1 + len(certificate.beside):
        raise ValueError(f"the certificate is of {1 + len(certificate.beside)} models, got {len(models)}")
    if any(len(model.transform.mean) != 3 for model in models):
        raise ValueError("an attack is on photographs: a model takes other than three channels")
    pixels, views = _seen(models, image, certificate.frame)
    random = np.random.default_rng(seed)
    tried = 0
    for box, rival in product(_places(certificate, places, random), _rivals(certificate, restarts)):
        tried += 1
        patched = _optimised(views, pixels, certificate, box, rival, steps, random)
        maps = [explain_batch(model, [take(model, patched, transform)])[0] for model, transform in views]
        if certify_again(maps).label != certificate.label:
            return Attacked(True, tried, box)
    return Attacked(False, tried)


def _seen(models: Sequence[BagOfFeatures], image: ImageLike, frame: str) -> tuple[Pixels, list[_View]]:
    """(H, W, 3) uint8 pixels of the certificate's frame, and how each model sees them."""
    photo = decode(image)
    if frame == "photo":
        return np.asarray(models[0].transform.shown(photo)), [_View(model, model.transform) for model in models]
    (model,) = models  # pixels of an input are pixels of one model
    picture = model.transform.picture(model.transform(photo))
    return np.asarray(picture), [_View(model, replace(model.transform, resize=None, crop=None))]


def _rivals(certificate: Certificate, count: int) -> list[int | None]:
    """None for whichever is strongest, then the classes of the largest mean logits but for the label."""
    order = np.argsort(-certificate.values.mean((1, 2), dtype=np.float64), kind="stable")
    return [None, *(int(index) for index in order if index != certificate.label)][:count]


def _lead(certificate: Certificate, rival: int | None) -> Callable[[Sequence[Tensor]], Tensor]:
    """(K, h, w) evidence of each model -> by how much the label leads for the certified classifier, which is to fall below 0."""
    label = certificate.label
    rest = [index for index in range(len(certificate.values)) if index != label] if rival is None else [rival]

    def lead(maps: Sequence[Tensor]) -> Tensor:
        means = _means(certificate, maps)
        return (means[:, label] - means[:, rest].amax(1)).clamp(min=-_ENOUGH).mean()

    return lead


def _means(certificate: Certificate, maps: Sequence[Tensor]) -> Tensor:
    """(M, K): what the certified classifier compares: of voting outside each mask, of margin over all windows."""
    if certificate.method == "voting":
        grids: list[Certificate | Grid] = [certificate, *certificate.beside]
        kept = [
            torch.stack([_outside(*run, values) for run in product(grid.rows, grid.columns)])
            for grid, values in zip(grids, maps, strict=True)
        ]
        sums = [torch.einsum("mhw,khw->mk", left, values) for left, values in zip(kept, maps, strict=True)]
        counts = [left.sum((1, 2)) for left in kept]
        return torch.stack(sums).sum(0) / torch.stack(counts).sum(0)[:, None]
    (values,) = maps
    bounded = {
        "probabilities": lambda: values.softmax(0),
        "clipped": lambda: values.clamp(0.0, HIGHEST),
        "tanh": lambda: torch.tanh(SLOPE * values + SHIFT),
    }
    return bounded[certificate.aggregation]().mean((1, 2))[None]


def _outside(rows: Sequence[int], columns: Sequence[int], values: Tensor) -> Tensor:
    """(h, w) 1 for the windows outside a mask, else 0."""
    weights = torch.ones_like(values[0])
    weights[slice(*rows), slice(*columns)] = 0
    return weights


def _places(certificate: Certificate, count: int, random: np.random.Generator) -> list[Box]:
    """Boxes of the frame where a patch goes: about the worst windows first, then at random."""
    (height, width), region = certificate.size, certificate.region
    worst = certificate.worst_place if certificate.frame == "photo" else certificate.geometry.field(certificate.worst)
    corners = [((worst.left + worst.right - width) // 2, (worst.top + worst.bottom - height) // 2)]
    for _ in range(count - 1):
        x, y = random.integers(region.width - width + 1), random.integers(region.height - height + 1)
        corners.append((region.left + int(x), region.top + int(y)))
    return [_within(Box(x, y, x + width, y + height), region) for x, y in corners]


def _within(box: Box, region: Box) -> Box:
    """A box moved into a region that has room for it."""
    left = min(max(region.left, box.left), region.right - box.width)
    top = min(max(region.top, box.top), region.bottom - box.height)
    return Box(left, top, left + box.width, top + box.height)


def _optimised(
    views: Sequence[_View],
    pixels: Pixels,
    certificate: Certificate,
    box: Box,
    rival: int | None,
    steps: int,
    random: np.random.Generator,
) -> Image.Image:
    """The image with a patch that lowers the lead as far as steps of the gradient bring it."""
    generator = torch.Generator().manual_seed(int(random.integers(2**31)))
    clean = torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255
    patch = torch.rand((3, box.height, box.width), generator=generator)
    grids = [torch.tensor(values) for values in (certificate.values, *(grid.values for grid in certificate.beside))]
    tiles = [_tile(view, box, pixels.shape[:2]) for view in views]
    lead = _lead(certificate, rival)
    with torch.inference_mode(False), torch.enable_grad():
        for step in range(steps if any(tiles) else 0):
            patch = patch.detach().requires_grad_()
            patched = _with_patch(clean, box, patch)
            maps = [_changed(*parts, patched) for parts in zip(views, grids, tiles, strict=True)]
            (gradient,) = torch.autograd.grad(lead(maps), patch)
            patch = torch.clamp(patch - _STEP * (1 - step / steps) * gradient.sign(), 0, 1)
    whole = _with_patch(clean, box, patch.detach())
    return Image.fromarray((whole * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())


def _tile(view: _View, box: Box, size: Sequence[int]) -> Tile | None:
    """The windows of a model that a patch touches; None where none does."""
    placement = view.transform.placement((size[1], size[0]))
    return tile_touching(view.model.geometry, placement.influenced_box(box), *placement.input_size)


def _changed(view: _View, values: Tensor, tile: Tile | None, image: Tensor) -> Tensor:
    """(K, h, w) evidence after windows of a tile were computed anew, with gradients, which `evidence.edits.change` has not."""
    if tile is None:
        return values
    x = _prepared(view.transform, image)
    after = values.clone()
    with exact(view.model), torch.inference_mode(False), torch.enable_grad():
        part = view.model.evidence(x[(None, slice(None), *tile.crop.slices)])
    after[(slice(None), *tile.cells.slices)] = part[(0, slice(None), *tile.inside.slices)]
    return after


def _prepared(transform: Preprocessing, image: Tensor) -> Tensor:
    """What `transform` makes of (3, H, W) pixels between 0 and 1, with gradients; Pillow rounds and clips on the way."""
    placement = transform.placement((image.shape[2], image.shape[1]))
    across, down = placement.horizontal, placement.vertical
    if (down.resized, across.resized) != image.shape[1:]:
        mode = "bilinear" if transform.interpolation == "bilinear" else "bicubic"
        image = interpolate(image[None], (down.resized, across.resized), mode=mode, antialias=True)[0].clamp(0, 1)
    edges = [(axis.start, axis.start + axis.length - axis.resized) for axis in (across, down)]
    image = pad(image, [edge for start, beyond in edges for edge in (-start, beyond)])  # negative: cropped
    mean, std = (torch.tensor(values)[:, None, None] for values in (transform.mean, transform.std))
    return (image - mean) / std


def _with_patch(image: Tensor, box: Box, patch: Tensor) -> Tensor:
    changed = image.clone()
    changed[(slice(None), *box.slices)] = patch
    return changed
