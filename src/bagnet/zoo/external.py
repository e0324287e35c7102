"""Classifiers that are no BagNets, to compare with and to learn from: of timm, of torchvision, or by import path."""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from math import floor
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..architecture import ExternalArchitecture
from ..card import Card, digest
from ..data.names import ClassNames, imagenet1k
from ..data.transforms import Preprocessing
from ..missing import needs
from ..model import BagNet
from ..progress import Listener, unheard
from .catalogue import UnknownModel, bundled, published, published_as
from .checkpoint import BadCheckpoint, read
from .fetch import DownloadFailed
from .load import load

_OWN = "bagnet.zoo.comparison"
FORMS = "timm:NAME, torchvision:NAME or package.module:function"


class ExternalNetwork(nn.Module):
    """A classifier without evidence: (B, C, H, W) -> (B, K) logits.

    Args:
        network: what computes.
        card: what it is.
    """

    card: Card
    geometry = None
    runtime = "torch"

    def __init__(self, network: nn.Module, card: Card) -> None:
        super().__init__()
        self.network, self.card = network, card

    @property
    def name(self) -> str:
        """The architecture's name."""
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
        return self.card.architecture.num_classes

    @property
    def precision(self) -> str:
        """Of the weights."""
        return str(next(self.parameters()).dtype).removeprefix("torch.")

    @property
    def weights_digest(self) -> str:
        """`digest` of the weights as they are now."""
        return digest(self.state_dict())

    def check(self, x: Tensor) -> None:
        """See that x is a batch that it takes, as far as its card says.

        Raises:
            ValueError: x has another shape.
        """
        channels = self.card.architecture.in_channels
        if x.ndim != 4 or x.shape[1] != channels:
            raise ValueError(f"{self.name} takes a batch of shape (B, {channels}, H, W), got {tuple(x.shape)}")

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K) of prepared images (B, C, H, W)."""
        logits: Tensor = self.network(x)
        return logits


def open_classifier(
    name: str | PathLike[str], *, trust: Collection[str] = (), progress: Listener = unheard
) -> BagNet | ExternalNetwork:
    """Any classifier with known weights, in eval mode.

    Args:
        name: a BagNet's name or file, a file of another network that `bagnet train --network` wrote, or a network with its
            authors' weights: "timm:NAME", "torchvision:NAME", or "package.module:function", a function without arguments that
            returns the network, whose attributes `preprocessing` (a `Preprocessing`) and `classes` (a list of names) are
            taken over where it has them.
        trust: import paths whose code may be run where a file's card names them; this package's own networks always may.
        progress: told while a BagNet's weights are fetched.

    Raises:
        UnknownModel: no network goes by that name.
        DownloadFailed: its weights cannot be fetched.
        BadCheckpoint: the file holds other weights.
        ImportError: the library is missing.
        ValueError: what it names is no classifier of images, or a file's card names code that is not trusted.
    """
    text = fspath(name)
    path = Path(text)
    if ":" in text and not path.exists():
        return _with_authors_weights(text)
    if text in bundled() or text in published() or not path.is_file() or published_as(path) is not None:
        return load(text, progress=progress)
    state, card = read(path)
    if card is None or not isinstance(card.architecture, ExternalArchitecture):
        return load(text, progress=progress)
    _check_trust(text, card.architecture.network, trust)
    network = ExternalNetwork(build(card.architecture), card)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise BadCheckpoint(f"{text}: these are not weights of {card.architecture.network} ({reason})") from None
    return network.eval()


def build(shape: ExternalArchitecture) -> nn.Module:
    """A network with random weights.

    Raises:
        UnknownModel: nobody builds it.
        ImportError: its library is missing.
        ValueError: it cannot have so many channels, or what it names is no network.
    """
    library, name = _parts(shape.network)
    if library == "timm":
        network = _timm(name, num_classes=shape.num_classes, in_chans=shape.in_channels)
    elif library == "torchvision":
        if shape.in_channels != 3:
            raise ValueError(f"torchvision's networks take 3 channels, not {shape.in_channels}")
        network = _torchvision(name, num_classes=shape.num_classes)
    else:
        network = _imported(shape.network, num_classes=shape.num_classes, in_channels=shape.in_channels)
    return network


def _check_trust(name: str, network: str, trust: Collection[str]) -> None:
    """A file of weights must not choose which of the installed code is run."""
    library, _ = _parts(network)
    if library not in ("timm", "torchvision", _OWN) and network not in trust:
        raise ValueError(
            f"{name}: its card says that {network} builds the network, which would run that code; trust it by name first"
        )


def _with_authors_weights(text: str) -> ExternalNetwork:
    library, name = _parts(text)
    title, preprocessing, classes = name, Preprocessing(), None
    if library == "timm":
        network = _timm(name, pretrained=True)
        settings = needs("timm", "compare").data.resolve_model_data_config(network)
        crop = settings["input_size"][1]
        resize = floor(crop / settings["crop_pct"])  # as timm rounds it
        preprocessing = Preprocessing(resize, crop, settings["interpolation"], settings["mean"], settings["std"])
    elif library == "torchvision":
        from torchvision.models import get_model_weights

        network = _torchvision(name, weights="DEFAULT")
        weights = get_model_weights(name).DEFAULT
        title, settings = f"{name}.{weights.name.lower()}", weights.transforms()
        preprocessing = Preprocessing(
            settings.resize_size[0], settings.crop_size[0], settings.interpolation.value, settings.mean, settings.std
        )
    else:
        network = _imported(text)
        preprocessing = getattr(network, "preprocessing", preprocessing)
        classes = getattr(network, "classes", None)
    count = _logits(network.eval(), preprocessing)
    names = imagenet1k() if count == 1000 and classes is None else None
    if names is None:
        names = ClassNames.numbered(count) if classes is None else ClassNames.from_words(classes)
    shape = ExternalArchitecture(text, count, len(preprocessing.mean))
    return ExternalNetwork(network, Card(title, shape, names, preprocessing, licence="as its authors say")).eval()


def _logits(network: nn.Module, preprocessing: Preprocessing) -> int:
    """How many a network gives, by asking it."""
    import torch

    side = preprocessing.crop or 224
    with torch.inference_mode():
        answer = network(torch.zeros(1, len(preprocessing.mean), side, side))
    if not isinstance(answer, Tensor) or answer.ndim != 2:
        raise ValueError("the network does not answer an image with one row of logits")
    return answer.shape[1]


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
    except OSError as error:
        raise _not_fetched(f"timm:{name}", error) from None
    return network


def _torchvision(name: str, **options: Any) -> nn.Module:
    from torchvision.models import get_model

    try:
        network: nn.Module = get_model(name, **options)
    except ValueError as error:
        raise UnknownModel(f"torchvision:{name}: {error}") from None
    except OSError as error:
        raise _not_fetched(f"torchvision:{name}", error) from None
    return network


def _not_fetched(text: str, error: OSError) -> DownloadFailed:
    reason = " ".join(str(error).split())[:200]
    return DownloadFailed(f"{text}: its weights cannot be fetched ({reason}); is this machine connected?")


def _imported(text: str, **options: Any) -> nn.Module:
    """What a function by its import path returns."""
    path, _, name = text.partition(":")
    try:
        module = import_module(path)
    except ModuleNotFoundError as error:
        if error.name and f"{path}.".startswith(f"{error.name}."):  # otherwise a module that this one imports
            raise UnknownModel(
                f"{text}: there is no module {error.name} (is its folder on PYTHONPATH?); networks are named {FORMS}"
            ) from None
        raise ImportError(f"{text}: cannot be imported: {error}") from None
    function = getattr(module, name, None)
    if not callable(function):
        raise UnknownModel(f"{text}: {path} has no function {name}")
    network = function(**options)
    if not isinstance(network, nn.Module):
        raise ValueError(f"{text}: returns a {type(network).__name__}, not a torch.nn.Module")
    return network
