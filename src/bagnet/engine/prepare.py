"""prepare: the same classifier, faster, on a runtime and in a precision asked for by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from ..bag import BagOfFeatures
from ..geometry import Geometry
from ..model import BagNet
from ..windowed_network import WindowedNetwork
from .bag_on_runtime import BagOnRuntime
from .classifier import Predictor, model_name
from .fold import FoldedFeatures
from .program import CannotRun
from .runtimes import PRECISIONS, RUNTIMES
from .runtimes.runner import Options, Runner
from .windows import WindowProgram, WindowRunner, typical_windows

_CROP_CELLS = 24  # per side of an image part to calibrate on


@dataclass(frozen=True, slots=True)
class Verification:
    """How a prepared model compares with the exact one on some images.

    Args:
        images: how many.
        top1_agreement: share of them whose best class is the same.
        largest_error: largest change of any logit, as a share of the largest logit; infinite where one is no number.
        runtime: which.
        precision: which was executed.
    """

    images: int
    top1_agreement: float
    largest_error: float
    runtime: str
    precision: str


class Prepared(BagOnRuntime):
    """A BagNet or a windowed network on a runtime: every call of theirs that classifies, with the same meaning.

    Built by `prepare`. The linear head runs here, in float32, always.
    """

    def __init__(self, model: BagOfFeatures, run: Callable[[BagOfFeatures], Runner], runtime: str) -> None:
        super().__init__(model, run(model), linear_head(model), runtime)
        self._exact, self._run = model, run
        self._finer: dict[int, Prepared] = {}

    def at_stride(self, stride: int) -> Prepared:
        """As `BagNet.at_stride`; each is built once."""
        network = self._exact.at_stride(stride)
        reached = network.geometry.stride
        if reached == self.geometry.stride:
            return self
        if reached not in self._finer:
            self._finer[reached] = Prepared(network, self._run, self.runtime)
        return self._finer[reached]

    @torch.inference_mode()
    def verify(self, images: Tensor | Iterable[Tensor]) -> Verification:
        """Compare with the exact model on prepared images.

        Args:
            images: (B, C, H, W), or batches of them.

        Raises:
            ValueError: there is not one image.
        """
        batches = [images] if isinstance(images, Tensor) else images
        count, same, error, largest = 0, 0, 0.0, 0.0
        for batch in batches:
            if not len(batch):
                continue
            exact, logits = self._exact(batch).float(), self(batch).to(batch.device)
            count += len(batch)
            same += int((exact.argmax(1) == logits.argmax(1)).sum())
            error = max(error, float((exact - logits).abs().nan_to_num(nan=float("inf")).max()))
            largest = max(largest, float(exact.abs().max()))
        if not count:
            raise ValueError("there is no image to compare on")
        return Verification(count, same / count, error / largest, self.runtime, self.precision)


def prepare(
    model: Predictor,
    runtime: str = "torch",
    precision: str = "float32",
    *,
    calibration: Tensor | Iterable[Tensor] | None = None,
    compile: bool = False,
    threads: int | None = None,
) -> Prepared:
    """The same classifier on a faster runtime. The model given is not changed, and later changes to it are not seen.

    Args:
        model: a BagNet or a windowed network, in eval mode.
        runtime: a name in `RUNTIMES`, which also says what each runs and which of the options below it heeds.
        precision: "float32" changes no answer but its rounding; "tf32" (CUDA), "bf16" and "int8" do: see `Prepared.verify`.
            "mixed" is float32 for the first quarter of the arithmetic, about, and bf16 for the rest.
        calibration: for int8: prepared images (B, C, H, W) of the kind to be classified, or batches of them.
        compile: use torch.compile.
        threads: how many, instead of all cores.

    Raises:
        CannotRun: the model is neither, there is no such runtime or precision, or not on this processor, int8 without
            calibration, calibration without int8, fewer than one thread.
        ValueError: the calibration images are no batches that the model takes.
        ImportError: the runtime's package is missing; the message has the pip command.
    """
    if runtime not in RUNTIMES:
        raise CannotRun(f"there is no runtime {runtime!r}: there are {', '.join(RUNTIMES)}")
    if precision not in PRECISIONS:
        raise CannotRun(f"there is no precision {precision!r}: there are {', '.join(PRECISIONS)}")
    asked = {"compile": compile, "threads": threads is not None}
    for option in (name for name, is_set in asked.items() if is_set and name not in RUNTIMES[runtime].options):
        able = [name for name, candidate in RUNTIMES.items() if option in candidate.options]
        raise CannotRun(f"{option} is for {' and '.join(able)}, not for {runtime}")
    if threads is not None and threads < 1:
        raise CannotRun(f"threads must be at least 1, got {threads}")
    if calibration is not None and precision != "int8":
        raise CannotRun(f"calibration images are for int8, not for {precision}: leave them out")
    if not isinstance(model, BagOfFeatures):
        if model.runtime != "torch":
            raise CannotRun(f"{model_name(model)} runs on {model.runtime} already: prepare the network that it was made from")
        raise CannotRun(f"{model_name(model)} is not a bag of windows and cannot be prepared: it runs on torch in float32 alone")
    exact = frozen_copy(model)
    batches = None if calibration is None else _calibration(exact, calibration)
    device = next(exact.parameters()).device
    options = Options(str(device) if runtime == "torch" else "cpu", compile, threads)
    start = partial(RUNTIMES[runtime].run, precision=precision)
    return Prepared(exact, _windows_run(exact, start, options, batches) or _whole_run(start, options, batches), runtime)


Start = Callable[..., Runner]


def _windows_run(
    model: BagOfFeatures, start: Start, options: Options, batches: list[Tensor] | None
) -> Callable[[BagOfFeatures], Runner] | None:
    """How a windowed network is run at any stride: by one program for its windows; None where it is none."""
    if not isinstance(model, WindowedNetwork):
        return None
    typical = None if batches is None else typical_windows(batches, model.geometry)
    runner = start(WindowProgram(model), options=replace(options, calibration=typical))
    return lambda finer: WindowRunner(runner, finer.geometry)


def _whole_run(start: Start, options: Options, batches: list[Tensor] | None) -> Callable[[BagOfFeatures], Runner]:
    """How a BagNet is run: by a program for each stride, all windows of an image at once."""

    def run(model: BagOfFeatures) -> Runner:
        assert isinstance(model, BagNet)
        dense = batches is not None and model.geometry.stride < model.architecture.geometry.stride
        typical = _crops(batches, model.geometry) if dense and batches is not None else batches
        return start(FoldedFeatures(model), options=replace(options, calibration=typical))

    return run


def _calibration(model: BagOfFeatures, images: Tensor | Iterable[Tensor]) -> list[Tensor]:
    """As batches that the model takes; at least one image."""
    batches = [images] if isinstance(images, Tensor) else list(images)
    for batch in batches:
        if not isinstance(batch, Tensor):
            raise ValueError(f"calibration images are prepared tensors of (B, C, H, W), got {type(batch).__name__}")
        model.check(batch)
    if not sum(map(len, batches)):
        raise CannotRun("int8 needs calibration images, and there is none among those given")
    return batches


def _crops(batches: Sequence[Tensor], geometry: Geometry) -> list[Tensor]:
    """A part of each image, at random: a network that computes at every pixel sees as many windows there as in a whole image."""
    side = geometry.smallest_input + _CROP_CELLS * geometry.stride
    random = torch.Generator().manual_seed(0)
    crops = []
    for batch in batches:
        height, width = min(side, batch.shape[2]), min(side, batch.shape[3])
        top = int(torch.randint(batch.shape[2] - height + 1, (), generator=random))
        left = int(torch.randint(batch.shape[3] - width + 1, (), generator=random))
        crops.append(batch[..., top : top + height, left : left + width].contiguous())
    return crops


def frozen_copy(model: BagOfFeatures) -> BagOfFeatures:
    """In float32 and eval mode. CannotRun: its head is no linear layer, nor the identity of logits that are averaged."""
    if not isinstance(model.fc, nn.Linear | nn.Identity):
        raise CannotRun(f"the head of the network is a {type(model.fc).__name__}: a linear one can be prepared or exported")
    return deepcopy(model).float().eval().requires_grad_(False)


def linear_head(model: BagOfFeatures) -> tuple[Tensor, Tensor] | None:
    """Matrix and bias of the head in float32; None where the features are the logits."""
    if not isinstance(model.fc, nn.Linear):
        return None
    weight = model.fc.weight.detach().float()
    return weight, weight.new_zeros(len(weight)) if model.fc.bias is None else model.fc.bias.detach().float()
