"""Exported: an ONNX file that `export` wrote, as the classifier that it was made from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from math import gcd
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..bag import check_batch
from ..card import Card
from ..data.names import ClassNames
from ..data.transforms import Preprocessing
from ..geometry import Geometry
from ..missing import needs
from ..weights import BadCheckpoint
from .bag_on_runtime import BagOnRuntime, Head
from .runtimes.onnx_runtime import SessionRunner
from .runtimes.runner import Result, Runner

ENDING = ".onnx"
IMAGE = "image"  # the file's input
# Values inside the graph, by which a file is run from prepared pixels to features: its outputs are the logits and the evidence.
PREPARED, FEATURES, POOLED = "prepared", "features", "pooled"
HALF = ".half"  # ends the names of weights that are stored in half precision
HEAD_WEIGHT, HEAD_BIAS = "head.weight", "head.bias"


@dataclass(frozen=True, slots=True)
class Statement:
    """What a file says of the network in it; a `Description`.

    Args:
        card: what its weights are.
        geometry: where its windows lie.
        num_features: channels of the features.
        windows_apart: whether each window is computed by itself.
        weights_digest: of the weights that it was made from.
    """

    card: Card
    geometry: Geometry
    num_features: int
    windows_apart: bool
    weights_digest: str

    @property
    def name(self) -> str:
        """Of the architecture."""
        return self.card.architecture.name

    @property
    def classes(self) -> ClassNames:
        """What the logits stand for."""
        return self.card.classes

    @property
    def transform(self) -> Preprocessing:
        """PIL image -> (C, H, W) input tensor."""
        return self.card.preprocessing

    @property
    def num_classes(self) -> int:
        """Length of the logits."""
        return len(self.card.classes)

    def check(self, x: Tensor) -> None:
        """As `BagNet.check`."""
        check_batch(x, self.name, self.card.architecture.in_channels, self.geometry)

    def to_metadata(self) -> dict[str, str]:
        """As a file's metadata holds it: names that begin with "bagnet." and JSON."""
        network = {key: getattr(self, key) for key in ("num_features", "windows_apart", "weights_digest")}
        return {
            "bagnet.card": self.card.to_json(),
            "bagnet.geometry": json.dumps(asdict(self.geometry)),
            "bagnet.network": json.dumps(network),
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Statement:
        """What `to_metadata` wrote. ValueError, KeyError, TypeError: it is not that."""
        card = Card.from_json(metadata["bagnet.card"])
        return cls(card, Geometry(**json.loads(metadata["bagnet.geometry"])), **json.loads(metadata["bagnet.network"]))


class Exported(BagOnRuntime):
    """A network in an ONNX file, run by ONNX Runtime on the CPU from prepared pixels on, as every `Classifier` is.

    Built by `open_exported`. The linear head runs here, with the matrix that is in the file.

    Args:
        statement: what the file says.
        runner: makes the features.
        linear: the head.
        coarse: the same at the stride that is in the file; itself where None.
    """

    def __init__(self, statement: Statement, runner: Runner, linear: Head | None, coarse: Exported | None = None) -> None:
        super().__init__(statement, runner, linear, "onnxruntime")
        self._statement, self._coarse = statement, coarse or self

    def at_stride(self, stride: int) -> Exported:
        """Its windows closer together, by showing the network the image shifted by so many pixels, in turn.

        A stride of a half costs four times as much; a BagNet that is not in an ONNX file does better.

        Raises:
            ValueError: stride < 1; the network pads, so that an image shifted has other borders.
        """
        if stride < 1:
            raise ValueError(f"a stride must be at least 1 pixel, got {stride}")
        if stride % self.geometry.stride == 0:
            return self
        coarse = self._coarse.geometry
        if coarse.origin:
            raise ValueError(
                f"{self.name} pads, and its ONNX file has windows every {coarse.stride} pixels alone: "
                "load the weights that it was exported from"
            )
        finer = Geometry(coarse.size, gcd(stride, coarse.stride))
        runner = _ShiftedRunner(self._coarse._runner, coarse, finer)
        described = replace(self._statement, geometry=finer)
        return Exported(described, runner, self._linear, self._coarse)


class _ShiftedRunner:
    """Executes a network without padding at a finer stride: on the image as it is and shifted by the pixels between.

    Args:
        runner: of the network.
        coarse: where its windows lie.
        finer: where they are wanted; its stride divides that of `coarse`.
    """

    def __init__(self, runner: Runner, coarse: Geometry, finer: Geometry) -> None:
        self._runner, self._coarse, self._finer = runner, coarse, finer

    @property
    def executed(self) -> str:
        """The precision."""
        return self._runner.executed

    def apply(self, x: Tensor, use: Callable[[Tensor], Result]) -> Result:
        step, share = self._finer.stride, self._coarse.stride // self._finer.stride
        features: Tensor | None = None
        rows, columns = self._finer.grid(*x.shape[2:])
        for row in range(min(share, rows)):
            for column in range(min(share, columns)):
                part = self._runner.apply(x[..., row * step :, column * step :].contiguous(), torch.clone)
                if features is None:
                    features = part.new_empty((*part.shape[:2], rows, columns))
                features[..., row::share, column::share] = part
        assert features is not None
        return use(features)

    def pooled(self, x: Tensor) -> Tensor:
        return self.apply(x, lambda features: features.mean((2, 3)))


def open_exported(path: Path) -> Exported:
    """The classifier in an ONNX file that `export` wrote.

    Raises:
        BadCheckpoint: it is no such file, or damaged.
        ImportError: onnx or onnxruntime is missing; the message has the pip command.
    """
    onnx = needs("onnx", "export")
    needs("onnxruntime", "export")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's errors have no type of their own
        raise BadCheckpoint(f"{path}: no ONNX file, or incomplete ({type(error).__name__}); export or copy it again") from None
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    try:
        statement = Statement.from_metadata(metadata)
    except (KeyError, ValueError, TypeError) as error:
        raise BadCheckpoint(
            f"{path}: an ONNX file that bagnet.export did not write, or of another version "
            f"({' '.join(str(error).split())}); export it again"
        ) from None
    try:
        return Exported(statement, SessionRunner(_from_prepared(model)), _head(model))
    except Exception as error:  # nor have those of the runtime
        raise BadCheckpoint(f"{path}: its graph cannot be run ({' '.join(str(error).split())}); export it again") from None


def _from_prepared(model: Any) -> bytes:
    """The part of the graph from prepared pixels to features and their mean, as a program whose input is called `x`."""
    onnx = needs("onnx", "export")
    helper, kinds = onnx.helper, onnx.TensorProto
    needed = {FEATURES, POOLED}
    kept = []
    for node in reversed(model.graph.node):
        if needed & set(node.output) and PREPARED not in node.output:
            kept.append(node)
            needed.update(node.input)
    start = [helper.make_node("Identity", ["x"], [PREPARED])]
    if IMAGE in needed:  # for its shape alone
        start += [
            helper.make_node("Transpose", ["x"], ["x.last"], perm=[0, 2, 3, 1]),
            helper.make_node("Cast", ["x.last"], [IMAGE], to=kinds.UINT8),
        ]
    graph = helper.make_graph(
        [*start, *reversed(kept)],
        "features",
        [helper.make_tensor_value_info("x", kinds.FLOAT, ["B", None, "H", "W"])],
        [
            helper.make_tensor_value_info(FEATURES, kinds.FLOAT, ["B", None, "h", "w"]),
            helper.make_tensor_value_info(POOLED, kinds.FLOAT, ["B", None]),
        ],
        [tensor for tensor in model.graph.initializer if tensor.name in needed],
    )
    program = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    content: bytes = program.SerializeToString()
    return content


def _head(model: Any) -> Head | None:
    """The head's matrix and bias; None where the features are the logits."""
    numpy_helper = needs("onnx", "export").numpy_helper
    tensors = {tensor.name.removesuffix(HALF): tensor for tensor in model.graph.initializer}
    if HEAD_WEIGHT not in tensors:
        return None
    weight, bias = (torch.from_numpy(numpy_helper.to_array(tensors[name]).copy()).float() for name in (HEAD_WEIGHT, HEAD_BIAS))
    return weight.flatten(1), bias
