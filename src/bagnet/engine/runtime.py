"""Runtimes: who executes the bag of features, in which precision. The linear head is nobody's business here."""

from __future__ import annotations

import warnings
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from ..missing import needs
from .fold import FoldedFeatures

PRECISIONS = ("float32", "tf32", "bf16", "int8")
Found = TypeVar("Found")
_SHAPES = 8  # compiled programs kept per runner, one per input shape: fixed shapes run faster than open ones


class CannotRun(ValueError):
    """A runtime or precision that does not exist, or not on this machine. The message says which ones do."""


class Runner(Protocol):
    """Executes one network's features.

    `executed` is the precision that the convolutions really run in, as the runtime itself reports where it can.
    """

    executed: str

    def apply(self, x: Tensor, use: Callable[[Tensor], Found]) -> Found:
        """What `use` makes of the features of x: (B, C_in, H, W) float32 -> (B, C, h, w) float32 or bf16 -> anything.

        The features are lent for the call alone, in the type and memory layout in which they were computed; the next call
        may overwrite them. They are large: not copying pays.
        """

    def pooled(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) float32 -> (B, C) float32: the mean of the features over the grid, from the same program."""


class TorchRunner:
    """PyTorch, channels last.

    Args:
        network: on the CPU, float32.
        precision: "float32", "bf16", or on CUDA "tf32".
        compile_it: hand the network to torch.compile; worth its minute for long runs only.
        device: where to run.
    """

    def __init__(self, network: FoldedFeatures, precision: str, compile_it: bool = False, device: str = "cpu") -> None:
        self.device = torch.device(device)
        allowed = ("float32", "bf16", "tf32") if self.device.type == "cuda" else ("float32", "bf16")
        if precision not in allowed:
            raise CannotRun(f"torch on {self.device.type} runs {' and '.join(allowed)}, not {precision}")
        if precision == "bf16" and self.device.type == "cpu" and not _cpu_has_bf16():
            raise CannotRun("this processor has no bf16 instructions: take float32")
        self.executed = precision
        self._type = torch.bfloat16 if precision == "bf16" else torch.float32
        network = network.to(self.device, self._type, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._run: Callable[[Tensor], Tensor] = torch.compile(network) if compile_it else network

    def apply(self, x: Tensor, use: Callable[[Tensor], Found]) -> Found:
        x = x.to(self.device, self._type, memory_format=torch.channels_last)
        with torch.inference_mode(), _tf32(self.executed == "tf32"):
            features = self._run(x)
        return use(features)

    def pooled(self, x: Tensor) -> Tensor:
        x = x.to(self.device, self._type, memory_format=torch.channels_last)
        with torch.inference_mode(), _tf32(self.executed == "tf32"):
            return self._run(x).mean((2, 3), dtype=torch.float32)


class OpenVINORunner:
    """OpenVINO on the CPU; programs are compiled for each new input shape.

    Args:
        network: on the CPU, float32.
        precision: "float32", "bf16" or "int8".
        calibration: for int8: (B, C_in, H, W) batches of typical images.
        threads: how many; all cores where None.
    """

    def __init__(
        self, network: FoldedFeatures, precision: str, calibration: Iterable[Tensor] | None = None, threads: int | None = None
    ) -> None:
        openvino = needs("openvino", "export")
        if precision not in ("float32", "bf16", "int8"):
            raise CannotRun(f"openvino on the CPU runs float32, bf16 and int8, not {precision}")
        self._core = openvino.Core()
        if precision == "bf16" and "BF16" not in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise CannotRun("this processor has no bf16 instructions: take float32 or int8")
        self._settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        }
        if threads is not None:
            self._settings["INFERENCE_NUM_THREADS"] = threads
        if precision == "int8" and calibration is None:
            raise CannotRun("int8 needs calibration images: give some typical ones")
        model = _openvino_model(network)
        if precision == "int8":
            model = _quantised(model, [batch.numpy() for batch in calibration or ()])
        self._half = precision == "bf16"
        self._models = {"features": _as_computed(model) if self._half else model, "pooled": _averaged(model)}
        self._programs: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        self.executed = precision

    def apply(self, x: Tensor, use: Callable[[Tensor], Found]) -> Found:
        return use(self._run("features", x))

    def pooled(self, x: Tensor) -> Tensor:
        return self._run("pooled", x).clone()

    def _run(self, kind: str, x: Tensor) -> Tensor:
        x = x.float().contiguous()
        key = (kind, *x.shape)
        if key in self._programs:
            self._programs.move_to_end(key)
        else:
            model = self._models[kind].clone()
            model.reshape(list(x.shape))
            compiled = self._core.compile_model(model, "CPU", self._settings)
            self.executed = _executed_by_openvino(compiled)
            self._programs[key] = compiled.create_infer_request()
            if len(self._programs) > _SHAPES:
                self._programs.popitem(last=False)
        request = self._programs[key]
        request.infer([x.numpy()], share_inputs=True)
        found = request.get_output_tensor(0)
        if kind == "features" and self._half:
            return torch.from_numpy(found.data.view("int16")).view(torch.bfloat16).permute(0, 3, 1, 2)
        return torch.from_numpy(found.data)


class OnnxRunner:
    """ONNX Runtime on the CPU, float32.

    Args:
        network: on the CPU, float32.
        precision: "float32".
        threads: how many; all cores where None.
    """

    def __init__(self, network: FoldedFeatures, precision: str, threads: int | None = None) -> None:
        runtime = needs("onnxruntime", "export")
        if precision != "float32":
            raise CannotRun(f"onnxruntime on the CPU runs float32, not {precision}")
        self.executed = precision
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads

        self._session = runtime.InferenceSession(_onnx_bytes(network), options, providers=["CPUExecutionProvider"])

    def apply(self, x: Tensor, use: Callable[[Tensor], Found]) -> Found:
        return use(self._run("features", x))

    def pooled(self, x: Tensor) -> Tensor:
        return self._run("pooled", x)

    def _run(self, kind: str, x: Tensor) -> Tensor:
        (out,) = self._session.run([kind], {"x": x.float().numpy()})
        return torch.from_numpy(out)


class _WithMean(nn.Module):
    """The features and their mean over the grid."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features: Tensor = self.network(x)
        return features, features.mean((2, 3))


