"""export: a network as a file that other programs run, with its evidence as an output."""

from __future__ import annotations

import base64
import json
import shutil
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, redirect_stdout
from copy import deepcopy
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO, StringIO
from os import PathLike, fspath
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from ..bag import BagOfFeatures
from ..files import replacing
from ..geometry import Geometry
from ..missing import needs
from ..model import BagNet
from .classifier import Predictor, model_name
from .exported import FEATURES, HALF, IMAGE, POOLED, PREPARED, Statement
from .fold import FoldedFeatures
from .inference import exact, like_weights
from .prepare import frozen_copy, linear_head
from .program import CannotRun
from .runtimes.onnx_runtime import session
from .runtimes.openvino import quantised

experimental: Any = import_module("torch.fx.experimental._config")  # its types do not know `patch`
Answer = tuple[NDArray[np.float32], NDArray[np.float32]]  # logits and evidence
Answers = Callable[[NDArray[np.uint8]], Answer]
_TOLERANCE = {"float32": 1e-5, "fp16": 0.05, "int8": 0.5}  # largest error of a logit, as a share of the largest
_WORTH_HALVING = 64  # numbers of a tensor
_OF_ROUNDING = 4  # times what float32 costs in PyTorch: a runtime takes the same sums in another order
_SUM_TOLERANCE = 1e-5  # of mean(evidence) from the logits, whatever the weights are stored in
_INPUT = (
    "uint8, (batch, height, width, channel), RGB: the photograph upright, resized and cropped as `preprocessing` says with "
    "Pillow's antialiased filter, which ONNX cannot say; scaling to [0, 1] and normalising happen inside"
)


