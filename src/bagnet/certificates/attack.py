"""An attack that tries to break certificates: patches that are optimised, at the places where they would cost most.

Projected gradient steps (Madry et al. 2018) on the pixels of the network's input inside a patch, with random restarts, against
the difference of the mean logits of the closest rival and of the answer; what counts is what the certified classifier answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..bag import BagOfFeatures
from ..engine.inference import exact
from ..evidence import Evidence
from ..evidence.explain import Seen, explain_batch
from ..geometry import Box
from .certificate import Certificate

_STEP = 0.1  # of the range of pixels, at the first step; it falls to nothing


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
        restarts: for each place, from random pixels.
        steps: of the gradient.
        seed: of places and pixels.
    """
    random = np.random.default_rng(seed)
    rival = _closest(certificate)
    tried = 0
    for box in _places(certificate, seen.x.shape[1:], places, random):
        for _ in range(restarts):
            x = _optimised(model, seen.x, box, certificate.label, rival, steps, random)
            tried += 1
            (evidence,) = explain_batch(model, [seen._replace(x=x)])
            if certify_again(evidence).label != certificate.label:
                return Attacked(True, tried, box)
    return Attacked(False, tried)


def _closest(certificate: Certificate) -> int:
    """The class of the largest mean logit but for the label."""
    means = certificate.values.mean((1, 2), dtype=np.float64)
    means[certificate.label] = -np.inf
    return int(means.argmax())


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
    model: BagOfFeatures, x: Tensor, box: Box, label: int, rival: int, steps: int, random: np.random.Generator
) -> Tensor:
    """The input with a patch that speaks for the rival and against the label as loudly as steps of the gradient make it."""
    generator = torch.Generator().manual_seed(int(random.integers(2**31)))
    mean, std = (torch.tensor(values)[:, None, None] for values in (model.transform.mean, model.transform.std))
    low, high = (0 - mean) / std, (1 - mean) / std
    patch = low + (high - low) * torch.rand((len(x), box.height, box.width), generator=generator)
    with exact(model), torch.inference_mode(False), torch.enable_grad():
        clean = x.detach().clone()
        for step in range(steps):
            patch = patch.detach().requires_grad_()
            changed = clean.clone()
            changed[(slice(None), *box.slices)] = patch
            logits = model(changed[None])[0]
            (gradient,) = torch.autograd.grad(logits[rival] - logits[label], patch)
            size = _STEP * (1 - step / steps)
            patch = torch.clamp(patch + size * (high - low) * gradient.sign(), low, high)
        changed = clean.clone()
        changed[(slice(None), *box.slices)] = patch.detach()
    return changed.detach()
