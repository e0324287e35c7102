"""The one loop over images: a model's input, batch by batch, with all that cannot be used said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..data.decode import BadImage, printable
from ..data.sources import Images
from ..data.transforms import Preprocessing
from ..engine.classifier import Predictor, model_name
from ..engine.inference import exact, like_weights
from ..progress import Listener, Progress, unheard
from .loader import read_batches


class NotANumber(ValueError):
    """A classifier's logits are not numbers, and so there is nothing to rank."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some images of one size, ready for the model, or some that cannot be used.

    Args:
        rows: of the collection.
        x: (B, C, H, W) prepared, where the model's weights are and in their type; empty where `rows` is.
        bad: (row, reason) of images that cannot be read or are smaller than a window; each reason names its image.
    """

    rows: Sequence[int] = ()
    x: Tensor = field(default_factory=lambda: torch.empty(0))
    bad: Sequence[tuple[int, str]] = ()


def sweep(
    model: Predictor,
    images: Images,
    rows: Sequence[int] | None = None,
    *,
    transform: Preprocessing | None = None,
    batch_size: int = 64,
    workers: int | None = None,
    progress: Listener | None = None,
    stage: str = "",
) -> Iterator[Batch]:
    """Prepare images for a model, read beside it. What the loop does runs in exact and inference mode.

    Args:
        model: whose input they become.
        images: the collection.
        rows: which ones; all where None. Where not all are asked for, the others count as done.
        transform: instead of the card's preprocessing.
        batch_size: images at a time.
        workers: processes that read images, as for `read_batches`.
        progress: told after every batch.
        stage: what is being done, for those who are told; the model's name where "".

    Yields:
        Batches until each image was in one, as (B, C, H, W) or among the bad ones. Images read together may come in several
        batches, one for each size.

    Raises:
        ValueError: the preprocessing makes inputs of one size, which the model does not take.
    """
    transform = transform or model.transform
    check_input(model, transform)
    names = images.names
    rows = range(len(names)) if rows is None else rows
    done = len(names) - len(rows)
    tell = progress or unheard
    with exact(model), torch.inference_mode():
        for decoded in read_batches(images, rows, transform, batch_size, workers):
            bad = [(row, _naming(names[row], reason)) for row, reason in decoded.bad]
            for group, x in decoded.groups:
                try:
                    model.check(x.flatten(0, -4))  # or of (B, N, C, H, W) tiles
                except ValueError as error:  # where there is no crop, each image has a size of its own
                    bad += [(row, _naming(names[row], str(error))) for row in group]
                    continue
                yield Batch(group, like_weights(x, model))
                done += len(group)
            if bad:
                yield Batch(bad=sorted(bad))
                done += len(bad)
            tell(Progress(stage or model_name(model), done, len(names)))


def check_input(model: Predictor, transform: Preprocessing) -> None:
    """See that a model takes what a preprocessing makes, as far as that is known before there is an image.

    Raises:
        ValueError: it does not.
    """
    smallest = 1 if model.geometry is None else model.geometry.smallest_input
    side = transform.crop or transform.resize or smallest
    model.check(torch.empty(1, len(transform.mean), side, side, device="meta"))


def check_finite(values: Tensor, model: str, image: str) -> None:
    """See that logits or evidence, of a model and an image of those names, are numbers.

    Raises:
        NotANumber: one is NaN or infinite; the message names the model and the image.
    """
    if not torch.isfinite(values).all():
        raise NotANumber(f"{printable(image)}: {model} answers with logits that are not finite")


def check_some(good: Sequence[object], bad: Sequence[tuple[object, str]]) -> None:
    """See that some images could be used. BadImage: none could; the message has the reason of the first."""
    if not good:
        raise BadImage(f"none of {len(bad)} images can be used" + "".join(f": {reason}" for _, reason in bad[:1]))


def _naming(name: str, reason: str) -> str:
    """A reason that names the image."""
    name = printable(name)
    return reason if name in reason else f"{name}: {reason}"
