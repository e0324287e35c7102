"""Networks of others, built by their name: of timm, of torchvision, or by import path."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from inspect import signature
from math import floor
from typing import Any

from torch import Tensor, nn

from ..architecture import ExternalArchitecture
from ..card import Card
from ..data.names import ClassNames, imagenet1k
from ..data.transforms import Preprocessing
from ..engine.inference import like_weights
from .catalogue import UnknownModel
from .fetch import DownloadFailed

_OWN = ("bagnet.zoo.comparison", "bagnet.zoo.efficientnet_lite")
FORMS = "timm:NAME, torchvision:NAME or package.module:function"


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


def with_authors_weights(text: str) -> tuple[nn.Module, Card]:
    """A network with the weights that its authors published, in eval mode, and the card that says so.

    Args:
        text: "timm:NAME", "torchvision:NAME", or "package.module:function", a function without arguments that returns the
            network, whose attributes `preprocessing` (a `Preprocessing`) and `classes` (a list of names) are taken over where
            it has them.

    Raises:
        UnknownModel: no network goes by that name.
        DownloadFailed: its weights cannot be fetched.
        ImportError: the library is missing.
        ValueError: what it names is no classifier of images.
    """
    library, name = _parts(text)
    title, preprocessing, classes = name, Preprocessing(), None
    if library == "timm":
        network = _timm(name, pretrained=True)
        from timm import data

        settings = data.resolve_model_data_config(network)  # type: ignore[attr-defined, no-untyped-call]
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
    count = count_logits(network.eval(), preprocessing)
    names = imagenet1k() if count == 1000 and classes is None else None
    if names is None:
        names = ClassNames.numbered(count) if classes is None else ClassNames.from_words(classes)
    shape = ExternalArchitecture(text, count, len(preprocessing.mean))
    return network, Card(title, shape, names, preprocessing, licence="as its authors say")


def check_trust(name: str, network: str, trust: Collection[str]) -> None:
    """A file of weights must not choose which of the installed code is run. ValueError: it would."""
    trust = (trust,) if isinstance(trust, str) else trust  # of which a part of the path is none
    library, _ = _parts(network)
    if library not in ("timm", "torchvision", *_OWN) and network not in trust:
        raise ValueError(
            f"{name}: its card says that {network} builds the network, which would run that code; trust it by name first"
        )


def count_logits(network: nn.Module, preprocessing: Preprocessing) -> int:
    """How many a network in eval mode gives, by asking it.

    Raises:
        ValueError: it takes no images as the preprocessing makes them, or does not answer an image with one row of logits.
    """
    import torch

    side, channels = preprocessing.crop or 224, len(preprocessing.mean)
    try:
        with torch.inference_mode():
            answer = network(like_weights(torch.zeros(1, channels, side, side), network))
    except Exception as error:  # whatever a network raises on what it does not take
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ValueError(
            f"the network takes no image of {channels} x {side} x {side} ({reason}): its preprocessing must say what it takes"
        ) from None
    if not isinstance(answer, Tensor) or answer.ndim != 2:
        raise ValueError("the network does not answer an image with one row of logits")
    return answer.shape[1]


def _parts(text: str) -> tuple[str, str]:
    library, _, name = text.partition(":")
    if not library or not name:
        raise UnknownModel(f"no network is called {text!r}: networks are named {FORMS}")
    return library, name


def _timm(name: str, **options: Any) -> nn.Module:
    import timm

    hub = logging.getLogger("huggingface_hub")
    level = hub.level
    hub.setLevel(logging.ERROR)  # it would tell of each of a dozen attempts; the error says it once
    try:
        network: nn.Module = timm.create_model(name, **options)
    except RuntimeError as error:
        raise UnknownModel(f"timm:{name}: {' '.join(str(error).split())[:200]}") from None
    except OSError as error:
        raise _not_fetched(f"timm:{name}", error) from None
    finally:
        hub.setLevel(level)
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
    _check_call(text, function, options)
    network = function(**options)
    if not isinstance(network, nn.Module):
        raise ValueError(f"{text}: returns a {type(network).__name__}, not a torch.nn.Module")
    return network


def _check_call(text: str, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """ValueError: what is to build a network cannot be called so."""
    try:
        signature(function).bind(**options)
    except TypeError as error:
        called = f"with {' and '.join(options)}" if options else "without arguments"
        raise ValueError(
            f"{text}: cannot be called {called} ({error}): name a function that can and returns the network"
        ) from None
    except ValueError:  # of code that is not Python's the signature may be unknown
        pass
