"""An attack that tries to break certificates: patches that are optimised, at the places where they would cost most.

Projected gradient steps (Madry et al. 2018) on the pixels of the network's input inside a patch, with random restarts. What is
optimised is the certified classifier's own lead, of margin the mean of bounded evidence, of voting the means outside every mask,
over the strongest rival at each step, or over one that is chosen; what counts is what that classifier answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from ..bag import BagOfFeatures
from ..engine.inference import exact
from ..evidence import Evidence
from ..evidence.explain import Seen, explain_batch
from ..geometry import Box, Tile, tile_touching
from .bounded import HIGHEST, SHIFT, SLOPE
from .certificate import Certificate

_STEP = 0.1  # of the range of pixels, at the first step; it falls to nothing
_ENOUGH = 1.0  # logits that a rival leads by under a mask, beyond which more is no use there


@dataclass(frozen=True, slots=True)
class Attacked:
    """What became of one image.

    Args:
        broken: the certified classifier answered something else.
        tried: patches that were optimised to their end.
        place: of the one that broke it, in pixels of the input; None where none did.
    """

    broken: bool
    tried: int
    place: Box | None = None


def attack(
    model: BagOfFeatures,
    seen: Seen,
    certificate: Certificate,
    certify_again: Callable[[Evidence], Certificate],
    *,
    places: int = 2,
    restarts: int = 1,
    steps: int = 20,
    seed: int = 0,
) -> Attacked:
    """Try to change the answer that a certificate is about.

    Args:
        model: with gradients; its own modules, not a prepared one.
        seen: the image, from `take`.
        certificate: of it.
        certify_again: (evidence) -> certificate by the same claim, whose label is the classifier's answer.
        places: where the patch is put: on the windows where it costs most, then at random.
        restarts: for each place, from random pixels: the first against whichever rival is strongest at each step, the next ones
            for the classes with the largest mean logits, in that order.
        steps: of the gradient.
        seed: of places and pixels.

    Raises:
        ValueError: the certificate is of several models.
    """
    if certificate.beside:
        raise ValueError("an attack is on one model: the certificate is of several")
    random = np.random.default_rng(seed)
    boxes = _places(certificate, seen.x.shape[1:], places, random)
    tried = 0
    for box, rival in product(boxes, _rivals(certificate, restarts)):
        tried += 1
        x = _optimised(model, seen.x, certificate, box, rival, steps, random)
        (evidence,) = explain_batch(model, [seen._replace(x=x)])
        if certify_again(evidence).label != certificate.label:
            return Attacked(True, tried, box)
    return Attacked(False, tried)


def _rivals(certificate: Certificate, count: int) -> list[int | None]:
    """None for whichever is strongest, then the classes of the largest mean logits but for the label."""
    order = np.argsort(-certificate.values.mean((1, 2), dtype=np.float64), kind="stable")
    return [None, *(int(index) for index in order if index != certificate.label)][:count]


def _lead(certificate: Certificate, rival: int | None) -> Callable[[Tensor], Tensor]:
    """(K, h, w) evidence -> by how much the label leads for the certified classifier, which is to fall below 0."""
    label = certificate.label
    rest = [index for index in range(len(certificate.values)) if index != label] if rival is None else [rival]

    def lead(values: Tensor) -> Tensor:
        means = _means(certificate, values)
        return (means[:, label] - means[:, rest].amax(1)).clamp(min=-_ENOUGH).mean()

    return lead


def _means(certificate: Certificate, values: Tensor) -> Tensor:
    """(M, K): what the certified classifier compares: of voting outside each mask, of margin over all windows."""
    if certificate.method == "voting":
        weights = torch.stack([_outside(*run, values) for run in product(certificate.rows, certificate.columns)])
        return torch.einsum("mhw,khw->mk", weights, values)
    bounded = {
        "probabilities": lambda: values.softmax(0),
        "clipped": lambda: values.clamp(0.0, HIGHEST),
        "tanh": lambda: torch.tanh(SLOPE * values + SHIFT),
    }
    return bounded[certificate.aggregation]().mean((1, 2))[None]


def _outside(rows: Sequence[int], columns: Sequence[int], values: Tensor) -> Tensor:
    """(h, w) weights of the mean over the windows outside a mask."""
    weights = torch.ones_like(values[0])
    weights[slice(*rows), slice(*columns)] = 0
    return weights / weights.sum()


def _places(certificate: Certificate, size: Sequence[int], count: int, random: np.random.Generator) -> list[Box]:
    """Boxes of the input that a patch of the claim can change: about the worst cells first."""
    height, width = certificate.size
    if certificate.frame == "photo":  # all that such a patch can change without a doubt: the resize filter's reach left out
        height = max(1, int(height / certificate.placement.vertical.scale))
        width = max(1, int(width / certificate.placement.horizontal.scale))
    field = certificate.geometry.field(certificate.worst)
    middle = (field.left + field.right - width) // 2, (field.top + field.bottom - height) // 2
    corners = [
        middle,
        *((int(random.integers(size[1] - width + 1)), int(random.integers(size[0] - height + 1))) for _ in range(count)),
    ]
    boxes = []
    for x, y in corners[:count]:
        left, top = min(max(0, x), size[1] - width), min(max(0, y), size[0] - height)
        boxes.append(Box(left, top, left + width, top + height))
    return boxes


def _optimised(
    model: BagOfFeatures,
    x: Tensor,
    certificate: Certificate,
    box: Box,
    rival: int | None,
    steps: int,
    random: np.random.Generator,
) -> Tensor:
    """The input with a patch that lowers the lead as far as steps of the gradient bring it."""
    generator = torch.Generator().manual_seed(int(random.integers(2**31)))
    mean, std = (torch.tensor(values)[:, None, None] for values in (model.transform.mean, model.transform.std))
    low, high = (0 - mean) / std, (1 - mean) / std
    patch = low + (high - low) * torch.rand((len(x), box.height, box.width), generator=generator)
    lead, tile = _lead(certificate, rival), tile_touching(model.geometry, box, *x.shape[1:])
    if tile is None:
        return x  # no window sees it
    with exact(model), torch.inference_mode(False), torch.enable_grad():
        clean, values = x.detach().clone(), torch.tensor(certificate.values)
        for step in range(steps):
            patch = patch.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(lead(_changed(model, values, _with_patch(clean, box, patch), tile)), patch)
            patch = torch.clamp(patch - _STEP * (1 - step / steps) * (high - low) * gradient.sign(), low, high)
        return _with_patch(clean, box, patch.detach())


def _changed(model: BagOfFeatures, values: Tensor, x: Tensor, tile: Tile) -> Tensor:
    """(K, h, w) evidence after windows of a tile were computed anew, with gradients, which `evidence.edits.change` has not."""
    after = values.clone()
    after[(slice(None), *tile.cells.slices)] = model.evidence(x[(None, slice(None), *tile.crop.slices)])[
        (0, slice(None), *tile.inside.slices)
    ]
    return after


def _with_patch(x: Tensor, box: Box, patch: Tensor) -> Tensor:
    changed = x.clone()
    changed[(slice(None), *box.slices)] = patch
    return changed
