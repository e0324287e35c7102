"""Which pixels a classifier's logit comes from, by methods that know nothing of local evidence."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..engine.inference import exact
from ..missing import needs
from .rewrite import as_steps, name_of, with_own_nonlinearities

TOLERANCE = 1e-3


class NotComplete(ValueError):
    """A map that must add up to the logit does not: the method was applied wrongly, and its map means nothing."""


class NoFeatureMap(ValueError):
    """Grad-CAM needs a convolution whose output has places, and the network has none."""


@dataclass(frozen=True, slots=True)
class Attribution:
    """What a method says of each pixel.

    Args:
        values: (B, H, W) float32. In logits, and signed, for the methods that split the logit (integrated gradients,
            epsilon-LRP, DeepLIFT, occlusion); without a unit, and not negative, for the others.
        completeness: (B,) float64: by how much the map and what is known not to be in it miss the logit that they are to
            add up to, relative to the largest absolute logit; None for methods that claim no sum.
        absorbed: (B,) float64, epsilon-LRP only: the part of the logit, in logits, that biases and epsilon keep.
    """

    values: Tensor
    completeness: Tensor | None = None
    absorbed: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """What the methods can be told; each reads what `METHODS` says it does. For their meanings see `attribute`.

    Args:
        example: (B, C, H, W) the first batch of images, for what is found out once about the network.
    """

    example: Tensor
    baseline: Tensor
    steps: int
    epsilon: float
    window: int
    stride: int
    layer: nn.Module | None
    seed: int
    batch_size: int
    tolerance: float


@dataclass(frozen=True, slots=True)
class Method:
    """An attribution method.

    Args:
        description: one sentence.
        source: where it was published.
        options: the keywords of `attribute` that it heeds.
        sums_to: what its map adds up to; "" where it claims no sum.
        package: what it needs beside torch; "" for nothing.
    """

    description: str
    source: str
    options: tuple[str, ...] = ()
    sums_to: str = ""
    package: str = "captum"


METHODS = MappingProxyType(
    {
        "saliency": Method(
            "The absolute derivative of the logit by a pixel, the largest of its channels.",
            "Simonyan, Vedaldi & Zisserman 2014, section 3.1; Baehrens et al. 2010",
        ),
        "integrated_gradients": Method(
            "The gradient, averaged on the straight way from the baseline to the image, times their difference.",
            "Sundararajan, Taly & Yan 2017; right-hand Riemann sum as in DeepExplain (Ancona et al. 2018)",
            ("baseline", "steps"),
            "logit(x) - logit(baseline), as well as the number of steps allows",
        ),
        "epsilon_lrp": Method(
            "Relevance passed back from the logit, at each layer in proportion to what each input contributes.",
            "Bach et al. 2015, equation 58; epsilon at the nonlinearities as in Ancona et al. 2018, proposition 1",
            ("epsilon", "tolerance"),
            "logit(x) less what biases and epsilon absorb",
        ),
        "deeplift": Method(
            "Differences to the baseline passed back, each nonlinearity as the line through its two states (Rescale rule).",
            "Shrikumar, Greenside & Kundaje 2017",
            ("baseline", "tolerance"),
            "logit(x) - logit(baseline)",
        ),
        "grad_cam": Method(
            "The last convolutional map, its channels weighted by their mean gradients, without its negative part.",
            "Selvaraju et al. 2017",
            ("layer",),
        ),
        "occlusion": Method(
            "How much the logit drops when a square is painted over, spread over the square's pixels.",
            "Zeiler & Fergus 2014; spread as in DeepExplain (Ancona et al. 2018)",
            ("baseline", "window", "stride"),
        ),
        "random": Method(
            "Uniform random numbers: what a map that knows nothing achieves.", "Chance", ("seed", "rows"), package=""
        ),
    }
)


def attribute(
    method: str,
    network: nn.Module,
    x: Tensor,
    targets: Tensor | Sequence[int] | int,
    *,
    baseline: float | Sequence[float] | Tensor = 0.0,
    steps: int = 100,
    epsilon: float = 1e-4,
    window: int = 8,
    stride: int | None = None,
    layer: nn.Module | None = None,
    seed: int = 0,
    rows: Sequence[int] | None = None,
    batch_size: int = 16,
    tolerance: float = TOLERANCE,
) -> Attribution:
    """Attribute logits of any classifier to the pixels of its images.

    Runs in eval mode, in full float32 with TF32 off (or in float64, where network and images are); leaves the network as it
    was, its mode, gradients and hooks included. The defaults are those of DeepExplain (Ancona et al. 2018).

    Args:
        method: one of `METHODS`.
        network: (B, C, H, W) prepared images -> (B, K) logits.
        x: (B, C, H, W) prepared images, on the network's device.
        targets: (B,) classes whose logits are to be explained, or one for all.
        baseline: the image that stands for nothing, in normalised units: a number or (C,) of them. Zero is the mean colour.
        steps: of the way from the baseline to the image, at 1/steps, 2/steps, ..., 1.
        epsilon: added to a nonlinearity's input before relevance is divided by it, with that input's sign.
        window: side in pixels of the painted square.
        stride: pixels from one square to the next; the squares lie side by side where None.
        layer: the module of `network` whose output Grad-CAM reads; where None, the last map of more than one pixel to which a
            convolution contributed before anything pooled it.
        seed: of the random numbers.
        rows: what to know the images by, so that an image's random numbers do not depend on the batch it is in: a whole
            number >= 0 for each; 0, 1, ... where None.
        batch_size: images, or altered copies of them, that the network is given at a time (DeepLIFT: twice as many).
        tolerance: the largest completeness error with which epsilon-LRP and DeepLIFT, exact but for rounding, return a map.
            Integrated gradients is an approximation, whose error is returned and not judged.

    Returns:
        The maps: summed over channels, except saliency's, the largest over channels.

    Raises:
        ValueError: there is no such method, or an argument has the wrong shape or is out of range.
        NotRewritable: epsilon-LRP or DeepLIFT has no rule for something in the network, or the network cannot be traced.
        NotComplete: the map of epsilon-LRP or DeepLIFT does not add up.
        ImportError: captum is not installed.
    """
    if method not in METHODS:
        raise ValueError(f"there is no attribution method {method!r}: choose among {', '.join(METHODS)}")
    if x.ndim != 4 or not len(x):
        raise ValueError(f"images have the shape (B, C, H, W), with at least one of them, got {tuple(x.shape)}")
    least = {
        "steps": (steps, 2),
        "window": (window, 1),
        "stride": (1 if stride is None else stride, 1),
        "batch_size": (batch_size, 1),
    }
    for name, (number, smallest) in least.items():
        if number < smallest:
            raise ValueError(f"{name} must be at least {smallest}, got {number}")
    if epsilon <= 0:
        raise ValueError(f"epsilon must be above 0, got {epsilon}")
    if method == "random":
        return Attribution(_random(x, seed, rows))
    needs("captum.attr", "compare")
    with exact(network), torch.inference_mode(False), torch.enable_grad():
        x = x.detach().clone()  # a tensor made in inference mode has no gradient
        options = Options(
            x[:batch_size],
            _baseline(baseline, x),
            steps,
            epsilon,
            window,
            window if stride is None else stride,
            layer,
            seed,
            batch_size,
            tolerance,
        )
        classes = _targets(targets, network, x)
        run = _RUNS[method](network, options)
        parts = [run(x[rows].requires_grad_(), classes[rows]) for rows in _batches(len(x), batch_size)]
    return Attribution(
        torch.cat([part.values.detach().float() for part in parts]),
        *(_joined([getattr(part, field) for part in parts]) for field in ("completeness", "absorbed")),
    )


Run = Callable[[Tensor, Tensor], Attribution]


def _saliency(network: nn.Module, _options: Options) -> Run:
    method = needs("captum.attr", "compare").Saliency(network)
    return lambda images, targets: Attribution(method.attribute(images, target=targets).amax(1))


def _integrated_gradients(network: nn.Module, options: Options) -> Run:
    method = needs("captum.attr", "compare").IntegratedGradients(network)

    def run(images: Tensor, targets: Tensor) -> Attribution:
        values = method.attribute(
            images,
            options.baseline.expand_as(images),
            targets,
            n_steps=options.steps,
            method="riemann_right",
            internal_batch_size=options.batch_size,
        )
        logits, before = _logits(network, images, targets, options.baseline)
        return Attribution(values.sum(1), _error(values, logits, before))

    return run


def _epsilon_lrp(network: nn.Module, options: Options) -> Run:
    from .relevance import epsilon_lrp

    rewritten = as_steps(network, options.example)

    def run(images: Tensor, targets: Tensor) -> Attribution:
        values, absorbed = epsilon_lrp(rewritten, images, targets, options.epsilon)
        logits, _ = _logits(network, images, targets)
        error = _error(values, logits, _Logits(absorbed, logits.largest))
        _check("epsilon_lrp", network, error, options.tolerance)
        return Attribution(values.sum(1), error, absorbed)

    return run


def _deeplift(network: nn.Module, options: Options) -> Run:
    method = needs("captum.attr", "compare").DeepLift(with_own_nonlinearities(network, options.example))

    def run(images: Tensor, targets: Tensor) -> Attribution:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Setting forward, backward hooks")  # on a copy, which nobody else has
            values = method.attribute(images, options.baseline.expand_as(images), targets)
        logits, before = _logits(network, images, targets, options.baseline)
        error = _error(values, logits, before)
        _check("deeplift", network, error, options.tolerance)
        return Attribution(values.sum(1), error)

    return run


def _grad_cam(network: nn.Module, options: Options) -> Run:
    layer = options.layer if options.layer is not None else last_map(network, options.example[:1])
    if all(module is not layer for module in network.modules()):
        raise ValueError(f"layer is no part of {name_of(network)}")
    method = needs("captum.attr", "compare").LayerGradCam(network, layer)

    def run(images: Tensor, targets: Tensor) -> Attribution:
        values = method.attribute(images, target=targets, relu_attributions=True)
        return Attribution(F.interpolate(values, images.shape[2:], mode="bilinear")[:, 0])

    return run


def _occlusion(network: nn.Module, options: Options) -> Run:
    method = needs("captum.attr", "compare").Occlusion(network)
    channels, height, width = options.example.shape[1:]
    sides = min(options.window, height), min(options.window, width)
    strides = min(options.stride, sides[0]), min(options.stride, sides[1])
    if options.stride > options.window:
        raise ValueError(
            f"squares of {options.window} px every {options.stride} px leave pixels out: choose a stride up to the window"
        )

    def run(images: Tensor, targets: Tensor) -> Attribution:
        with torch.no_grad():
            drops = method.attribute(
                images,
                (channels, *sides),
                (channels, *strides),
                options.baseline.expand_as(images),
                targets,
                perturbations_per_eval=max(1, options.batch_size // len(images)),
            )
        # captum gives each of a square's values, in each channel, all of the drop, and their mean where squares overlap
        return Attribution(drops.mean(1) / (sides[0] * sides[1]))

    return run


_RUNS: dict[str, Callable[[nn.Module, Options], Run]] = {
    "saliency": _saliency,
    "integrated_gradients": _integrated_gradients,
    "epsilon_lrp": _epsilon_lrp,
    "deeplift": _deeplift,
    "grad_cam": _grad_cam,
    "occlusion": _occlusion,
}


def _random(x: Tensor, seed: int, rows: Sequence[int] | None) -> Tensor:
    rows = range(len(x)) if rows is None else rows
    if len(rows) != len(x):
        raise ValueError(f"rows must name each of {len(x)} images, got {len(rows)}")
    maps = [np.random.default_rng((seed, row)).random(tuple(x.shape[2:]), np.float32) for row in rows]
    return torch.from_numpy(np.stack(maps)).to(x.device)


def last_map(network: nn.Module, x: Tensor) -> nn.Module:
    """The module that puts out a network's last convolutional map: what Grad-CAM reads.

    It is the last to finish, among those with maps of the last convolution's size, before anything pools: behind that
    convolution's normalisation and activation and, in a residual network, behind the sum.

    Args:
        network: in eval mode.
        x: (1, C, H, W) an image to try it with.

    Raises:
        ValueError: no convolution of the network puts out a map of more than one pixel.
    """
    maps: list[nn.Module] = []
    size: list[torch.Size] = []
    pooled = False

    def finished(module: nn.Module, _inputs: Any, output: Any) -> None:
        nonlocal pooled
        if not isinstance(output, Tensor) or output.ndim != 4 or output.shape[2] * output.shape[3] == 1:
            return
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            maps[:], size[:], pooled = [module], [output.shape[2:]], False
        elif isinstance(module, _POOLS):
            pooled = True
        elif maps and not pooled and output.shape[2:] == size[0]:
            maps[:] = [module]

    handles = [module.register_forward_hook(finished) for module in network.modules()]
    try:
        with torch.no_grad():
            network(x)
    finally:
        for handle in handles:
            handle.remove()
    if not maps:
        raise NoFeatureMap(
            f"{name_of(network)}: no convolution puts out a map of more than one pixel; Grad-CAM has nothing to show"
        )
    return maps[0]


_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)


@dataclass(frozen=True, slots=True)
class _Logits:
    """Args: of_targets: (B,) float64; largest: (B,) float64, the largest absolute logit of each image."""

    of_targets: Tensor
    largest: Tensor


@torch.no_grad()
def _logits(network: nn.Module, x: Tensor, targets: Tensor, baseline: Tensor | None = None) -> tuple[_Logits, _Logits]:
    """The network's own answers to images and to the baseline (a black one where None), from passes without any hook."""
    answers = network(x.clone()).double()
    nothing = torch.zeros_like(answers) if baseline is None else network(baseline.clone()).double().expand_as(answers)
    both = [_Logits(values.gather(1, targets[:, None])[:, 0], values.abs().amax(1)) for values in (answers, nothing)]
    return both[0], both[1]


