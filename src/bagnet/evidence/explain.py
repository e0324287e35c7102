"""From an image to its evidence."""

from __future__ import annotations

from os import PathLike
from typing import Any, NamedTuple, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..data.decode import BadImage, decode
from ..data.transforms import Preprocessing
from ..engine.classifier import Classifier, model_name
from ..engine.inference import exact, like_weights
from ..geometry import Placement
from .evidence import Evidence

ImageLike = str | PathLike[str] | Image.Image | np.ndarray | Tensor


@overload
def explain(model: Classifier, image: ImageLike, *, transform: Preprocessing | None = None) -> Evidence: ...
@overload
def explain(
    model: Classifier, image: list[Any] | tuple[Any, ...], *, transform: Preprocessing | None = None
) -> list[Evidence]: ...
def explain(
    model: Classifier, image: ImageLike | list[Any] | tuple[Any, ...], *, transform: Preprocessing | None = None
) -> Evidence | list[Evidence]:
    """Classify an image and say what every window of it contributed.

    Runs in eval and inference mode, in float32 with TF32 off, whatever state the model and torch are in, and leaves both
    as they were. The logits are computed both ways, pooled before the head and averaged after it, and compared.

    Args:
        model: a BagNet or anything that answers as one does.
        image: a path, a PIL image, a uint8 array of shape (H, W, 3), or a prepared (3, H, W) tensor; a list of them gives a
            list.
        transform: instead of the card's preprocessing, to see an image at another size, say.

    Raises:
        FileNotFoundError, BadImage: the image cannot be read.
        ValueError: the image is smaller than one window, a tensor has the wrong shape, or the two logits differ by more
            than 1e-5 of the largest.
    """
    if isinstance(image, (list, tuple)):
        return [explain(model, each, transform=transform) for each in image]
    seen = take(model, image, transform or model.transform)
    with exact(model), torch.inference_mode():
        logits, values = model.logits_and_evidence(like_weights(seen.x[None], model))
    return Evidence(
        values=_array(values[0]),
        logits=_array(logits[0]),
        geometry=model.geometry,
        placement=seen.placement,
        classes=model.classes,
        image=seen.picture,
        model=model_name(model),
        source=seen.source,
        multilabel=model.card is not None and model.card.multilabel,
    )


class Seen(NamedTuple):
    """An image as a network gets it.

    Args:
        x: (C, H, W) prepared.
        picture: the upright picture, RGB.
        placement: where x lies in it.
        source: where it came from; "" where it was never a file.
    """

    x: Tensor
    picture: Image.Image
    placement: Placement
    source: str


def take(model: Classifier, image: ImageLike, transform: Preprocessing) -> Seen:
    """Read and prepare one image for a model. Raises as `explain`."""
    if isinstance(image, Tensor):
        return Seen(*_prepared(image, transform), "")
    photo = decode(image)
    placement = transform.placement(photo.image.size, photo.orientation)
    _check_size(model, placement, photo.name)
    return Seen(transform(photo.image), photo.image, placement, photo.name)


def _check_size(model: Classifier, placement: Placement, name: str) -> None:
    """Refuse an image so small that a window sees hardly one of its pixels: there is nothing local to tell apart."""
    width, height = placement.image_size
    if model.geometry.size * min(placement.horizontal.scale, placement.vertical.scale) < 2:
        raise BadImage(
            f"{name or 'image'}: {width} x {height} pixels is too small, a window would see less than 2 x 2 of them; "
            "give a larger image"
        )


def _prepared(x: Tensor, transform: Preprocessing) -> tuple[Tensor, Image.Image, Placement]:
    if x.ndim == 4 and x.shape[0] == 1:
        x = x[0]
    if x.ndim != 3 or x.shape[0] != len(transform.mean) or not x.is_floating_point():
        raise ValueError(
            f"a tensor must be a prepared ({len(transform.mean)}, H, W) image of floating point, got {x.dtype} "
            f"{tuple(x.shape)}; several go in a list"
        )
    return x, transform.picture(x), Placement.identity(*x.shape[1:])


def _array(x: Tensor) -> Any:
    return (x if x.dtype == torch.float64 else x.float()).cpu().numpy()
