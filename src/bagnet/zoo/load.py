"""Build a network: with random weights (`create`) or with known ones (`load`)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import deepcopy
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from ..architecture import PUBLISHED_SHAPES, Architecture, Windowed
from ..bag import BagOfFeatures
from ..card import Card
from ..data.names import ClassNames
from ..engine.export import FORMATS
from ..engine.exported import ENDING as EXPORTED
from ..engine.exported import Exported, open_exported
from ..hub import PREFIX, check_card, fetched, in_folder
from ..model import BagNet
from ..progress import Listener, unheard
from ..weights import BadCheckpoint, State
from ..windowed_network import WindowedNetwork
from .catalogue import bundled_weights, card_of, published, published_as, published_by_content, unknown, untrained
from .checkpoint import architecture_of, load_strictly, read
from .fetch import check, fetch
from .names import DEFAULT, bundled, full_name
from .networks import build, check_trust

Model = TypeVar("Model", bound=BagOfFeatures)
_ONLY_RUNS = {  # of an exported network, by whether it is ONNX
    True: "an exported network can be run, but not trained or changed",
    False: "of exported networks bagnet reads .onnx alone",
}
_SHAPE_WORDS = ("kernel3", "strides", "layers", "width", "padded", "in_channels", "num_classes")


def create(name: str | None = None, *, classes: Sequence[str] | None = None, **shape: Any) -> BagNet:
    """A BagNet with random weights, in training mode, as they are to be trained; `load` gives known ones in eval mode.

    Args:
        name: a published size, "bagnet9", "bagnet17", "bagnet33" or one of these with "_padded"; BagNet-33 where it is left out.
        classes: names of the classes, instead of `num_classes`.
        shape: fields of `Architecture`: kernel3, strides, layers, width, padded, in_channels, num_classes.

    Raises:
        ValueError: an unknown name or field, a field out of range, or a name that would lie about the window.
    """
    shape = _named(shape, classes)
    base = Architecture()
    if name is not None:
        if name not in PUBLISHED_SHAPES:
            raise ValueError(
                f"no network is called {name!r}: there are {', '.join(PUBLISHED_SHAPES)}; ask for any other shape by its "
                "kernel3, strides, layers and width"
            )
        base = PUBLISHED_SHAPES[name]
    architecture = replace(base, **shape)
    if name is not None and architecture.name != name:
        raise ValueError(f"with these fields {name} would be {architecture.name}: leave the name out")
    model = BagNet(architecture)
    model.card = untrained(architecture)
    if classes is not None:
        model.card = replace(model.card, classes=ClassNames.from_words(classes))
    return model


def load(
    name: str | PathLike[str] = DEFAULT,
    *,
    num_classes: int | None = None,
    classes: Sequence[str] | None = None,
    in_channels: int | None = None,
    strides: tuple[int, int, int, int] | None = None,
    trust: Collection[str] = (),
    progress: Listener = unheard,
) -> BagOfFeatures | Exported:
    """A model with known weights, in eval mode: a BagNet or a windowed network; or an ONNX file that `bagnet.export` wrote.

    Args:
        name: a card's name ("bagnet33.orig_in1k"), fetched on first use, "default", "hf-hub:user/repo" of the Hugging Face hub,
            or the path of a file: safetensors with a card (or a folder that `save_pretrained` wrote), a torch checkpoint of
            either published code, or .onnx, which answers the same calls by ONNX Runtime.
        num_classes: where it differs from the weights', the head is new and random.
        classes: names of the classes; likewise, where their number differs.
        in_channels: where it differs, the first convolution is summed (one channel) or repeated and scaled, as timm does.
        strides: of a torch checkpoint whose strides are not the published (2, 2, 2, 1); they leave no trace in the weights.
        trust: import paths whose code may be run where the card of a windowed network's file names them.
        progress: told while fetching.

    Raises:
        UnknownModel: no card and no file goes by that name.
        DownloadFailed, NotOnTheHub: the file cannot be fetched.
        WrongFile: the file is not the published one.
        BadCheckpoint: the file holds other weights, no weights, or code; or is an ONNX file of somebody else.
        ImportError: onnx or onnxruntime is missing; the message has the pip command.
        ValueError: the file holds a network that sees the whole image at once, or names code that is not trusted; an exported
            network is to have other classes or channels.
    """
    path = Path(fspath(name))
    if path.suffix == EXPORTED and path.is_file():
        if any(argument is not None for argument in (num_classes, classes, in_channels, strides)):
            raise ValueError(f"{path}: an exported network stays as it is: change the one that it was made from, and export that")
        return open_exported(path)
    return load_network(
        name,
        num_classes=num_classes,
        classes=classes,
        in_channels=in_channels,
        strides=strides,
        trust=trust,
        progress=progress,
    )


def load_network(
    name: str | PathLike[str] = DEFAULT,
    *,
    num_classes: int | None = None,
    classes: Sequence[str] | None = None,
    in_channels: int | None = None,
    strides: tuple[int, int, int, int] | None = None,
    trust: Collection[str] = (),
    progress: Listener = unheard,
) -> BagOfFeatures:
    """As `load`, a network with its weights: for those who train it, change it or write it down.

    Raises:
        BadCheckpoint: also for an exported network, which can only be run.
    """
    state, card = _weights(fspath(name), strides, progress)
    names = None if classes is None else ClassNames.from_words(classes)
    if names is not None and num_classes not in (None, len(names)):
        raise ValueError(f"num_classes={num_classes}, but {len(names)} classes are named")
    counts: dict[str, Any] = {"num_classes": num_classes if names is None else len(names), "in_channels": in_channels}
    stored = card.local
    architecture = replace(stored, **{field: count for field, count in counts.items() if count is not None})
    if isinstance(architecture, Windowed):
        check_trust(fspath(name), architecture.network, trust)
    model = untrained_model(architecture).eval()
    new_head = architecture.num_classes != stored.num_classes
    if architecture != stored:
        state = _adapted(state, model, stored)
    load_strictly(state, model, fspath(name))
    if names is None:
        names = ClassNames.numbered(architecture.num_classes) if new_head else card.classes
    model.card = card.adapted(architecture, names, new_head)
    return model


def with_head(model: Model, classes: ClassNames, channels: int) -> Model:
    """A copy of a model for other classes, with a new random head, or for another number of channels.

    Args:
        model: with a card; not changed.
        classes: what the logits are to stand for; the same ones keep the head.
        channels: of the input; where it differs, as in `load`.

    Raises:
        ValueError: a windowed network cannot have other channels, or has no linear head.
    """
    shape = replace(model.architecture, num_classes=len(classes), in_channels=channels)
    new_head = classes != model.classes
    copy = cast(Model, _reshaped(model, shape, new_head))
    if model.card is not None:
        copy.card = model.card.adapted(shape, classes, new_head)
    return copy


def _weights(name: str, strides: tuple[int, int, int, int] | None, progress: Listener) -> tuple[State, Card]:
    """The tensors and the card that go by a name or lie at a path."""
    name = full_name(name)
    path = Path(name)
    if name in bundled():
        _check_strides(name, card_of(name), strides)
        return bundled_weights(name)
    if name in published():
        _check_strides(name, card_of(name), strides)
        return _published(fetch(published()[name].source, progress), published()[name])  # type: ignore[arg-type]
    if name.startswith(PREFIX):
        state, card = read(fetched(name))
        check_card(card, name)
        return state, card  # type: ignore[return-value]  # there is one
    if path.is_dir():
        path = in_folder(path)
    if not path.is_file():
        raise unknown(name)
    if path.suffix in FORMATS:
        raise BadCheckpoint(f"{name}: {_ONLY_RUNS[path.suffix == EXPORTED]}; name the weights that it was exported from")
    if (card_by_name := published_as(path)) is not None:
        return _published(path, card_by_name)
    state, card = read(path)
    if card is not None:
        _check_strides(name, card, strides)
        return state, card
    architecture = architecture_of(state, name, strides)
    if strides is None and (known := published_by_content(path)) is not None:
        return state, known
    card = replace(
        untrained(architecture),
        name=f"{architecture.name}.{path.name.split('.')[0]}",
        licence="unknown",
        notes=f"Read from {path.name}, which has no card: preprocessing, strides and class names are assumed.",
    )
    return state, card


def _check_strides(name: str, card: Card, strides: tuple[int, int, int, int] | None) -> None:
    """ValueError: strides are asked for that the card's network has not."""
    if strides is not None and strides != getattr(card.architecture, "strides", None):
        raise ValueError(f"{name}: its card says what it is, {card.architecture.name}: leave strides={strides} out")


