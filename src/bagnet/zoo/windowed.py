"""Any classifier made local: shown one window of the image at a time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import copy, deepcopy
from dataclasses import replace
from os import PathLike
from typing import Literal

import torch
from torch import nn

from ..architecture import ExternalArchitecture, Windowed
from ..bag import BagOfFeatures
from ..card import Card
from ..data.names import ClassNames
from ..data.transforms import Preprocessing
from ..engine.inference import exact, like_weights
from ..windowed_network import WindowedNetwork, linear_head
from .external import ExternalNetwork, open_network
from .networks import count_logits

Scale = int | Literal["native"] | None


def windowed(
    network: str | PathLike[str] | nn.Module,
    window: int,
    stride: int | None = None,
    *,
    scale: Scale = None,
    resize: int | None = None,
    preprocessing: Preprocessing | None = None,
    classes: Sequence[str] | None = None,
    centred: bool = False,
    trust: Collection[str] = (),
) -> WindowedNetwork:
    """Any image classifier, shown one window of an image at a time: a bag of local features whose evidence is exact.

    The image is scaled once, as a whole, and not cropped. The logits are the mean over the windows of what the network says of
    each; where its last step is a linear layer on pooled features, that layer on their mean, which is the same number.
    Networks trained with random resized crops judge small windows well without further training.

    Args:
        network: "timm:NAME" or "torchvision:NAME" with its authors' weights, "package.module:function", a file that
            `bagnet train --network` or `save` wrote, the name of a bundled windowed network, or a module, which is copied.
        window: side of a window, in pixels of the scaled image.
        stride: between neighbouring windows, in pixels of the scaled image; half a window where None. More than `window` is
            allowed, and leaves pixels unseen.
        scale: pixels of the scaled image's shorter side; "native" leaves the photograph's own; what the network's own
            preprocessing says where None.
        resize: side to which each window is resized for a network that wants its inputs so; found out where None: windows are
            shown as they are if the network takes them.
        preprocessing: of a module: interpolation, mean and standard deviation are taken over, and the scale where none is said.
        classes: of a module, what its logits stand for.
        centred: subtract from each window's logits their mean over the classes, by subtracting it from the linear head. No answer
            and no probability changes; maps of different classes become easier to compare.
        trust: import paths whose code may be run where a file's card names them.

    Raises:
        UnknownModel, DownloadFailed, BadCheckpoint, ImportError: as `open_network`.
        ValueError: window, stride, scale or resize is out of range; the network does not answer an image with one row of logits,
            takes no window of that size, is a BagNet, which is local already, or is to be centred without a linear head.
    """
    whole, shape, card = _whole(network, preprocessing, classes, trust)
    transform = card.preprocessing
    stride = max(1, window // 2) if stride is None and isinstance(window, int) else stride
    architecture = Windowed(shape.network, window, stride, "", resize, shape.num_classes, shape.in_channels)
    if scale is None:
        scale = transform.resize or transform.crop or "native"
        if isinstance(scale, int) and isinstance(window, int) and window > scale:
            raise ValueError(f"windows of {window} px do not fit into images of {scale} px, the network's own: give a scale")
    check_scale(scale, window)
    with exact(whole):
        architecture = _fitted(whole, architecture, transform.crop or transform.resize)
    model = WindowedNetwork(whole, architecture)
    if centred:
        _centre(model)
    model.card = replace(
        card,
        name=f"{architecture.name}.{_tag(card.name)}",
        architecture=architecture,
        preprocessing=replace(transform, resize=None if scale == "native" else scale, crop=None),
        scores=(),
        temperature=1.0,
        source=None,
        digest=None,
        notes=f"{_about(architecture, centred)} {card.notes}".strip(),
    )
    return model.eval()


def rewindowed(
    model: BagOfFeatures,
    window: int | None = None,
    stride: int | None = None,
    *,
    scale: Scale = None,
    grey: tuple[float, float] | None = None,
) -> BagOfFeatures:
    """The same weights with other windows, or for images of another scale or other grey levels; what is None stays as it is.

    Args:
        model: with a card; not changed. A BagNet's windows are what they are, and only its images can be scaled otherwise.
        window: side of a window, in pixels of the scaled image.
        stride: between neighbouring windows; half a window where only that is said.
        scale: as for `windowed`; nothing is cropped then.
        grey: as `Preprocessing.grey`.

    Raises:
        ValueError: as `windowed`; the grey levels do not rise.
    """
    assert model.card is not None
    if window is not None or stride is not None:
        model = windowed(model, model.geometry.size if window is None else window, stride, scale=scale)
    elif scale is not None:
        check_scale(scale, model.geometry.smallest_input)
        model = _prepared_by(model, replace(model.transform, resize=None if scale == "native" else scale, crop=None))
    return model if grey is None else _prepared_by(model, replace(model.transform, grey=grey))


def _prepared_by(model: BagOfFeatures, transform: Preprocessing) -> BagOfFeatures:
    """The same weights for images that are prepared in another way."""
    assert model.card is not None
    other = copy(model)
    other.card = replace(model.card, preprocessing=transform, scores=(), temperature=1.0, source=None)
    return other


def check_scale(scale: Scale, least: int) -> None:
    """Raises ValueError where a scale is no number of pixels of at least a window."""
    if scale is not None and scale != "native" and (isinstance(scale, bool) or not isinstance(scale, int) or scale < least):
        raise ValueError(f"scale must be 'native' or at least as many pixels as a window, {least}, got {scale!r}")


def _whole(
    network: str | PathLike[str] | nn.Module,
    preprocessing: Preprocessing | None,
    classes: Sequence[str] | None,
    trust: Collection[str],
) -> tuple[nn.Module, ExternalArchitecture, Card]:
    """The classifier with its head on, as a copy; who builds it; and what it is."""
    while isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):  # a copy is of the network inside
        network = network.module
    opened = network if isinstance(network, nn.Module) else open_network(network, trust=trust)
    if not isinstance(opened, BagOfFeatures | ExternalNetwork):
        return _of_module(opened, preprocessing or Preprocessing(), classes)
    if preprocessing is not None or classes is not None:
        raise ValueError(f"preprocessing and classes are for a module without a card: that of {opened.name} says them")
    if isinstance(opened, ExternalNetwork):
        assert isinstance(opened.card.architecture, ExternalArchitecture)
        return deepcopy(opened.network), opened.card.architecture, opened.card
    if not isinstance(opened, WindowedNetwork):
        raise ValueError(f"{opened.name} is a bag of local features already")
    whole = deepcopy(opened.network)
    if opened.architecture.head:
        parent, _, name = opened.architecture.head.rpartition(".")
        setattr(whole.get_submodule(parent), name, deepcopy(opened.fc))
    card = opened.card or Card(opened.name, opened.architecture, ClassNames.numbered(opened.num_classes), Preprocessing())
    return whole, opened.architecture.whole, card


def _of_module(
    module: nn.Module, preprocessing: Preprocessing, classes: Sequence[str] | None
) -> tuple[nn.Module, ExternalArchitecture, Card]:
    module = deepcopy(module)
    with exact(module):
        count = count_logits(module, preprocessing)
    names = ClassNames.numbered(count) if classes is None else ClassNames.from_words(classes)
    kind = type(module)
    shape = ExternalArchitecture(f"{kind.__module__}:{kind.__qualname__}", count, len(preprocessing.mean))
    return module, shape, Card(kind.__name__.lower(), shape, names, preprocessing, licence="unknown")


def _fitted(whole: nn.Module, architecture: Windowed, usual: int | None) -> Windowed:
    """With the name of the network's head, and windows resized where it takes no others.

    Args:
        whole: in eval mode.
        architecture: as asked for.
        usual: the input size that the network was made for, where known.
    """
    sides = [architecture.shown]
    if architecture.resize is None and usual is not None:
        sides.append(usual)
    reason = ""
    for side in sides:
        example = like_weights(torch.zeros(2, architecture.in_channels, side, side), whole)
        try:
            head = linear_head(whole, example)
        except Exception as error:  # whatever a network raises on a size that it does not take
            reason = reason or (str(error).splitlines() or [type(error).__name__])[0][:200]
            continue
        return replace(architecture, head=head, resize=None if side == architecture.window else side)
    raise ValueError(f"{architecture.network} takes no windows of {architecture.shown} pixels ({reason}): say resize=")


def _centre(model: WindowedNetwork) -> None:
    """Subtract from the head its mean over the classes."""
    if not isinstance(model.fc, nn.Linear):
        raise ValueError(f"{model.architecture.network} has no linear head to centre: its logits are averaged")
    with torch.no_grad():
        for parameter in model.fc.parameters():
            parameter.copy_(parameter - parameter.mean(0))


def _tag(name: str) -> str:
    """Of a card's name, what says whose weights they are."""
    architecture, _, tag = name.partition(".")
    return tag if architecture.startswith("windowed") and tag else name


def _about(architecture: Windowed, centred: bool) -> str:
    words = [f"A bag of windows of {architecture.network}, not a BagNet."]
    if not architecture.head:
        words.append("Its last step is no linear layer on pooled features: the logits of the windows are averaged.")
    if architecture.resize is not None:
        words.append(f"Each window is resized to {architecture.resize} pixels.")
    if centred:
        words.append("The head is centred: the logits of each window are 0 on average over the classes.")
    return " ".join(words)
