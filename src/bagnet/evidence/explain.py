"""From an image to its evidence."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any, NamedTuple, overload

import torch
from PIL import Image
from torch import Tensor

from ..data.decode import BadImage, ImageLike, decode, printable
from ..data.names import ClassNames
from ..data.transforms import Preprocessing
from ..engine.classifier import Classifier, check_loaded, model_name, temperature_of
from ..engine.inference import exact, like_weights
from ..geometry import Placement
from ..progress import Listener, unheard
from .evidence import Evidence
from .tiled import Bag, bag_of, tiles_for


@overload
def explain(
    model: Classifier,
    image: ImageLike,
    *,
    transform: Preprocessing | None = None,
    size: int | None = None,
    keep: Sequence[int | str] = (),
    progress: Listener = unheard,
) -> Evidence: ...
@overload
def explain(
    model: Classifier,
    image: list[Any] | tuple[Any, ...],
    *,
    transform: Preprocessing | None = None,
    size: int | None = None,
    keep: Sequence[int | str] = (),
    progress: Listener = unheard,
) -> list[Evidence]: ...
def explain(
    model: Classifier,
    image: ImageLike | list[Any] | tuple[Any, ...],
    *,
    transform: Preprocessing | None = None,
    size: int | None = None,
    keep: Sequence[int | str] = (),
    progress: Listener = unheard,
) -> Evidence | list[Evidence]:
    """Classify an image and say what every window of it contributed.

    Runs in eval and inference mode, in float32 with TF32 off, whatever state the model and torch are in, and leaves both
    as they were. The logits are computed both ways, pooled before the head and averaged after it, and compared.

    A large input is computed in tiles, and what to expect of it is logged first. Where the maps of all classes would take more
    than 128 MB, those of the strongest are kept, and the evidence is of these classes alone; its probabilities stay those among
    all classes.

    Args:
        model: a BagNet or anything that answers as one does.
        image: whatever `data.decode.decode` reads (a path, bytes, an open file, a PIL image, a uint8 array or tensor), or a
            prepared (3, H, W) tensor of floating point; a list of them gives a list.
        transform: instead of the card's preprocessing.
        size: see the whole photograph, its shorter side of so many pixels, instead of what the card's preprocessing crops.
        keep: classes, by index, WordNet id or name, whose maps are kept in any case.
        progress: told after every tile of a large input.

    Raises:
        FileNotFoundError, BadImage: the image cannot be read.
        UnknownClass, AmbiguousClass: there is no class to keep by that name, or several.
        ValueError: the image is smaller than one window, a tensor has the wrong shape, both transform and size are given, or the
            two logits differ by more than 1e-5 of the largest.
        TypeError: the model is the name of one.
    """
    check_loaded(model)
    if isinstance(image, (list, tuple)):
        return [explain(model, each, transform=transform, size=size, keep=keep, progress=progress) for each in image]
    if size is not None:
        if transform is not None:
            raise ValueError("a size and a transform are two answers to one question: give one of them")
        transform = model.transform.whole(size)
    wanted = [model.classes.find(name) for name in keep]
    seen = take(model, image, transform or model.transform)
    with exact(model), torch.inference_mode():
        return _evidence(model, seen, _bag(model, seen, wanted, progress))


def explain_batch(model: Classifier, images: Sequence[Seen]) -> list[Evidence]:
    """What `explain` says of each of several images of one size, which the network sees in one batch.

    Args:
        model: as for `explain`.
        images: from `take`, their tensors of one shape.

    Raises:
        ValueError: as `explain`; or they are of several shapes.
    """
    if len({seen.x.shape for seen in images}) > 1:
        raise ValueError("images of one batch must have one shape")
    with exact(model), torch.inference_mode():
        if len(images) <= 1 or len(tiles_for(model.geometry, *images[0].x.shape[1:])) > 1:
            return [_evidence(model, seen, _bag(model, seen, (), unheard)) for seen in images]
        x = torch.stack([seen.x for seen in images])
        model.check(x)
        logits, values = model.logits_and_evidence(like_weights(x, model))
        every = range(model.num_classes)
        bags = (Bag(*parts, every) for parts in zip(logits, values, strict=True))
        return [_evidence(model, seen, bag) for seen, bag in zip(images, bags, strict=True)]


def _evidence(model: Classifier, seen: Seen, bag: Bag) -> Evidence:
    return Evidence(
        values=_array(bag.values),
        logits=_array(bag.logits[list(bag.kept)]),
        geometry=model.geometry,
        placement=seen.placement,
        classes=model.classes if len(bag.kept) == model.num_classes else ClassNames(model.classes[index] for index in bag.kept),
        image=seen.picture,
        model=model_name(model),
        source=seen.source,
        multilabel=model.card is not None and model.card.multilabel,
        left_out=left_out(bag.logits, list(bag.kept), temperature_of(model)),
        temperature=temperature_of(model),
    )


def _bag(model: Classifier, seen: Seen, keep: Sequence[int], progress: Listener) -> Bag:
    """Both in one piece, or in tiles where the input is large."""
    x = seen.x[None]
    model.check(x)
    tiles = tiles_for(model.geometry, *x.shape[2:])
    if len(tiles) > 1:
        return bag_of(model, x, tiles, keep, name=printable(seen.source), progress=progress)
    logits, values = model.logits_and_evidence(like_weights(x, model))
    return Bag(logits[0], values[0], range(model.num_classes))


def left_out(logits: Tensor, kept: Sequence[int], temperature: float = 1.0) -> float:
    """As `Evidence` has it: of (K,) logits, the logarithm of the summed exponential ones of the classes that are not kept."""
    scaled = logits.double() / temperature
    return temperature * float(scaled.index_fill(0, torch.tensor(kept), -inf).logsumexp(0))


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
    if isinstance(image, Tensor) and image.is_floating_point():
        return Seen(*_prepared(image, transform), "")
    photo = decode(image)
    placement = transform.placement(photo.size, photo.orientation)
    _check_size(model, placement, photo.name)
    picture = transform.shown(photo)
    return Seen(transform.of_picture(picture), picture, placement, photo.name)


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
    if x.ndim != 3 or x.shape[0] != len(transform.mean):
        raise ValueError(
            f"a tensor must be a prepared ({len(transform.mean)}, H, W) image, got {x.dtype} "
            f"{tuple(x.shape)}; several go in a list"
        )
    return x, transform.picture(x), Placement.identity(*x.shape[1:])


def _array(x: Tensor) -> Any:
    return (x if x.dtype == torch.float64 else x.float()).cpu().numpy()
