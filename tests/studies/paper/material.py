"""Images made for a purpose, networks that say what they are made to say, and an experiment's measures without its files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from bagnet.architecture import ExternalArchitecture
from bagnet.card import Card
from bagnet.data.names import ClassNames
from bagnet.data.transforms import Preprocessing
from bagnet.model import BagNet
from bagnet.progress import Listener, Progress
from bagnet.runs.store import claim
from bagnet.studies.paper.experiment import UNFINISHED, Experiment, Workplace, as_json
from bagnet.studies.paper.subjects import Material
from bagnet.windowed_network import WindowedNetwork
from bagnet.zoo.external import ExternalNetwork
from bagnet.zoo.load import create
from bagnet.zoo.windowed import windowed

from ...conftest import randomised

Model = TypeVar("Model", BagNet, ExternalNetwork)


class Saying(nn.Module):
    """A network whose logits are what a function of the images makes them."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K)"""
        return self.function(x)


def plain(size: int | None) -> Preprocessing:
    """Images as they are, in [0, 1]; of any size where that is None."""
    return Preprocessing(size, size, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def network_of(module: nn.Module, classes: int, size: int, name: str = "network") -> ExternalNetwork:
    """A classifier of images of one size, with a card for numbered classes."""
    card = Card(name, ExternalArchitecture(f"tests:{name}", classes), ClassNames.numbered(classes), plain(size))
    return ExternalNetwork(module, card).eval()


def saying(function: Callable[[Tensor], Tensor], classes: int, size: int) -> ExternalNetwork:
    """A classifier whose logits a function computes."""
    return network_of(Saying(function), classes, size, "saying")


def chain(size: int, classes: int = 3) -> ExternalNetwork:
    """A small plain chain of convolutions and pools, of which textures can be made and to which all methods apply."""
    generator = torch.Generator().manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    module = nn.Sequential(*layers, nn.Linear(16, classes))
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(0.5 * torch.randn(weight.shape, generator=generator))
    return network_of(module, classes, size, "chain")


def small_bagnet(size: int | None, classes: int = 3, kernel3: tuple[int, int, int, int] = (1, 1, 0, 0)) -> BagNet:
    """Windows of 9 pixels every 8, lively random weights, for images as they are."""
    model = randomised(create(kernel3=kernel3, layers=(1, 1, 1, 1), width=4, num_classes=classes)).eval()
    return prepared_by(model, plain(size))


def small_windowed(scale: int, classes: int = 3) -> WindowedNetwork:
    """Windows of 8 pixels every 4 of whole images, whose shorter side is scaled to so many pixels."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes)]
    return windowed(
        nn.Sequential(*layers), window=8, scale=scale, classes=ClassNames.numbered(classes), preprocessing=plain(None)
    )


def prepared_by(model: Model, preprocessing: Preprocessing) -> Model:
    """The model, whose card says from now on that images are prepared so."""
    assert model.card is not None
    model.card = replace(model.card, preprocessing=preprocessing)
    return model


def colour_network() -> nn.Sequential:
    """A 1 x 1 convolution whose channels are red, green, blue and one, so that its Gram matrix holds the mean colour."""
    first = nn.Conv2d(3, 4, 1)
    with torch.no_grad():
        first.weight.zero_()
        first.weight[[0, 1, 2], [0, 1, 2]] = 1.0
        first.bias.copy_(torch.tensor([0.0, 0, 0, 1]))  # type: ignore[union-attr]
    return nn.Sequential(first, nn.ReLU(), nn.AvgPool2d(2))


def colour_reader(size: int) -> ExternalNetwork:
    """The logits of two classes are how red and how green an image is; a plain chain."""
    head = nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.eye(2, 4))
    return network_of(nn.Sequential(*colour_network(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head), 2, size, "colours")


CELL = 8
READ = 3 * CELL  # side of the input of `reads_one_cell`: nine cells


def reads_one_cell() -> ExternalNetwork:
    """The logit of class 0 is how bright the middle cell is; a linear network, for which the methods are exact."""
    linear = nn.Linear(3 * READ * READ, 3)
    weight = torch.zeros(3, 3, READ, READ)
    weight[0, :, CELL : 2 * CELL, CELL : 2 * CELL] = 0.1
    with torch.no_grad():
        linear.weight.copy_(weight.flatten(1))
        linear.bias.zero_()
    return network_of(nn.Sequential(nn.Flatten(), linear), 3, READ, "reader")


def averaging(sign: float = 1.0) -> BagNet:
    """The logit of class 0 at a window is how bright the window is, for images of `READ` pixels; or how dark."""
    model = small_bagnet(READ)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.reset_parameters()
    with torch.no_grad():
        model.fc.weight.zero_()
        model.fc.weight[0] = sign
    return model


def images_of(path: Path, images: np.ndarray, labels: Sequence[int]) -> Path:  # type: ignore[type-arg]
    """A .npz file with a `val` split. (N, H, W, 3) uint8."""
    np.savez(path, val_images=images, val_labels=np.array(labels))
    return path


def noise(count: int, size: int, seed: int = 0) -> np.ndarray:  # type: ignore[type-arg]
    """(N, H, W, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


@contextmanager
def workplace(out: Path, name: str = "an_experiment") -> Iterator[Workplace]:
    """Where an experiment of that name works; what it leaves unfinished is found there again."""
    with claim(out / name / UNFINISHED, {}) as store:
        yield Workplace(out / name / f"{name}.csv", store)


def findings_of(experiment: Experiment, material: Material, out: Path) -> Any:
    """The `Findings` of an experiment, before its figures are written, which takes most of the time."""
    experiment.check(material)
    with workplace(out, experiment.name) as work:
        return experiment.find(material, work)


def measures_of(experiment: Experiment, material: Material, out: Path) -> Any:
    """What it measures, as `result.json` has it."""
    return as_json(findings_of(experiment, material, out).measures)


def stopping_after(reports: int) -> Listener:
    """Interrupts the work that tells it how far it is, when it does so for the last of so many times."""
    heard: list[Progress] = []

    def listen(progress: Progress) -> None:
        heard.append(progress)
        if len(heard) == reports:
            raise KeyboardInterrupt

    return listen
