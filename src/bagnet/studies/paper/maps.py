"""Heat maps of one image from many sources, on the pixels of one network's input: BagNets, and methods on the network itself."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ...attribution.methods import NoFeatureMap, NotComplete, attribute
from ...attribution.rewrite import NotRewritable
from ...data.transforms import Preprocessing
from ...engine.inference import exact, like_weights
from ...evidence.dense import dense
from ...evidence.explain import explain
from ...geometry import Axis, Box, squares
from .subjects import Material, Subject

PAPERS = ("saliency", "integrated_gradients", "epsilon_lrp", "deeplift")  # with which the paper compares
METHODS = (*PAPERS, "grad_cam", "occlusion")
NO_MAP = (NoFeatureMap, NotComplete, NotRewritable)  # why a method may have no map of an image
_TITLES = {
    "saliency": "Saliency",
    "integrated_gradients": "Integrated gradients",
    "epsilon_lrp": "\N{GREEK SMALL LETTER EPSILON}-LRP",
    "deeplift": "DeepLIFT",
    "grad_cam": "Grad-CAM",
    "occlusion": "Occlusion",
    "random": "Random order",
}


def title_of(source: str) -> str:
    """An attribution method as the field writes it; the name of a model as it is."""
    return _TITLES.get(source, source)


def check_methods(methods: Collection[str]) -> None:
    """See that there are such methods. ValueError: there is no such one; the message has those that there are."""
    if unknown := [method for method in methods if method not in METHODS]:
        raise ValueError(f"methods={unknown[0]!r}: choose among {', '.join(METHODS)}")


def check_cells(cell: int, subject: Subject) -> None:
    """See that the input of a model has two cells of a side. ValueError: it has not, or is not of one size."""
    if len(squares(cell, subject.input_side, subject.input_side)) < 2:
        raise ValueError(f"cell={cell}: the input of {subject.name}, {subject.input_side} px, has no two such cells")


def over_cells(values: Tensor, side: int) -> NDArray[np.float64]:
    """(H, W) -> (N,) means over `squares`."""
    height, width = values.shape
    return np.array([float(values[box.slices].double().mean()) for box in squares(side, height, width)])


def bagnet_map(bag: Subject, index: int, material: Material, row: int, target: Subject, x: Tensor) -> Tensor:
    """A heat map of windows of an image, on the pixels of a network's input.

    Args:
        bag: the BagNet.
        index: of the class, among the material's.
        material: for the image, where the two do not prepare it in the same way.
        row: of the image.
        target: the network.
        x: (1, C, H, W) its input.

    Returns:
        (H, W) logits, as `pixel_map` has them; zero where the BagNet's input does not reach.
    """
    photo = None if bag.transform == target.transform else material.images.photo(row)
    seen = x if photo is None else bag.transform(photo)[None]
    values = pixel_map(bag, seen, bag.columns[index])
    return values if photo is None else moved(values, bag.transform, target.transform, photo.size)


def pixel_map(bag: Subject, x: Tensor, column: int) -> Tensor:
    """A logit of windows at each pixel of a model's input.

    Where windows share their arithmetic, that of the window around the pixel, as the official code has it. A network that
    computes each window by itself would have to run for each pixel: there it is the mean of the windows that hold the pixel.

    Args:
        bag: the model.
        x: (1, C, H, W) its input.
        column: of the class, among the model's.

    Returns:
        (H, W).
    """
    if not bag.classifier.windows_apart:
        with exact(bag.model), torch.inference_mode():
            return dense(bag.classifier, like_weights(x, bag.model), [column]).values[0, 0]
    evidence = explain(bag.classifier, x, keep=[column])
    index = evidence.indices_among(bag.model.classes).index(column)
    return torch.from_numpy(evidence.heatmap(index, size="input", spread="windows"))


def method_map(method: str, target: Subject, index: int, x: Tensor, material: Material, row: int, cell: int) -> Tensor:
    """(H, W) what a method says of the pixels of (1, C, H, W), on the network; occlusion by cells. Raises as `attribute`."""
    return attribute(method, target.module, x, target.columns[index], window=cell, seed=material.seed, rows=[row]).values[0]


def moved(values: Tensor, source: Preprocessing, target: Preprocessing, size: tuple[int, int]) -> Tensor:
    """A map (H, W) of pixels of one network's input on those of another's, through the image of (width, height) of both."""
    before, after = source.placement(size), target.placement(size)
    columns = _positions(before.horizontal, after.horizontal)
    rows = _positions(before.vertical, after.vertical)
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], -1)[None].to(values.dtype)
    return F.grid_sample(values[None, None], grid, "bilinear", "zeros", align_corners=False)[0, 0]


def _positions(source: Axis, target: Axis) -> Tensor:
    """Where the pixels of one input lie on the other, from -1 at its first edge to 1 at its last."""
    centres = (torch.arange(target.length, dtype=torch.float64) + 0.5 + target.start) * target.scale
    return 2 * (centres / source.scale - source.start) / source.length - 1


def masked(x: Tensor, boxes: Sequence[Box], fill: str) -> Tensor:
    """(1, C, H, W) with boxes painted over: "mean" by the mean colour of the data, "cell" each by its own mean colour."""
    painted = x.clone()
    for box in boxes:
        part = (0, ..., *box.slices)
        painted[part] = 0.0 if fill == "mean" else x[part].mean((1, 2), keepdim=True)
    return painted
