"""Whether batch normalisation gets more than one value per channel in each part of a step: of one there is no variance."""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..data.transforms import Preprocessing
from .recipe import Recipe


def check_normalisation(network: nn.Module, recipe: Recipe, preprocessing: Preprocessing, images: int, ranks: int = 1) -> None:
    """See, before a run begins, that it can take variances.

    Every part of a step has as many images as any other: those that fill no whole step sit an epoch out.

    Args:
        network: to train; not changed.
        recipe: with its batch size.
        preprocessing: what the network will be used with.
        images: to train on.
        ranks: processes that train together.

    Raises:
        ValueError: a layer would get one value per channel; the message says which.
    """
    parts = ranks * recipe.parts
    synchronised = ranks if ranks > 1 and torch.cuda.is_available() else 1  # values of all processes count together then
    in_a_part = min(recipe.batch_size, images // parts * parts) // parts * synchronised
    if in_a_part != 1 or recipe.freeze or recipe.freeze_norm:
        return
    side = min(filter(None, (preprocessing.crop, recipe.train_crop)), default=0)
    if side and (layer := starved_layer(network, torch.zeros(max(1, recipe.tiles), len(preprocessing.mean), side, side))):
        split = f" in {parts} parts" if parts > 1 else ""
        raise ValueError(
            f"batches of {recipe.batch_size}{split} leave batch normalisation ({layer}) one value per channel of a {side} pixel "
            f"crop, which has no variance: give a larger --batch-size than {parts}, a larger --crop, or --freeze-norm"
        )


def starved_layer(network: nn.Module, x: Tensor) -> str:
    """The first layer that would normalise over one value per channel in training; "" where none would.

    Args:
        network: of any kind; not changed.
        x: (B, C, H, W) what it would see.
    """
    copy = deepcopy(network).train()
    for name, module in copy.named_modules():
        if isinstance(module, _BatchNorm):
            module.register_forward_pre_hook(partial(_check_values, name))
    try:
        with torch.no_grad():
            copy(x.to(next(copy.parameters())))
    except _OneValue as layer:
        return str(layer)
    return ""


class _OneValue(Exception):
    """A layer, by its name, sees one value per channel."""


def _check_values(name: str, _: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    if inputs[0].numel() == inputs[0].shape[1]:
        raise _OneValue(name)