@dataclass(frozen=True, slots=True)
class Export:
    """What was written, and how it compares with the network.

    Args:
        files: that belong together, the named one first.
        runtime: who ran it to compare.
        precision: of the weights in it.
        largest_error: largest change of any logit, as a share of the largest logit.
    """

    files: tuple[Path, ...]
    runtime: str
    precision: str
    largest_error: float


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of file.

    Args:
        runtime: who runs it.
        precisions: that its weights can have.
        endings: of the files that it consists of.
        write: (network, metadata, path, precision, typical images as (B, H, W, C) uint8): writes them.
        open: (path) -> what makes logits and evidence of (B, H, W, C) uint8.
    """

    runtime: str
    precisions: tuple[str, ...]
    endings: tuple[str, ...]
    write: Callable[[BagOfFeatures, Mapping[str, str], Path, str, list[NDArray[np.uint8]]], None]
    open: Callable[[Path], Answers]


def export(
    model: Predictor,
    path: str | PathLike[str],
    precision: str = "float32",
    *,
    calibration: Tensor | Iterable[Tensor] | None = None,
) -> Export:
    """Write a network as a file that other programs run: photographs' pixels in, logits and evidence out.

    The input `image` is (B, H, W, C) uint8, RGB, of any batch, height and width of at least one window: what the card's
    preprocessing makes of a photograph by resize and crop. These two stay outside, as no runtime has Pillow's antialiased resize;
    scaling and normalising are inside. The outputs are `logits` (B, K) and `evidence` (B, K, h, w), float32, of which the mean
    over the grid is the logits. The card, the geometry, the names of the classes and a test image with its logits are in the
    file's metadata, as JSON.

    The file is run before it takes its name, on images of several sizes, and compared with the network.

    Args:
        model: a BagNet or a windowed network; not changed.
        path: ends in .onnx (ONNX; `bagnet.load` reads it), .xml (OpenVINO IR, with a .bin beside it) or .pt2 (a program of
            `torch.export`; of a windowed network, for images at least two windows wide).
        precision: of the weights: "float32"; of OpenVINO IR also "fp16", half the bytes and other logits, and "int8", of the 1x1
            convolutions alone: the head is exact, so that the map adds up to the logits, which are others than the network's.
        calibration: for int8: prepared images (B, C, H, W) of the kind to be classified, or batches of them.

    Raises:
        CannotRun: the model is neither, or its code cannot be traced; there is no such ending, or no such precision of it; or the
            file gives other answers than the network.
        ValueError: the model has no card.
        OSError: the file cannot be written; an older one stays as it was.
        ImportError: a package is missing; the message has the pip command.
    """
    target = Path(fspath(path))
    kind = _format(target, precision)
    network = _frozen(model)
    typical = _typical(network, precision, calibration)
    with ExitStack() as stack:
        files = tuple(target.with_suffix(ending) for ending in kind.endings)
        parts = [stack.enter_context(replacing(file)) for file in files]
        for part in parts:
            part.touch()  # an unwritable place is told before the work
        folder = Path(stack.enter_context(TemporaryDirectory()))
        draft = folder / f"model{target.suffix}"
        _written(kind, network, draft, precision, typical)
        error = _largest_error(kind, draft, network, precision)
        for ending, part in zip(kind.endings, parts, strict=True):
            shutil.copyfile(draft.with_suffix(ending), part)
    return Export(files, kind.runtime, precision, error)


def _format(target: Path, precision: str) -> Format:
    if target.suffix not in FORMATS:
        raise CannotRun(f"{target}: an exported network goes into a file that ends in {', '.join(FORMATS)}")
    kind = FORMATS[target.suffix]
    if precision not in kind.precisions:
        reason = (
            "; in bf16 a runtime computes, where it is asked to, and files are not stored in it" if precision == "bf16" else ""
        )
        raise CannotRun(f"{target}: {kind.runtime} files are {' or '.join(kind.precisions)}, not {precision}{reason}")
    return kind


def _frozen(model: Predictor) -> BagOfFeatures:
    """A copy on the CPU, in float32 and eval mode."""
    if not isinstance(model, BagOfFeatures):
        if model.runtime != "torch":
            raise CannotRun(f"{model_name(model)} runs on {model.runtime} already: export the network that it was made from")
        raise CannotRun(
            f"{model_name(model)} is not a bag of windows and has no evidence to export: bagnet.windowed makes it local"
        )
    if model.card is None:
        raise ValueError("this network has no card to export: build it with bagnet.create or bagnet.load")
    return frozen_copy(model).cpu()


def _typical(network: BagOfFeatures, precision: str, calibration: Tensor | Iterable[Tensor] | None) -> list[NDArray[np.uint8]]:
    """Prepared images as the pixels that they were made of: (B, H, W, C) uint8."""
    if precision == "int8" and network.windows_apart:
        raise CannotRun(
            f"{model_name(network)}: int8 files are of BagNets alone, as OpenVINO cannot run what becomes of the cutting of "
            "windows; bagnet.prepare, or --runtime openvino --precision int8, runs this network in int8"
        )
    if (calibration is not None) != (precision == "int8"):
        if precision == "int8":
            raise CannotRun("int8 needs calibration images: some that are typical of those to be classified")
        raise CannotRun(f"calibration images are for int8, not for {precision}: leave them out")
    batches = [calibration] if isinstance(calibration, Tensor) else list(calibration or ())
    for batch in batches:
        network.check(batch)
    return [_pixels(network, batch) for batch in batches]


def _pixels(network: BagOfFeatures, x: Tensor) -> NDArray[np.uint8]:
    mean, std = (torch.tensor(values)[:, None, None] for values in (network.transform.mean, network.transform.std))
    scaled = (x.cpu().float() * std + mean) * 255
    pixels: NDArray[np.uint8] = scaled.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return pixels


def _written(kind: Format, network: BagOfFeatures, draft: Path, precision: str, typical: list[NDArray[np.uint8]]) -> None:
    """Trace and write. CannotRun: whatever the tracer has against the network's code, in a line."""
    metadata = _metadata(network)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")  # of the exporters, about their own insides
            kind.write(network, metadata, draft, precision, typical)
    except (ImportError, OSError, MemoryError):
        raise
    except Exception as error:  # tracers raise whatever they like
        raise CannotRun(f"{model_name(network)} cannot be traced, and so not exported: {_first_line(error)}") from error


class _Whole(nn.Module):
    """From uint8 pixels to logits and evidence.

    Args:
        model: frozen.
        features: its features, as they are to be computed.
        inside: also give prepared pixels, features and their mean.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: BagOfFeatures, features: nn.Module, inside: bool) -> None:
        super().__init__()
        self.features, self.inside = features, inside
        self.head: nn.Module = nn.Identity()
        if (linear := linear_head(model)) is not None:  # one convolution for both outputs: the matrix is in the file once
            weight, bias = linear
            self.head = nn.Conv2d(weight.shape[1], weight.shape[0], 1)
            self.head.load_state_dict({"weight": weight[:, :, None, None], "bias": bias})
        for name, values in (("mean", model.transform.mean), ("std", model.transform.std)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32)[:, None, None])
        self.requires_grad_(False).eval()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        # Contiguous wherever the order of axes changed, as tracers else tell images of one window apart from others.
        prepared = (image.permute(0, 3, 1, 2).float().contiguous() / 255 - self.mean) / self.std
        features = self.features(prepared).contiguous()
        pooled = features.mean((2, 3), keepdim=True)
        logits, evidence = self.head(pooled).flatten(1), self.head(features).clone()
        return (logits, evidence, prepared, features, pooled.flatten(1)) if self.inside else (logits, evidence)


class _Features(nn.Module):
    """The features of a network as a module's call."""

    def __init__(self, model: BagOfFeatures) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model.features(x)