def _published(path: Path, card: Card) -> tuple[State, Card]:
    """A published file, checked before it is opened."""
    assert card.source is not None
    sha256 = check(path, card.source)
    return read(path)[0], replace(card, source_sha256=sha256)


def untrained_model(shape: Architecture | Windowed) -> BagOfFeatures:
    """With random weights and no card. Raises as `build` where the network of a windowed one cannot be built."""
    return BagNet(shape) if isinstance(shape, Architecture) else WindowedNetwork(build(shape.whole), shape)


def _reshaped(model: BagOfFeatures, shape: Architecture | Windowed, new_head: bool) -> BagOfFeatures:
    """A copy for another number of classes or channels; as many classes may be others, too."""
    if isinstance(model, BagNet):
        assert isinstance(shape, Architecture)
        bagnet = BagNet(shape)
        bagnet.load_state_dict(_adapted(dict(model.state_dict()), bagnet, model.architecture, new_head))
        return bagnet
    if shape.in_channels != model.architecture.in_channels:
        raise ValueError(f"{model.name} takes {model.architecture.in_channels} channels, and cannot be given {shape.in_channels}")
    copy = deepcopy(model)
    if new_head:
        copy.reset_classifier(shape.num_classes)
    return copy


def _adapted(state: State, model: BagOfFeatures, old: Architecture | Windowed, new_head: bool = False) -> State:
    """The same weights for another number of classes or channels; as many classes may be others, too."""
    state = dict(state)
    if new_head or model.architecture.num_classes != old.num_classes:
        state |= {f"fc.{name}": value.detach() for name, value in model.fc.state_dict().items()}
    if model.architecture.in_channels != old.in_channels:
        if not isinstance(model, BagNet):
            raise ValueError(f"a windowed network takes the channels that it was trained with, {old.in_channels}")
        state["conv1.weight"] = _other_channels(state["conv1.weight"], model.architecture.in_channels)
    return state


def _other_channels(weight: Tensor, channels: int) -> Tensor:
    """(out, old, k, k) -> (out, channels, k, k): for one channel with the same response to grey, for more nearly so."""
    old = weight.shape[1]
    if channels == 1:
        return weight.float().sum(1, keepdim=True)
    index = torch.arange(channels) % old
    return weight.float()[:, index] * (old / channels)


def _named(shape: dict[str, Any], classes: Sequence[str] | None) -> dict[str, Any]:
    unknown_words = [word for word in shape if word not in _SHAPE_WORDS]
    if unknown_words:
        raise ValueError(f"a BagNet has no {unknown_words[0]!r}: the fields are classes, {', '.join(_SHAPE_WORDS)}")
    if classes is None:
        return shape
    if shape.get("num_classes", len(classes)) != len(classes):
        raise ValueError(f"num_classes={shape['num_classes']}, but {len(classes)} classes are named")
    return {**shape, "num_classes": len(classes)}
