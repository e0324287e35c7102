"""OpenVINO as a runtime, on the CPU."""

from __future__ import annotations

import logging
import warnings
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from io import StringIO
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ...missing import needs
from ..program import CannotRun, Program
from .runner import FLOAT32_SHARE, Options, Result

_SHAPES = 8  # programs kept per runner, one per input shape: the runtime plans best for a shape that it knows
_PATIENCE = 16  # runs of one more shape, by a program for any shape, before it takes the place of another


class OpenVINORunner:
    """OpenVINO on the CPU. A program is compiled for each input shape as long as they are few; one for any shape runs the rest.

    Args:
        network: on the CPU, float32.
        precision: "float32", "mixed", "bf16" or "int8": the 1x1 convolutions in int8, the few larger ones and the sums
            between blocks in bf16 where the processor has it, else in float32.
        options: `threads`, and `calibration` for int8.

    Raises:
        CannotRun: not on this processor, or int8 without calibration.
    """

    def __init__(self, network: Program, precision: str, options: Options) -> None:
        openvino = needs("openvino", "export")
        network = network.cpu()
        self._core = openvino.Core()
        has_bf16 = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision in ("mixed", "bf16") and not has_bf16:
            raise CannotRun("this processor has no bf16 instructions: take float32 or int8")
        if precision == "int8" and options.calibration is None:
            raise CannotRun("int8 needs calibration images: give some typical ones")
        self._threads = options.threads
        self._half = precision != "float32" and has_bf16
        hint = "bf16" if self._half else "f32"
        # Stages run one after the other; each is an OpenVINO model and the precision of what is not quantised in it.
        stages: list[tuple[Any, str]]
        if precision == "mixed":
            first, rest = network.split(FLOAT32_SHARE)
            x = network.example
            with torch.inference_mode():
                stages = [(_converted(first, x), "f32"), (_converted(rest, first(x)), hint)]
            stages = [(_channels_last(stages[0][0], out=True), "f32"), (_channels_last(stages[1][0], out=False), hint)]
        else:
            model = _converted(network, network.example)
            if precision == "int8":
                model = quantised(model, [batch.numpy() for batch in options.calibration or ()])
            stages = [(model, hint)]
        *before, (last, _) = stages
        self._stages = {
            "features": [*before, (_channels_last(last, out=True) if self._half else last, hint)],
            "pooled": [*before, (_averaged(last), hint)],
        }
        self._programs: OrderedDict[tuple[Any, ...], list[Any]] = OrderedDict()
        self._open: dict[str, list[Any]] = {}
        self._waiting: Counter[tuple[Any, ...]] = Counter()
        self.executed = precision

    def apply(self, x: Tensor, use: Callable[[Tensor], Result]) -> Result:
        features = self._run("features", x).data
        if self._half:
            return use(torch.from_numpy(features.view("int16")).view(torch.bfloat16).permute(0, 3, 1, 2))
        return use(torch.from_numpy(features))

    def pooled(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self._run("pooled", x).data).clone()

    def _run(self, kind: str, x: Tensor) -> Any:
        """The tensor that the last stage hands out; the next run of the same program overwrites it."""
        x = x.float().contiguous()
        requests = self._program(kind, x.shape)
        requests[0].infer([x.numpy()], share_inputs=True)
        for before, request in pairwise(requests):
            request.set_input_tensor(before.get_output_tensor(0))
            request.infer()
        return requests[-1].get_output_tensor(0)

    def _program(self, kind: str, shape: Sequence[int]) -> list[Any]:
        """A request for each stage. To compile takes longer than to run: a shape must come often, or be one of few."""
        key = (kind, *shape)
        if key in self._programs:
            self._programs.move_to_end(key)
            return self._programs[key]
        self._waiting[key] += 1
        if len(self._programs) == _SHAPES and self._waiting[key] <= _PATIENCE:
            if kind not in self._open:
                self._open[kind] = self._compiled(self._stages[kind], None)
            return self._open[kind]
        del self._waiting[key]
        self._programs[key] = self._compiled(self._stages[kind], shape)
        if len(self._programs) > _SHAPES:
            self._programs.popitem(last=False)
        return self._programs[key]

    def _compiled(self, stages: Sequence[tuple[Any, str]], shape: Sequence[int] | None) -> list[Any]:
        """A request for each stage, for inputs of one shape or, where None, of any."""
        requests: list[Any] = []
        executed = []
        for model, hint in stages:
            settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": hint}
            if self._threads is not None:
                settings["INFERENCE_NUM_THREADS"] = self._threads
            planned = model.clone()
            if shape is not None:
                planned.reshape(list(requests[-1].get_output_tensor(0).shape if requests else shape))
            compiled = self._core.compile_model(planned, "CPU", settings)
            executed.append(_executed(compiled))
            requests.append(compiled.create_infer_request())
        self.executed = "mixed" if set(executed) == {"float32", "bf16"} else executed[-1]
        return requests