def _error(values: Tensor, logits: _Logits, less: _Logits) -> Tensor:
    """(B,) by how much maps miss the difference of two logits, relative to the largest logit."""
    missed = (values.double().flatten(1).sum(1) - (logits.of_targets - less.of_targets)).abs()
    scale: Tensor = torch.maximum(logits.largest, less.largest)
    return (missed / scale.clamp_min(torch.finfo(torch.float64).tiny)).detach()


def _check(method: str, network: nn.Module, error: Tensor, tolerance: float) -> None:
    worst = float(error.nan_to_num(torch.inf).max())
    if worst > tolerance:
        raise NotComplete(
            f"{method} of {name_of(network)}: its map and {METHODS[method].sums_to} differ by {worst:.1e} of the largest logit "
            f"(allowed: {tolerance:.0e}), so it says nothing about this network"
        )


def _baseline(baseline: float | Sequence[float] | Tensor, x: Tensor) -> Tensor:
    """(1, C, H, W), of one colour."""
    colour = torch.as_tensor(baseline, dtype=x.dtype, device=x.device)
    if colour.shape not in ((), (1,), (x.shape[1],)):
        raise ValueError(f"baseline must be a number or one for each of {x.shape[1]} channels, got shape {tuple(colour.shape)}")
    return colour.reshape(1, -1, 1, 1).expand(x[:1].shape)


def _targets(targets: Tensor | Sequence[int] | int, network: nn.Module, x: Tensor) -> Tensor:
    """(B,) classes, of which the network has logits."""
    classes = torch.as_tensor(targets, device=x.device).detach().clone()
    if classes.is_floating_point() or classes.shape not in ((), (len(x),)):
        raise ValueError(
            f"targets must be a class or one for each of {len(x)} images, got shape {tuple(classes.shape)} of {classes.dtype}"
        )
    classes = classes.long().expand(len(x))
    with torch.no_grad():
        answer = network(x[:1].clone())
    if not isinstance(answer, Tensor) or answer.ndim != 2:
        raise ValueError(f"{name_of(network)} does not answer an image with one row of logits")
    if classes.min() < 0 or classes.max() >= answer.shape[1]:
        raise ValueError(f"targets must be 0 to {answer.shape[1] - 1}, got {classes.min()} to {classes.max()}")
    return classes


def _batches(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, start + size)


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    tensors = [part for part in parts if part is not None]
    return torch.cat(tensors) if tensors else None
