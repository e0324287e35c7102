"""Which channels of a network are dead, what low precision costs in each layer, and the exact repair."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import count
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..model import BagNet, Bottleneck
from ..progress import Listener, Progress, unheard

ROUNDINGS = ("tf32", "bf16", "fp16")
EXACT = 1e-5  # of the largest logit: how far the repair may move any
_CONSTANT = 1e-6  # dead is a channel whose output varies by no more than this share of what it is added to or stands beside
_SAMPLES = ("astronaut.png", "chelsea.png", "coffee.png")


@dataclass(frozen=True, slots=True)
class Layer:
    """One convolution (with the batch normalisation after it) or the linear head.

    Args:
        name: of the convolution, or "fc".
        channels: of its output.
        dead: those whose output is constant, or feeds nothing but dead channels.
        largest_weight: absolute.
        rounding: precision -> largest change of a logit when this layer alone runs in it, as a share of the largest logit;
            infinite where a number overflows.
    """

    name: str
    channels: int
    dead: tuple[int, ...]
    largest_weight: float
    rounding: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was measured on some images.

    Args:
        layers: in the order of the network.
        whole: precision -> as `Layer.rounding`, with every layer in it.
        agreement: precision -> share of the images whose best class stays the best.
        images: how many.
        size: (height, width) of the inputs in pixels.
        tolerance: share of the largest logit from which a layer is named in `float32_layers`.
    """

    layers: tuple[Layer, ...]
    whole: Mapping[str, float]
    agreement: Mapping[str, float]
    images: int
    size: tuple[int, int]
    tolerance: float

    @property
    def float32_layers(self) -> tuple[str, ...]:
        """Layers that cost more than the tolerance in some precision, all by themselves."""
        return tuple(layer.name for layer in self.layers if not max(layer.rounding.values()) <= self.tolerance)

    @property
    def dead(self) -> int:
        """Number of dead channels."""
        return sum(len(layer.dead) for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold: an infinite cost, which it cannot, is None."""
        record: dict[str, Any] = _finite({**asdict(self), "float32_layers": self.float32_layers})
        return record

    def to_text(self) -> str:
        """A table for people."""
        lines = [
            f"{self.images} images of {self.size[0]} x {self.size[1]} px; largest change of a logit, as a share of the largest",
            f"{'layer':24} {'dead':>11} {'max |w|':>9} " + " ".join(f"{precision:>9}" for precision in ROUNDINGS),
        ]
        for layer in self.layers:
            costs = " ".join(f"{layer.rounding[precision]:9.1e}" for precision in ROUNDINGS)
            dead = f"{len(layer.dead)} of {layer.channels}"
            lines.append(f"{layer.name:24} {dead:>11} {layer.largest_weight:9.1e} {costs}")
        lines.append(f"{'all layers':24} {self.dead:>11} {'':9} " + " ".join(f"{self.whole[p]:9.1e}" for p in ROUNDINGS))
        lines.append(f"{'best class unchanged':46} " + " ".join(f"{self.agreement[p]:9.0%}" for p in ROUNDINGS))
        keep = ", ".join(self.float32_layers) or "none"
        lines.append(f"layers that cost more than {self.tolerance:g} by themselves: {keep}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Repair:
    """What the repair did and what it recovered, as measured.

    Args:
        removed: dead channels taken out.
        error: largest change of a float32 logit, as a share of the largest.
        before: precision -> largest change of a logit with every layer in it, as a share of the largest, before.
        after: the same after the dead channels were removed.
        kept: the same with `float32_layers` left in float32 as well.
        float32_layers: layers to keep in float32.
    """

    removed: int
    error: float
    before: Mapping[str, float]
    after: Mapping[str, float]
    kept: Mapping[str, float]
    float32_layers: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold: an infinite cost, which it cannot, is None."""
        record: dict[str, Any] = _finite(asdict(self))
        return record

    def to_text(self) -> str:
        """A table for people."""
        lines = [f"repair: {self.removed} dead channels removed; float32 logits moved by {self.error:.1e} of the largest"]
        for title, costs in (("before", self.before), ("dead removed", self.after), ("and layers kept", self.kept)):
            lines.append(f"{title:46} " + " ".join(f"{costs[precision]:9.1e}" for precision in ROUNDINGS))
        return "\n".join(lines)


def sample_images(model: BagNet, paths: Sequence[Path] | None = None, size: int | None = None) -> Tensor:
    """(B, C, H, W) inputs to measure on: photographs, scikit-image's samples where none are named, noise for other channels.

    Raises:
        FileNotFoundError, BadImage: a photograph cannot be read.
        ValueError: the prepared photographs differ in size.
    """
    transform = model.transform if size is None else model.transform.with_crop(size)
    if model.architecture.in_channels not in (1, 3):
        side = transform.crop or 2 * model.geometry.size
        generator = torch.Generator().manual_seed(0)
        return torch.randn((4, model.architecture.in_channels, side, side), generator=generator)
    if not paths:
        import skimage

        paths = [Path(skimage.__file__).parent / "data" / name for name in _SAMPLES]
    prepared = [transform(path) for path in paths]
    if len({x.shape for x in prepared}) > 1:
        raise ValueError("the photographs are of different sizes, and this model's preparation leaves them so: name a size")
    return torch.stack(prepared)


@torch.inference_mode()
def diagnose(model: BagNet, images: Tensor, tolerance: float = 1e-2, progress: Listener = unheard) -> Diagnosis:
    """Measure dead channels, and the cost of TF32, bf16 and fp16 in each layer alone and in all together.

    The precisions are simulated exactly in float32: inputs and weights of a layer rounded to the shorter mantissa (and for
    bf16 and fp16 the output too), products summed in float32.

    Args:
        model: in eval mode.
        images: (B, C, H, W) prepared images.
        tolerance: from which a layer is named as one to keep in float32.
        progress: told after every layer.
    """
    layers = _layers(model)
    steps, total = count(1), (len(layers) + 1) * len(ROUNDINGS)
    exact = model(images)
    largest = exact.abs().max()

    def cost(names: Collection[str], precision: str) -> tuple[float, float]:
        with computing_in(model, names, precision):
            logits = model(images)
        progress(Progress("measuring", next(steps), total, "steps"))
        return _share(logits - exact, largest), float((logits.argmax(1) == exact.argmax(1)).double().mean())

    dead = _dead_channels(model, images)
    measured = tuple(
        Layer(
            name,
            channels=layer.weight.shape[0],
            dead=dead.get(name, ()),
            largest_weight=float(layer.weight.abs().max()),
            rounding={precision: cost([name], precision)[0] for precision in ROUNDINGS},
        )
        for name, layer in layers.items()
    )
    together = {precision: cost(layers, precision) for precision in ROUNDINGS}
    return Diagnosis(
        measured,
        whole={precision: error for precision, (error, _) in together.items()},
        agreement={precision: same for precision, (_, same) in together.items()},
        images=len(images),
        size=(images.shape[2], images.shape[3]),
        tolerance=tolerance,
    )


@torch.no_grad()
def mend(model: BagNet, images: Tensor, diagnosis: Diagnosis, progress: Listener = unheard) -> Repair:
    """Replace every dead channel by the constant it is, in place, and note on the card which layers to keep in float32.

    A dead channel gets zero weights and its constant as the bias of its batch normalisation: no rounding can move it any
    more, and its shape stays what published checkpoints have.

    Raises:
        ValueError: the float32 logits would move by more than `EXACT` of the largest; the network is unchanged then.
    """
    steps, total = count(1), 3 * len(ROUNDINGS)
    exact = model(images)
    keep = diagnosis.float32_layers
    names = [layer.name for layer in diagnosis.layers]

    def costs(names: Collection[str]) -> dict[str, float]:
        changes = {}
        for precision in ROUNDINGS:
            with computing_in(model, names, precision):
                logits = model(images)
            progress(Progress("repairing", next(steps), total, "steps"))
            changes[precision] = _share(logits - exact, exact.abs().max())
        return changes

    before = costs(names)
    untouched = {key: value.clone() for key, value in model.state_dict().items()}
    constants = {name: (low + high) / 2 for name, (low, high) in _ranges(model, images).items()}
    modules = dict(model.named_modules())
    for layer in diagnosis.layers:
        if not layer.dead:
            continue
        channels = list(layer.dead)
        norm = modules[_norm_after(layer.name)]
        assert isinstance(norm, nn.BatchNorm2d)
        norm.bias[channels] = constants[layer.name][channels]
        modules[layer.name].weight[channels] = 0.0
        norm.weight[channels] = 0.0
        norm.running_mean[channels] = 0.0  # type: ignore[index]
        norm.running_var[channels] = 1.0  # type: ignore[index]
    error = _share(model(images) - exact, exact.abs().max())
    if not error <= EXACT:
        model.load_state_dict(untouched)
        raise ValueError(f"the repair would move a logit by {error:g} of the largest, more than {EXACT:g}; nothing was changed")

    if model.card is not None:
        model.card = replace(model.card, float32_layers=keep)
    return Repair(
        removed=diagnosis.dead,
        error=error,
        before=before,
        after=costs(names),
        kept=costs([name for name in names if name not in keep]),
        float32_layers=keep,
    )


@contextmanager
def computing_in(model: BagNet, names: Collection[str], precision: str) -> Iterator[None]:
    """Inside, the named layers compute as hardware of that precision does: "tf32", "bf16" or "fp16"."""
    layers = _layers(model)
    with ExitStack() as stack:
        for name in names:
            layer = layers[name]
            weight = layer.weight.data
            layer.weight.data = _round(weight, precision)
            stack.callback(setattr, layer.weight, "data", weight)
            stack.callback(layer.register_forward_pre_hook(lambda _, x: _round(x[0], precision)).remove)
            if precision != "tf32":
                stack.callback(layer.register_forward_hook(lambda _, x, y: _round(y, precision)).remove)
        yield


def _share(difference: Tensor, largest: Tensor) -> float:
    """The largest difference as a share; infinite where a number overflowed on the way."""
    return float((difference.abs().max() / largest).nan_to_num(nan=float("inf"), posinf=float("inf")))


def _finite(value: Any) -> Any:
    """The same record with None for every number that is infinite."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _round(x: Tensor, precision: str) -> Tensor:
    if precision == "bf16":
        return x.bfloat16().float()
    if precision == "fp16":
        return x.half().float()
    bits = x.contiguous().view(torch.int32)  # TF32 keeps 10 of the 23 bits of the mantissa; to nearest, ties to even
    bits = (bits + 0xFFF + ((bits >> 13) & 1)) & ~0x1FFF
    return bits.view(torch.float32)


def _layers(model: BagNet) -> dict[str, nn.Conv2d | nn.Linear]:
    """The convolutions and the linear head, by name, in the order of the network."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, (nn.Conv2d, nn.Linear))}


def _norm_after(convolution: str) -> str:
    """The batch normalisation that a convolution feeds; the 1x1 stem of the unpadded family has none of its own."""
    if convolution.endswith("downsample.0"):
        return convolution.removesuffix("0") + "1"
    if "." not in convolution:
        return "bn1"
    return convolution.replace(".conv", ".bn")


def _normalised(model: BagNet) -> dict[str, nn.Module]:
    """Convolution -> the batch normalisation after it, leaving out a stem convolution that has none."""
    modules = dict(model.named_modules())
    bare = set() if model.architecture.padded else {"conv1"}
    return {
        name: modules[_norm_after(name)]
        for name, layer in _layers(model).items()
        if isinstance(layer, nn.Conv2d) and name not in bare
    }


def _ranges(model: BagNet, images: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Convolution -> (lowest, highest) output of each channel after its batch normalisation, (C,) each."""
    ranges: dict[str, tuple[Tensor, Tensor]] = {}
    with ExitStack() as stack:
        for name, norm in _normalised(model).items():

            def note(_: nn.Module, __: Any, y: Tensor, name: str = name) -> None:
                ranges[name] = y.amin((0, 2, 3)), y.amax((0, 2, 3))

            stack.callback(norm.register_forward_hook(note).remove)
        model(images)
    return ranges


def _dead_channels(model: BagNet, images: Tensor) -> dict[str, tuple[int, ...]]:
    """Convolution -> its dead channels.

    Inside a block a channel stands beside its neighbours; at the end of a branch it is added to the stream, and is measured
    against that, whatever its own batch normalisation makes of it. A channel that reaches only dead ones is dead as well,
    and so a block whose whole branch is dead takes all channels inside along.

    What did not vary on these images might on others, where neurons fire that were silent here. So a channel must also be
    unable to vary by its weights, see `_reach`.
    """
    inputs: dict[str, tuple[float, float]] = {}  # block -> (largest value, range) of the stream that enters it
    blocks = {name: block for name, block in model.named_modules() if isinstance(block, Bottleneck)}
    with ExitStack() as stack:
        for name, block in blocks.items():

            def note(_: nn.Module, x: Any, name: str = name) -> None:
                inputs[name] = float(x[0].abs().max()), float(x[0].max() - x[0].min())

            stack.callback(block.register_forward_pre_hook(note).remove)
        ranges = _ranges(model, images)
    size = {name: float(torch.maximum(low.abs(), high.abs()).max()) for name, (low, high) in ranges.items()}
    for name, block in blocks.items():
        if block.downsample is not None:
            size[f"{name}.conv3"] = size[f"{name}.downsample.0"] = size[f"{name}.conv3"] + size[f"{name}.downsample.0"]
        else:
            size[f"{name}.conv3"] = max(inputs[name][0], size[f"{name}.conv3"])
    reach = _reach(model, float(images.max() - images.min()), {name: spread for name, (_, spread) in inputs.items()})
    dead = {name: torch.maximum(high - low, reach[name]) <= _CONSTANT * size[name] for name, (low, high) in ranges.items()}
    for name, block in blocks.items():
        for inner, outer, module in (("conv2", "conv3", block.conv3), ("conv1", "conv2", block.conv2)):
            used = module.weight[~dead[f"{name}.{outer}"]] != 0  # (live channels, channels, k, k)
            dead[f"{name}.{inner}"] |= ~used.any(3).any(2).any(0)
    return {name: tuple(mask.nonzero().flatten().tolist()) for name, mask in dead.items()}


def _reach(model: BagNet, image_spread: float, block_spreads: Mapping[str, float]) -> dict[str, Tensor]:
    """Convolution -> how far each channel varies after its batch normalisation if its inputs vary independently, (C,) each.

    By the weights alone, from the widest variation of any channel that enters the block: the rectifiers, which may silence
    a neuron on the images at hand and not on the next, have no part in it.
    """
    modules = dict(model.named_modules())

    def through(name: str, spread: Tensor | float) -> Tensor:
        weight = modules[name].weight.detach().double()
        varied = (weight * torch.as_tensor(spread, dtype=torch.float64, device=weight.device).reshape(1, -1, 1, 1)) ** 2
        reached: Tensor = varied.sum((1, 2, 3)).sqrt()
        if name in normalised:
            norm: Any = normalised[name]
            reached = reached * (norm.weight.detach().double().abs() / (norm.running_var.double() + norm.eps).sqrt())
        return reached

    normalised = _normalised(model)
    reach = {"conv1": through("conv1", image_spread)}
    if not model.architecture.padded:
        reach["conv2"] = through("conv2", reach.pop("conv1"))
    for name, spread in block_spreads.items():
        if f"{name}.downsample.0" in normalised:
            reach[f"{name}.downsample.0"] = through(f"{name}.downsample.0", spread)
        reached: Tensor | float = spread
        for inner in ("conv1", "conv2", "conv3"):
            reached = reach[f"{name}.{inner}"] = through(f"{name}.{inner}", reached)
    return reach