def _converted(network: nn.Module, example: Tensor) -> Any:
    openvino = needs("openvino", "export")
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of tracing: the few branches depend on the architecture alone
        return openvino.convert_model(network, example_input=example)


def _channels_last(model: Any, out: bool) -> Any:
    """The program that hands its features out, or takes them in, as bf16 and channels last, which is how it computes."""
    openvino = needs("openvino", "export")
    wrapped = openvino.preprocess.PrePostProcessor(model.clone())
    port = wrapped.output() if out else wrapped.input()
    port.model().set_layout(openvino.Layout("NCHW"))
    port.tensor().set_layout(openvino.Layout("NHWC")).set_element_type(openvino.Type.bf16)
    return wrapped.build()


def _averaged(model: Any) -> Any:
    """The program that ends in the mean over the grid: the same network, so that both round alike."""
    openvino = needs("openvino", "export")
    from openvino import opset13

    copy = model.clone()
    mean = opset13.reduce_mean(copy.outputs[0].get_node().input_value(0), [2, 3])
    return openvino.Model([mean], copy.get_parameters())


def quantised(model: Any, batches: list[Any], head: tuple[int, int] | None = None) -> Any:
    """The 1x1 convolutions in int8, but for a head that maps so many features (the second number) to so many logits.

    The 3x3 ones and the stem are few, and the sums between blocks cheap, but they cost most of the agreement: measured on
    the bundled model, whose answers on 250 photographs agree in 98.4 to 99.6 % of cases without them and in 94 to 96 % with
    (`benchmarks/int8.py`).
    """
    nncf = needs("nncf", "export")
    settings = needs("nncf.quantization.advanced_parameters", "export")
    ranges = needs("nncf.quantization.range_estimator", "export").RangeEstimatorParametersSet
    nncf.set_log_level(logging.ERROR)
    convolutions = [(op.get_friendly_name(), tuple(op.input(1).get_shape())) for op in _convolutions(model)]
    exact = [name for name, shape in convolutions if shape[2:] != (1, 1) or shape[:2] == head]
    with redirect_stdout(StringIO()):  # its progress bars are not our output
        return nncf.quantize(
            model,
            nncf.Dataset(batches),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(batches),
            fast_bias_correction=True,
            ignored_scope=nncf.IgnoredScope(names=exact, types=["Add", "ReduceMean"], validate=False),
            advanced_parameters=settings.AdvancedQuantizationParameters(
                activations_range_estimator_params=ranges.HISTOGRAM,
                # Without VNNI, pairs of products overflow 16 bits unless the weights keep to half of their range.
                overflow_fix=settings.OverflowFix.DISABLE if torch.cpu._is_vnni_supported() else settings.OverflowFix.ENABLE,
            ),
        )


def _convolutions(model: Any) -> list[Any]:
    return [op for op in model.get_ops() if op.get_type_name() == "Convolution"]


def _executed(compiled: Any) -> str:
    """In which precision most convolutions run, as the compiled program itself says."""

    def info(node: Any, key: str) -> str:
        value = node.get_rt_info()[key]
        return value if isinstance(value, str) else str(value.astype(str))

    nodes = compiled.get_runtime_model().get_ops()
    types = Counter(info(node, "runtimePrecision") for node in nodes if info(node, "layerType") == "Convolution")
    names = {"f32": "float32", "bf16": "bf16", "f16": "float16", "u8": "int8", "i8": "int8"}
    most = types.most_common(1)[0][0]
    return names.get(most, most)
