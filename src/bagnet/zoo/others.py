"""Classifiers that are no BagNets, to compare with and to learn from: of timm, of torchvision, or by import path."""

from __future__ import annotations

from importlib import import_module
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..card import Card, Outside
from ..data.names import ClassNames, imagenet1k
from ..data.transforms import Preprocessing
from ..missing import needs
from ..model import BagNet
from .catalogue import UnknownModel, bundled, published
from .checkpoint import BadCheckpoint, read
from .load import load

FORMS = "timm:NAME, torchvision:NAME or package.module:function"


class OtherNetwork(nn.Module):
    """A classifier without evidence: (B, C, H, W) -> (B, K) logits.

    Args:
        network: what computes.
        card: what it is.
    """

    def __init__(self, network: nn.Module, card: Card) -> None:
        super().__init__()
        self.network, self.card = network, card

    @property
    def classes(self) -> ClassNames:
        """What the logits stand for."""
        return self.card.classes

    @property
    def transform(self) -> Preprocessing:
        """PIL image -> (C, H, W) input tensor."""
        return self.card.preprocessing

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K) of prepared images (B, C, H, W)."""
        logits: Tensor = self.network(x)
        return logits


def open_classifier(name: str | PathLike[str]) -> BagNet | OtherNetwork:
    """Any classifier with known weights, in eval mode.

    Args:
        name: a BagNet's name or file, a file of another network that `bagnet train --network` wrote, or a network with its
            authors' weights: "timm:NAME", "torchvision:NAME", or "package.module:function", a function without arguments that
            returns the network, whose attributes `preprocessing` (a `Preprocessing`) and `classes` (a list of names) are
            taken over where it has them.

    Raises:
        UnknownModel: no network goes by that name.
        BadCheckpoint: the file holds other weights.
        ImportError: the library is missing.
    """
    text = fspath(name)
    if ":" in text and not Path(text).exists():
        return _with_authors_weights(text)
    if text in bundled() or text in published() or not Path(text).is_file():
        return load(text)
    state, card = read(Path(text))
    if card is None or not isinstance(card.architecture, Outside):
        return load(text)
    network = OtherNetwork(build(card.architecture), card)
    try:
        network.network.load_state_dict({key: value.float() for key, value in state.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise BadCheckpoint(f"{text}: these are not weights of {card.architecture.network} ({reason})") from None
    return network.eval()


def build(shape: Outside) -> nn.Module:
    """A network with random weights.

    Raises:
        UnknownModel: nobody builds it.
        ImportError: its library is missing.
    """
    library, name = _parts(shape.network)
    if library == "timm":
        network = _timm(name, num_classes=shape.num_classes, in_chans=shape.in_channels)
    elif library == "torchvision":
        if shape.in_channels != 3:
            raise ValueError(f"torchvision's networks take 3 channels, not {shape.in_channels}")
        network = _torchvision(name, num_classes=shape.num_classes)
    else:
        network = _imported(shape.network)(num_classes=shape.num_classes, in_channels=shape.in_channels)
    assert isinstance(network, nn.Module)
    return network


def _with_authors_weights(text: str) -> OtherNetwork:
    library, name = _parts(text)
    preprocessing, classes = Preprocessing(), None
    if library == "timm":
        network = _timm(name, pretrained=True)
        settings = needs("timm", "compare").data.resolve_model_data_config(network)
        crop = settings["input_size"][1]
        preprocessing = Preprocessing(
            round(crop / settings["crop_pct"]), crop, settings["interpolation"], settings["mean"], settings["std"]
        )
    elif library == "torchvision":
        network = _torchvision(name, weights="DEFAULT")
        from torchvision.models import get_model_weights

        settings = get_model_weights(name).DEFAULT.transforms()
        preprocessing = Preprocessing(
            settings.resize_size[0], settings.crop_size[0], settings.interpolation.value, settings.mean, settings.std
        )
    else:
        network = _imported(text)()
        preprocessing = getattr(network, "preprocessing", preprocessing)
        classes = getattr(network, "classes", None)
    count = _logits(network.eval(), preprocessing)
    names = imagenet1k() if count == 1000 and classes is None else None
    if names is None:
        names = ClassNames.numbered(count) if classes is None else ClassNames.from_words(classes)
    shape = Outside(text, count, len(preprocessing.mean))
    return OtherNetwork(network, Card(shape.name, shape, names, preprocessing, licence="as its authors say")).eval()


def _logits(network: nn.Module, preprocessing: Preprocessing) -> int:
    """How many a network gives, by asking it."""
    import torch

    side = preprocessing.crop or 224
    with torch.inference_mode():
        found = network(torch.zeros(1, len(preprocessing.mean), side, side))
    if not isinstance(found, Tensor) or found.ndim != 2:
        raise ValueError("the network does not answer an image with one row of logits")
    return found.shape[1]


def _parts(text: str) -> tuple[str, str]:
    library, _, name = text.partition(":")
    if not library or not name:
        raise UnknownModel(f"no network is called {text!r}: networks are named {FORMS}")
    return library, name


def _timm(name: str, **options: Any) -> nn.Module:
    timm = needs("timm", "compare")
    try:
        network: nn.Module = timm.create_model(name, **options)
    except RuntimeError as error:
        raise UnknownModel(f"timm:{name}: {' '.join(str(error).split())[:200]}") from None
    return network


def _torchvision(name: str, **options: Any) -> nn.Module:
    from torchvision.models import get_model

    try:
        network: nn.Module = get_model(name, **options)
    except ValueError as error:
        raise UnknownModel(f"torchvision:{name}: {error}") from None
    return network


def _imported(text: str) -> Any:
    module, _, function = text.partition(":")
    try:
        return getattr(import_module(module), function)
    except ModuleNotFoundError as error:
        if error.name and module.startswith(error.name):
            raise UnknownModel(f"{text}: there is no module {error.name}; networks are named {FORMS}") from None
        raise
    except AttributeError:
        raise UnknownModel(f"{text}: {module} has no {function}") from None
