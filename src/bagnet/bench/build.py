"""Build what a case names: the network, prepared or as published, and the call to time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..bag import BagOfFeatures
from ..engine.cost import multiply_adds
from ..engine.fold import FoldedFeatures
from ..engine.prepare import prepare
from ..engine.runtimes import RUNTIMES
from ..engine.runtimes.runner import Options
from ..evidence.dense import dense
from ..model import BagNet
from ..windowed_network import WindowedNetwork
from ..zoo.load import create, load_network
from .cases import WHOLE, Case, is_windowed

PATCH_BATCH = 1000  # windows at a time in the official heat map's loop
_PATCH_SAMPLE = 2  # batches of the loop that are run; the rest is extrapolated


@dataclass(slots=True)
class Workload:
    """Something to time, and by how much its time is to be multiplied where only a sample is run."""

    call: Callable[[], Tensor]
    executed: Callable[[], str]
    extrapolate: float = 1.0

    def __call__(self) -> Tensor:
        return self.call()


def built(case: Case) -> tuple[Workload, str, int, str]:
    """(what to run, precision, multiply-adds, note)."""
    torch.manual_seed(0)
    if case.network == "resnet50":
        from torchvision.models import resnet50

        network = resnet50().eval()
        x = torch.randn(case.batch, 3, case.size, case.size)
        cost = case.batch * multiply_adds(network, 3, case.size, case.size)
        if case.how == "published":
            network, x = network.to(case.device), x.to(case.device)
            return Workload(lambda: network(x), lambda: "float32"), "float32", cost, ""
        runner = RUNTIMES["torch"].run(network, case.precision, Options(case.device, compile=True))
        return Workload(lambda: runner.apply(x, torch.clone), lambda: runner.executed), runner.executed, cost, ""
    if is_windowed(case.network):
        return _windowed(case)
    model = create(case.network).eval().to(case.device)
    x = torch.randn(case.batch if case.task == "logits" else 1, 3, case.size, case.size).to(case.device)
    if case.task == "map":
        return _map(case, model, x)
    folded = FoldedFeatures(model)
    cost = case.batch * (multiply_adds(folded, 3, case.size, case.size) + model.fc.weight.numel())
    return _logits(case, model, x, cost)


def _windowed(case: Case) -> tuple[Workload, str, int, str]:
    """A bundled windowed network; with `whole`, its network on the whole image by itself."""
    model = load_network(case.network.removesuffix(WHOLE)).to(case.device)
    assert isinstance(model, WindowedNetwork)
    if case.network.endswith(WHOLE):
        x = torch.randn(case.batch, 3, case.size, case.size, device=case.device)
        cost = case.batch * multiply_adds(model.network, 3, case.size, case.size)
        return Workload(lambda: model.fc(model.network(x)), lambda: "float32"), "float32", cost, ""
    side = model.transform.resize or case.size
    x = torch.randn(case.batch, 3, side, side, device=case.device)
    cells = prod(model.geometry.grid(side, side))
    cost = case.batch * cells * multiply_adds(model.network, 3, model.geometry.size, model.geometry.size)
    return _logits(case, model, x, cost)


def _logits(case: Case, model: BagOfFeatures, x: Tensor, cost: int) -> tuple[Workload, str, int, str]:
    if case.how == "published":
        for layer in model.modules():
            if isinstance(layer, nn.ReLU):
                layer.inplace = True  # as published
        return Workload(lambda: model(x), lambda: "float32"), "float32", cost, ""
    calibration = _calibration(case, x.shape[-1])
    ready = prepare(model, case.runtime, case.precision, calibration=calibration, compile=case.device == "cuda")
    return Workload(lambda: ready(x), lambda: ready.precision), ready.precision, cost, ""


def _map(case: Case, model: BagNet, x: Tensor) -> tuple[Workload, str, int, str]:
    """The full-resolution map of class 0."""
    size = model.geometry.size
    margin = (size - 1) // 2
    wide = case.size + 2 * margin
    cost = multiply_adds(FoldedFeatures(model.at_stride(1)), 3, wide, wide) + case.size**2 * model.fc.in_features
    if case.how == "published":
        windows = F.pad(x, [margin] * 4).unfold(2, size, 1).unfold(3, size, 1)[0].flatten(1, 2)
        sample = _PATCH_SAMPLE * PATCH_BATCH

        def loop() -> Tensor:
            values = torch.full((case.size**2,), torch.nan, device=x.device)
            for start in range(0, sample, PATCH_BATCH):
                rows = slice(start, start + PATCH_BATCH)
                values[rows] = model(windows[:, rows].permute(1, 0, 2, 3).contiguous())[:, 0]
            return values.reshape(1, 1, case.size, case.size)

        note = f"extrapolated from {sample} of {case.size**2} windows, {PATCH_BATCH} at a time"
        return Workload(loop, lambda: "float32", case.size**2 / sample), "float32", cost, note
    ready = prepare(model, case.runtime, case.precision, calibration=_calibration(case, case.size), compile=case.device == "cuda")
    return Workload(lambda: dense(ready, x, [0]).values, lambda: ready.precision), ready.precision, cost, ""


def _calibration(case: Case, side: int) -> list[Tensor] | None:
    if case.precision != "int8":
        return None
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(1, 3, side, side, generator=generator) for _ in range(8)]
