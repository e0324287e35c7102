"""Everything that satisfies a protocol of `engine.classifier`, each built once; a new kind is one more of `SUBJECTS`."""

from __future__ import annotations

import atexit
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
import torch
from torch import nn

from bagnet.architecture import ExternalArchitecture
from bagnet.card import Card
from bagnet.data.names import ClassNames
from bagnet.data.transforms import Preprocessing
from bagnet.engine.classifier import Predictor
from bagnet.engine.export import export
from bagnet.engine.exported import Exported, open_exported
from bagnet.engine.prepare import Prepared, prepare
from bagnet.engine.program import CannotRun
from bagnet.engine.runtimes import RUNTIMES
from bagnet.model import BagNet
from bagnet.windowed_network import WindowedNetwork
from bagnet.zoo.external import ExternalNetwork
from bagnet.zoo.load import create
from bagnet.zoo.windowed import windowed

from ..conftest import randomised

WORDS = ("ape", "bee", "cow", "dog", "elk")


@cache
def small_bagnet(padded: bool = False, seed: int = 0) -> BagNet:
    """Windows of 17 pixels, every 8 pixels; not to be changed."""
    with torch.inference_mode(False), torch.random.fork_rng([]):
        torch.manual_seed(seed)
        model = create(kernel3=(1, 1, 1, 0), layers=(1, 1, 1, 1), width=8, padded=padded, classes=WORDS)
        return randomised(model).eval()


@cache
def small_prepared(runtime: str, precision: str = "float32") -> Prepared:
    """`small_bagnet()` on a runtime; skips the test where a package or the processor cannot do it."""
    pytest.importorskip(runtime)
    calibration = None
    if precision == "int8":
        pytest.importorskip("nncf")
        calibration = torch.randn((4, 3, 40, 40), generator=torch.Generator().manual_seed(0))
    try:
        return prepare(small_bagnet(), runtime, precision, calibration=calibration)
    except CannotRun as error:
        pytest.skip(str(error))


@cache
def small_external(seed: int = 0) -> ExternalNetwork:
    """A network that sees the whole image at once."""
    with torch.inference_mode(False), torch.random.fork_rng([]):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    shape = ExternalArchitecture("tests.engine:pooled", num_classes=5)
    return ExternalNetwork(network, Card("pooled.test", shape, ClassNames.from_words(WORDS), Preprocessing())).eval()


def patch_network(seed: int = 0) -> nn.Module:
    """A small classifier of any image: features, pooled, and a linear head called `6`."""
    with torch.inference_mode(False), torch.random.fork_rng([]):
        torch.manual_seed(seed)
        layers = [
            nn.Conv2d(3, 6, 3, 2, 1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Conv2d(6, 9, 3, 2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        ]
        return randomised(nn.Sequential(*layers, nn.Linear(9, 5))).eval()


@cache
def small_windowed(seed: int = 0) -> WindowedNetwork:
    """Windows of 17 pixels, every 8 pixels; not to be changed."""
    with torch.inference_mode(False):
        return windowed(patch_network(seed), 17, 8, classes=WORDS, preprocessing=Preprocessing(40, None))


@cache
def small_windowed_prepared(runtime: str) -> Prepared:
    """`small_windowed()` on a runtime; skips the test where its package is missing."""
    pytest.importorskip(runtime)
    return prepare(small_windowed(), runtime)


def exported_file(build: Callable[[], BagNet | WindowedNetwork], ending: str = ".onnx") -> Path:
    """The file of a network; skips the test where a package is missing."""
    return _exported_once(build, ending)


@cache
def _exported_once(build: Callable[[], BagNet | WindowedNetwork], ending: str) -> Path:
    """To trace takes seconds."""
    for package in ("onnx", "onnxscript", "onnxruntime", "openvino"):
        pytest.importorskip(package)
    folder = Path(mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return export(build(), folder / f"model{ending}").files[0]


@cache
def small_exported(build: Callable[[], BagNet | WindowedNetwork]) -> Exported:
    """What is loaded from a network's file."""
    return open_exported(exported_file(build))


@dataclass(frozen=True)
class Subject:
    """Something to hold to the contract.

    Args:
        build: it; built once.
        other_weights: the same thing with other weights.
        windows: where its windows lie, as (size, stride, origin); None where it has no evidence.
        runtime: who runs it.
    """

    build: Callable[[], Predictor]
    other_weights: Callable[[], Predictor]
    windows: tuple[int, int, int] | None = (17, 8, 0)
    runtime: str = "torch"


SUBJECTS: Mapping[str, Subject] = {
    "bagnet": Subject(small_bagnet, lambda: small_bagnet(seed=1)),
    "bagnet_padded": Subject(lambda: small_bagnet(padded=True), lambda: small_bagnet(padded=True, seed=1), (17, 8, -8)),
    **{  # its weights are known again whatever runs them
        f"prepared_{name}": Subject(
            lambda name=name: small_prepared(name), lambda: prepare(small_bagnet(seed=1), "torch"), runtime=name
        )
        for name in RUNTIMES
    },
    "windowed": Subject(small_windowed, lambda: small_windowed(seed=1)),
    **{
        f"windowed_prepared_{name}": Subject(
            lambda name=name: small_windowed_prepared(name), lambda: prepare(small_windowed(seed=1), "torch"), runtime=name
        )
        for name in RUNTIMES
    },
    "exported": Subject(
        lambda: small_exported(small_bagnet), lambda: prepare(small_bagnet(seed=1), "torch"), runtime="onnxruntime"
    ),
    "windowed_exported": Subject(
        lambda: small_exported(small_windowed), lambda: prepare(small_windowed(seed=1), "torch"), runtime="onnxruntime"
    ),
    "external": Subject(small_external, lambda: small_external(seed=1), windows=None),
}
