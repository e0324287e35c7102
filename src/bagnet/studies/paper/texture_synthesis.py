"""Texture synthesis: an image scrambled by a network, so that its local features stay and their places do not.

Gatys, Ecker & Bethge, "Texture Synthesis Using Convolutional Neural Networks" (NeurIPS 2015): from noise, an image is found
whose features in some layers of a network have the same Gram matrices as those of the given image. A Gram matrix says which
features occur together, averaged over all places, and so nothing of where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...data.transforms import Preprocessing
from ...engine.classifier import Predictor

_POOLS = 4  # the first so many are matched, and what follows the first convolution
_CHAIN = (nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.Dropout, nn.Identity)
_HEAD = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Flatten, nn.Linear, nn.ReLU, nn.Dropout, nn.Identity)

_MEMORY = 20  # steps from which L-BFGS knows the curvature
_ENOUGH = 1e-4  # of the decrease that the slope promises; a step that brings less is made shorter
_SHORTEST = 1e-6  # of a step; below it what was learnt of the curvature is forgotten
_CURVED = 1e-10  # least curvature along a step that is learnt from


@dataclass(frozen=True, eq=False)
class TextureNetwork:
    """The layers of a network whose Gram matrices make a texture.

    Args:
        name: of the network.
        chain: its modules up to the last layer that is matched.
        layers: index in the chain -> name of each layer that is matched, as Gatys et al. call those of VGG-19.
        preprocessing: how the network expects its pixels to be scaled.
    """

    name: str
    chain: nn.Sequential
    layers: dict[int, str]
    preprocessing: Preprocessing

    @classmethod
    def of(cls, name: str, model: Predictor) -> TextureNetwork | None:
        """Of a network that is a plain chain of convolutions, ReLUs and pools, as VGG and AlexNet are; None of any other.

        Args:
            name: for people.
            model: a classifier. The chain is the `network` of an `ExternalNetwork`, or what that calls `features`.
        """
        network = getattr(model, "network", None)
        whole = network if isinstance(network, nn.Sequential) else getattr(network, "features", None)
        parts = list(_in_a_row(whole)) if isinstance(whole, nn.Sequential) else []
        count = next((index for index, part in enumerate(parts) if not isinstance(part, _CHAIN)), len(parts))
        first = [index for index, part in enumerate(parts[:count]) if isinstance(part, nn.ReLU)][:1]
        pools = [index for index, part in enumerate(parts[:count]) if isinstance(part, (nn.MaxPool2d, nn.AvgPool2d))][:_POOLS]
        if not first or not pools or not all(isinstance(part, _HEAD) for part in parts[count:]):
            return None
        layers = {first[0]: "conv1_1", **{index: f"pool{number}" for number, index in enumerate(pools, 1)}}
        return cls(name, nn.Sequential(*parts[: max(layers) + 1]), layers, model.transform)

    def grams(self, pixels: Tensor) -> list[Tensor]:
        """(B, 3, H, W) pixels in [0, 1] -> (B, C, C) of each layer.

        Pools take the mean instead of the maximum, which lets more of the gradient through (Gatys et al.). The image
        goes on at its edges with its other side, where Gatys et al. have zeros: these tell a feature how far it is from the
        edge, by which small images come back with their layout.

        Raises:
            ValueError: the images are too small for the layers.
        """
        mean, std = (pixels.new_tensor(values)[:, None, None] for values in (self.preprocessing.mean, self.preprocessing.std))
        x = (pixels - mean) / std
        grams = []
        try:
            for index, module in enumerate(self.chain):
                if isinstance(module, nn.MaxPool2d):
                    x = F.avg_pool2d(x, module.kernel_size, module.stride, module.padding, module.ceil_mode, False)
                elif isinstance(module, nn.Conv2d):
                    x = F.pad(x, module._reversed_padding_repeated_twice, "circular")
                    x = F.conv2d(x, module.weight, module.bias, module.stride, 0, module.dilation, module.groups)
                else:
                    x = module(x)
                if index in self.layers:
                    grams.append(gram(x))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # torch's words where a map is smaller than a kernel, or has other channels
            height, width = pixels.shape[2:]
            reason = " ".join(str(error).split())[:160]
            raise ValueError(f"{self.name} takes no images of {height} x {width} pixels ({reason})") from None
        return grams


def gram(features: Tensor) -> Tensor:
    """(B, C, h, w) features -> (B, C, C): the product of each two of them, mean over places."""
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


def texture_error(grams: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """How far the Gram matrices of some layers are from those wanted.

    The squared distance, as a share of the squared size of those wanted (of 1 where they are zero), mean over layers. Gatys et
    al. scale the network instead so that each of its filters answers with 1 on average; both see to it that no layer outweighs
    the others, and this needs no other images.

    Args:
        grams: (B, C, C) of each layer.
        wanted: the same.

    Returns:
        (B,) shares.
    """
    shares = []
    for made, target in zip(grams, wanted, strict=True):
        size = target.square().sum((1, 2))
        shares.append((made - target).square().sum((1, 2)) / torch.where(size > 0, size, 1.0))
    return torch.stack(shares).mean(0)


def synthesise(network: TextureNetwork, pixels: Tensor, noise: Tensor, steps: int) -> Tensor:
    """Images with the texture of others.

    The pixels are the logistic function of what is optimised, so that none leaves [0, 1]: where they are clipped afterwards
    instead, the texture that was found is lost.

    Args:
        network: whose features the texture has; in eval mode.
        pixels: (B, 3, H, W) images in [0, 1].
        noise: (B, 3, H, W) normal noise to begin with.
        steps: evaluations of the network for each image.

    Returns:
        (B, 3, H, W) pixels in [0, 1].

    Raises:
        ValueError: the images are too small for the network.
    """
    with torch.no_grad():
        wanted = network.grams(pixels)

    def error(points: Tensor) -> Tensor:
        return texture_error(network.grams(points.view_as(pixels).sigmoid()), wanted)

    return minimised(error, noise.flatten(1), steps).view_as(pixels).sigmoid()


def minimised(function: Callable[[Tensor], Tensor], start: Tensor, steps: int) -> Tensor:
    """Minimise a function of each row of a batch by L-BFGS (Liu & Nocedal 1989).

    Each row has a curvature and a length of steps of its own: it goes the way that it would go alone. With `torch.optim.LBFGS`
    the rows of a batch would be one long vector, and each would depend on the others. A step is accepted by Armijo's rule;
    until one is, each evaluation tries a shorter one, of a length at which a parabola through what was evaluated is lowest.

    Args:
        function: (B, D) -> (B,), in which no row depends on another.
        start: (B, D).
        steps: evaluations, after that of the start.

    Returns:
        (B, D) with the lowest values.
    """
    point = start
    value, gradient = _evaluated(function, point)
    curvature = _Curvature(point)
    direction, slope, length = curvature.downhill(gradient)
    for _ in range(steps):
        trial = point + length[:, None] * direction
        new_value, new_gradient = _evaluated(function, trial)
        promised = length * slope
        good = new_value <= value + _ENOUGH * promised
        shorter = -promised * length / (2 * (new_value - value - promised))
        shorter = torch.where(shorter.isfinite(), shorter, 0.0).clamp(0.1 * length, 0.5 * length)
        lost = ~good & (shorter < _SHORTEST)
        curvature.learn(good, trial - point, new_gradient - gradient)
        curvature.forget(lost)
        accepted = good[:, None]
        point, gradient = torch.where(accepted, trial, point), torch.where(accepted, new_gradient, gradient)
        value = torch.where(good, new_value, value)
        turn = good | lost
        onward, onward_slope, onward_length = curvature.downhill(gradient)
        direction = torch.where(turn[:, None], onward, direction)
        slope, length = torch.where(turn, onward_slope, slope), torch.where(turn, onward_length, shorter)
    return point


def _evaluated(function: Callable[[Tensor], Tensor], point: Tensor) -> tuple[Tensor, Tensor]:
    """(B,) values and (B, D) gradients."""
    point = point.detach().requires_grad_()
    with torch.enable_grad():
        values = function(point)
        (gradient,) = torch.autograd.grad(values.sum(), point)
    return values.detach(), gradient


class _Curvature:
    """What the last steps of each row of a batch told of the curvature of its function."""

    def __init__(self, start: Tensor) -> None:
        self._rows = torch.arange(len(start), device=start.device)
        self._moves = start.new_zeros(_MEMORY, *start.shape)
        self._turns = start.new_zeros(_MEMORY, *start.shape)  # of the gradient
        self._weights = start.new_zeros(_MEMORY, len(start))  # 1 / (move * turn); 0 where there is no such step
        self._scale = start.new_ones(len(start))
        self._count = torch.zeros_like(self._rows)  # steps learnt

    def learn(self, which: Tensor, move: Tensor, turn: Tensor) -> None:
        """Of the rows (B,) that took a step (B, D), with what it changed of their gradients."""
        product, size = (move * turn).sum(1), turn.square().sum(1)
        rows = (which & (product > _CURVED * size)).nonzero()[:, 0]
        slots = self._count[rows] % _MEMORY
        self._moves[slots, rows], self._turns[slots, rows] = move[rows], turn[rows]
        self._weights[slots, rows] = 1 / product[rows]
        self._scale[rows] = (product / size)[rows]
        self._count[rows] += 1

    def forget(self, which: Tensor) -> None:
        """All of some rows (B,)."""
        self._weights[:, which] = 0
        self._count[which] = 0

    def downhill(self, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where to go from a point with this gradient (B, D): direction (B, D), slope along it (B,), length to try first (B,)."""
        direction = -gradient
        slots = [(self._count - age) % _MEMORY for age in range(1, _MEMORY + 1)]
        shares = []
        for slot in slots:
            shares.append(self._weights[slot, self._rows] * (self._moves[slot, self._rows] * direction).sum(1))
            direction = direction - shares[-1][:, None] * self._turns[slot, self._rows]
        learnt = self._count > 0
        direction = direction * torch.where(learnt, self._scale, 1.0)[:, None]
        for slot, share in zip(reversed(slots), reversed(shares), strict=True):
            back = self._weights[slot, self._rows] * (self._turns[slot, self._rows] * direction).sum(1)
            direction = direction + (share - back)[:, None] * self._moves[slot, self._rows]
        # The first step is of length 1 at most in any direction; then the curvature knows how far to go.
        length = torch.where(learnt, 1.0, (1 / gradient.abs().sum(1)).clamp(max=1.0))
        return direction, (direction * gradient).sum(1), length


def _in_a_row(module: nn.Module) -> Iterator[nn.Module]:
    """The modules of nested chains, one after the other."""
    if isinstance(module, nn.Sequential):
        for part in module:
            yield from _in_a_row(part)
    else:
        yield module