def _traced(whole: _Whole, geometry: Geometry) -> torch.export.ExportedProgram:
    """For any batch, height and width, down to one window."""
    side = geometry.size + 4 * geometry.stride
    example = torch.zeros(2, side, side + geometry.stride, len(whole.mean), dtype=torch.uint8)
    dynamic = dict.fromkeys((0, 1, 2), torch.export.Dim.DYNAMIC)
    with experimental.patch(backed_size_oblivious=True), torch.no_grad():
        program = torch.export.export(whole, (example,), dynamic_shapes=(dynamic,))
    for node in program.graph.nodes:  # they name files of this machine
        node.meta.pop("stack_trace", None)
    return program


def _write_onnx(network: BagOfFeatures, metadata: Mapping[str, str], path: Path, *_: Any) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        needs(package, "export")
    names = ["logits", "evidence", PREPARED, FEATURES, POOLED]
    features = FoldedFeatures(network) if isinstance(network, BagNet) else _Features(network)
    traced = _traced(_Whole(network, features, inside=True), network.geometry)
    # Not all of the exporter's optimiser: it would multiply normalisation into weights that half precision may hold as they are.
    program = torch.onnx.export(traced, dynamo=True, input_names=[IMAGE], output_names=names, verbose=False, optimize=False)
    assert program is not None
    optimiser = needs("onnxscript.optimizer", "export")
    optimiser.inline(program.model)
    optimiser.fold_constants(program.model, onnx_shape_inference=False)
    optimiser.remove_unused_nodes(program.model)
    model = program.model_proto
    del model.graph.output[2:]  # they stay in the graph, by these names
    _halve(model)
    for part in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info):
        part.ClearField("metadata_props")  # of the tracer: it names files of this machine
    for axis, name in zip(model.graph.input[0].type.tensor_type.shape.dim, ("batch", "height", "width"), strict=False):
        axis.dim_param = name
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())


def _halve(model: Any) -> None:
    """Store weights in half precision where it holds them exactly, as it does those of such a file; they are cast when opened."""
    onnx = needs("onnx", "export")
    casts = []
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _WORTH_HALVING:
            continue
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if np.array_equal(half.astype(np.float32), values):
            casts.append(onnx.helper.make_node("Cast", [tensor.name + HALF], [tensor.name], to=onnx.TensorProto.FLOAT))
            tensor.CopyFrom(onnx.numpy_helper.from_array(half, tensor.name + HALF))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])


def _open_onnx(path: Path) -> Answers:
    opened = session(path.read_bytes())

    def run(image: NDArray[np.uint8]) -> Answer:
        logits, evidence = opened.run(["logits", "evidence"], {IMAGE: image})
        return logits, evidence

    return run


def _write_openvino(
    network: BagOfFeatures, metadata: Mapping[str, str], path: Path, precision: str, typical: list[NDArray[np.uint8]]
) -> None:
    openvino = needs("openvino", "export")
    onnx = path.with_suffix(".onnx")
    _write_onnx(network, {}, onnx)
    model = openvino.convert_model(onnx)
    if precision == "int8":
        model = quantised(model, typical, (network.num_classes, network.num_features))
    for key, value in metadata.items():
        model.set_rt_info(value, key.split("."))
    openvino.save_model(model, path, compress_to_fp16=precision == "fp16")


def _open_openvino(path: Path) -> Answers:
    settings = {"INFERENCE_PRECISION_HINT": "f32"}  # it would else take bf16 where the processor has it
    compiled = needs("openvino", "export").Core().compile_model(path, "CPU", settings)

    def run(image: NDArray[np.uint8]) -> Answer:
        out = compiled(image)
        return out["logits"], out["evidence"]

    return run


def _write_program(network: BagOfFeatures, metadata: Mapping[str, str], path: Path, *_: Any) -> None:
    whole = _Whole(network, _Features(network), inside=False)  # folded, it would not run on images of one window
    torch.export.save(_traced(whole, network.geometry), path, extra_files=dict(metadata))


def _open_program(path: Path) -> Answers:
    program = torch.export.load(path).module()

    def run(image: NDArray[np.uint8]) -> Answer:
        with torch.no_grad():
            logits, evidence = program(torch.from_numpy(image))
        return logits.numpy(), evidence.numpy()

    return run


FORMATS: Mapping[str, Format] = {
    ".onnx": Format("onnxruntime", ("float32",), (".onnx",), _write_onnx, _open_onnx),
    ".xml": Format("openvino", ("float32", "fp16", "int8"), (".xml", ".bin"), _write_openvino, _open_openvino),
    ".pt2": Format("torch", ("float32",), (".pt2",), _write_program, _open_program),
}