def _cpu_has_bf16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


class _tf32:  # noqa: N801
    """Inside, float32 products on CUDA may or may not round to TF32; afterwards the setting is as it was."""

    def __init__(self, on: bool) -> None:
        self.on = on

    def __enter__(self) -> None:
        self.before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        torch.set_float32_matmul_precision("high" if self.on else "highest")
        torch.backends.cudnn.allow_tf32 = self.on

    def __exit__(self, *_: object) -> None:
        torch.set_float32_matmul_precision(self.before[0])
        torch.backends.cudnn.allow_tf32 = self.before[1]


def _example(network: FoldedFeatures) -> Tensor:
    """The smallest input worth tracing: a network that computes at every pixel takes minutes for a whole image."""
    side = network.geometry.smallest_input + 4 * network.geometry.stride
    return torch.zeros(2, network.stem.in_channels, side, side + network.geometry.stride)


def _openvino_model(network: FoldedFeatures) -> Any:
    openvino = needs("openvino", "export")
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of tracing: the few branches depend on the architecture alone
        return openvino.convert_model(network, example_input=_example(network))


def _as_computed(model: Any) -> Any:
    """The program that hands its features out as bf16 and channels last, which is how it computes them."""
    openvino = needs("openvino", "export")
    wrapped = openvino.preprocess.PrePostProcessor(model.clone())
    output = wrapped.output()
    output.model().set_layout(openvino.Layout("NCHW"))
    output.tensor().set_layout(openvino.Layout("NHWC")).set_element_type(openvino.Type.bf16)
    return wrapped.build()


def _averaged(model: Any) -> Any:
    """The program that ends in the mean over the grid: the same network, so that both round alike."""
    openvino = needs("openvino", "export")
    from openvino import opset13

    copy = model.clone()
    mean = opset13.reduce_mean(copy.outputs[0].get_node().input_value(0), [2, 3])
    return openvino.Model([mean], copy.get_parameters())


def _quantised(model: Any, batches: list[Any]) -> Any:
    nncf = needs("nncf", "export")
    return nncf.quantize(
        model,
        nncf.Dataset(batches),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(batches),
        fast_bias_correction=True,
    )


def _executed_by_openvino(compiled: Any) -> str:
    """In which precision most convolutions run, as the compiled program itself says."""

    def info(node: Any, key: str) -> str:
        value = node.get_rt_info()[key]
        return value if isinstance(value, str) else str(value.astype(str))

    nodes = compiled.get_runtime_model().get_ops()
    types = Counter(info(node, "runtimePrecision") for node in nodes if info(node, "layerType") == "Convolution")
    names = {"f32": "float32", "bf16": "bf16", "f16": "float16", "u8": "int8", "i8": "int8"}
    most = types.most_common(1)[0][0]
    return names.get(most, most)


def _onnx_bytes(network: FoldedFeatures) -> bytes:
    needs("onnx", "export")
    needs("onnxscript", "export")
    dynamic = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _WithMean(network),
            (_example(network),),
            dynamo=True,
            dynamic_shapes=(dynamic,),
            input_names=["x"],
            output_names=["features", "pooled"],
            verbose=False,
        )
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    return content
