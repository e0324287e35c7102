"""Classifiers that see the whole image at once, to compare with and to learn from."""

from __future__ import annotations

from collections.abc import Collection
from os import PathLike, fspath
from pathlib import Path

from torch import Tensor, nn

from ..architecture import ExternalArchitecture
from ..bag import BagOfFeatures
from ..card import Card, digest
from ..data.names import ClassNames
from ..data.transforms import Preprocessing
from ..engine.export import FORMATS
from ..engine.exported import ENDING as EXPORTED
from ..engine.exported import Exported
from ..progress import Listener, unheard
from ..weights import BadCheckpoint
from .catalogue import published, published_as
from .checkpoint import read
from .load import load, load_network
from .names import bundled
from .networks import build, check_trust, with_authors_weights


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
) -> BagOfFeatures | Exported | ExternalNetwork:
    """As `open_network`; or an ONNX file that `bagnet.export` wrote. Raises as `open_network` and `load`."""
    if Path(fspath(name)).suffix == EXPORTED and Path(fspath(name)).is_file():
        return load(name)
    return open_network(name, trust=trust, progress=progress)


def open_network(
    name: str | PathLike[str], *, trust: Collection[str] = (), progress: Listener = unheard
) -> BagOfFeatures | ExternalNetwork:
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
        return ExternalNetwork(*with_authors_weights(text)).eval()
    if text in bundled() or text in published() or not path.is_file() or published_as(path) is not None:
        return load_network(text, trust=trust, progress=progress)
    if path.suffix in FORMATS:
        return load_network(text)  # says what can be done
    state, card = read(path)
    if card is None or not isinstance(card.architecture, ExternalArchitecture):
        return load_network(text, trust=trust, progress=progress)
    check_trust(text, card.architecture.network, trust)
    network = ExternalNetwork(build(card.architecture), card)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise BadCheckpoint(f"{text}: these are not weights of {card.architecture.network} ({reason})") from None
    return network.eval()