def _metadata(network: BagOfFeatures) -> dict[str, str]:
    """What the file says of itself, as JSON under each key."""
    assert network.card is not None
    statement = Statement(network.card, network.geometry, network.num_features, network.windows_apart, network.weights_digest)
    test = _test_image(network.geometry, len(network.transform.mean))
    return {
        **statement.to_metadata(),
        "bagnet.classes": json.dumps([str(name) for name in network.classes]),
        "bagnet.input": json.dumps({"image": _INPUT, "preprocessing": network.transform.to_dict()}),
        "bagnet.test": json.dumps({"png": _as_png(test[0]), "logits": _expected(network, test)[0].tolist()}),
    }


def _test_image(geometry: Geometry, channels: int) -> NDArray[np.uint8]:
    """(1, H, W, C) of smooth waves: a few windows, and small as PNG."""
    height, width = geometry.size + 2 * geometry.stride, geometry.size + 3 * geometry.stride
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(rows / (7 + 2 * k) + k) * np.cos(columns / (5 + 3 * k) - k) for k in range(channels)]
    return np.round(127.5 + 120 * np.stack(waves, 2)).astype(np.uint8)[None]


def _as_png(pixels: NDArray[np.uint8]) -> str | list[str]:
    """(H, W, C) -> PNG in base64; a list of grey ones, one a channel, where there are neither one nor three."""
    if pixels.shape[2] not in (1, 3):
        return [str(_as_png(pixels[..., k : k + 1])) for k in range(pixels.shape[2])]
    file = BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def _check_images(kind: Format, network: BagOfFeatures) -> list[NDArray[np.uint8]]:
    """Of other sizes than the example: the test image, two at once, and those of a single window along a side or along both."""
    geometry, channels = network.geometry, len(network.transform.mean)
    random = np.random.default_rng(0)
    side, least = geometry.size + geometry.stride + 3, max(2, geometry.smallest_input)  # torch tells a width of 1 from others
    sizes = [(2, side - 2, side), (1, least, side)]
    if kind.runtime != "torch" or not network.windows_apart:  # its tracer tells a single column of windows from others, too
        sizes.append((2, least, least))
    noise = [random.integers(0, 256, (*size, channels), dtype=np.uint8) for size in sizes]
    return [_test_image(geometry, channels), *noise]


def _expected(network: BagOfFeatures, image: NDArray[np.uint8]) -> NDArray[np.floating[Any]]:
    """(B, K) logits of (B, H, W, C) pixels by the network itself, in the precision of its weights."""
    with exact(network), torch.inference_mode():
        x = network.transform.normalise(torch.from_numpy(image).permute(0, 3, 1, 2))
        logits: NDArray[np.floating[Any]] = network(like_weights(x, network)).numpy()
    return logits


def _largest_error(kind: Format, draft: Path, network: BagOfFeatures, precision: str) -> float:
    """Over several images, as a share of the largest logit. CannotRun: it is too large, or the file cannot be run."""
    images = _check_images(kind, network)
    try:
        answers = kind.open(draft)
        rounding = _OF_ROUNDING * _rounding(network, images)
        return max(_error(image, _expected(network, image), answers(image), _TOLERANCE[precision], rounding) for image in images)
    except CannotRun as error:
        raise CannotRun(f"{model_name(network)} on {kind.runtime} {error}; nothing was written") from None
    except Exception as error:  # runtimes raise whatever they like
        reason = _first_line(error)
        raise CannotRun(f"{model_name(network)} cannot be run by {kind.runtime}, and so was not written: {reason}") from error


def _rounding(network: BagOfFeatures, images: list[NDArray[np.uint8]]) -> float:
    """How far float32 moves any logit in PyTorch, measured against the same weights in float64.

    Where the terms of a head nearly cancel, as they may where there are two classes, that is more than a hundred-thousandth of
    what is left.
    """
    precise = deepcopy(network).double()
    return max(float(np.abs(_expected(network, image) - _expected(precise, image)).max()) for image in images)


def _error(
    image: NDArray[np.uint8], expected: NDArray[np.floating[Any]], answer: Answer, tolerance: float, rounding: float
) -> float:
    """The largest error of a logit, as a share of the largest. CannotRun: it is too large, or the evidence does not add up."""
    logits, evidence = answer
    largest = np.abs(expected).max()
    error = float(np.abs(logits - expected).max() / largest)
    gap = float(np.abs(evidence.mean((2, 3), dtype=np.float64) - logits).max() / largest)
    if not (error <= max(tolerance, rounding / largest) and gap <= max(_SUM_TOLERANCE, rounding / largest)):
        size = " x ".join(map(str, image.shape[1:3]))
        raise CannotRun(
            f"answers otherwise than the network: of an image of {size} by {error:.1e} of the largest logit, "
            f"and its evidence is {gap:.1e} from adding up"
        )
    return error


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
