"""A bag of local features: what classifies by the mean of what its windows say, however each window becomes features.

Brendel & Bethge, "Approximating CNNs with Bag-of-local-Features models works surprisingly well on ImageNet", ICLR 2019:
windows are turned into features by one network, the features are averaged, and a linear layer makes logits of the mean. As
that layer is linear, the mean of the logits of all windows is the same number.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from math import floor
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from .architecture import Architecture, Windowed
from .card import Card, digest
from .data.names import ClassNames, check_classes
from .data.transforms import Preprocessing
from .geometry import BATCH_PIXELS, Geometry
from .hub import PREFIX, push, save_folder
from .weights import save


class BagOfFeatures(nn.Module):
    """An image classifier whose logits are the mean of the logits of small windows.

    What derives from it says how windows become features and has the linear head as its module `fc`.

    Args:
        architecture: the shape of the network.
    """

    architecture: Architecture | Windowed
    card: Card | None
    fc: Any  # a linear layer, or whatever has taken its place
    geometry: Geometry
    runtime = "torch"
    first_conv: str | None = None  # as timm's tools ask for it
    windows_apart = False

    def __init__(self, architecture: Architecture | Windowed) -> None:
        super().__init__()
        self.architecture = architecture
        self.geometry = architecture.geometry
        self.card = None

    @property
    @abstractmethod
    def num_features(self) -> int:
        """Channels of the bag of features."""

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """The bag of features: what each window is turned into before the linear head.

        Args:
            x: (B, in_channels, H, W) prepared images.

        Returns:
            (B, C, h, w), where (h, w) is `geometry.grid(H, W)`.

        Raises:
            ValueError: x has another shape, or is smaller than one window.
        """

    def features_of(self, tiles: Tensor) -> Tensor:
        """(B, N, in_channels, H, W) tiles of each of B images -> (B, C, N h, w): their bags of features, one below the other.

        In training they are one batch, whose statistics batch normalisation takes; else some at a time, to fit into memory.

        Raises:
            ValueError: as `features`.
        """
        every = tiles.flatten(0, 1)
        at_once = len(every) if self.training else max(1, BATCH_PIXELS // (every.shape[2] * every.shape[3]))
        features = torch.cat([self.features(chunk) for chunk in torch.split(every, at_once)])
        return torch.unflatten(features, 0, tiles.shape[:2]).transpose(1, 2).flatten(2, 3)

    @abstractmethod
    def at_stride(self, stride: int) -> Self:
        """The same network with its windows closer together, for maps finer than the decision grid.

        The mean over the finer grid is not the logit.

        Args:
            stride: in pixels, that the result's stride is to divide.

        Raises:
            ValueError: stride < 1.
        """

    @property
    def name(self) -> str:
        """The architecture's name, which states the true window and stride."""
        return self.architecture.name

    @property
    def num_classes(self) -> int:
        """Length of the logits."""
        return self.architecture.num_classes

    @property
    def head_hidden_size(self) -> int:
        """As timm calls `num_features` where a head follows."""
        return self.num_features

    @property
    def pretrained_cfg(self) -> dict[str, Any]:
        """What timm's tools ask of a model: how images are prepared, by `timm.data.resolve_model_data_config(model)`."""
        transform = self.transform
        side = transform.crop or transform.resize or 224
        return {
            "architecture": self.name,
            "tag": "" if self.card is None else self.card.name.partition(".")[2],
            "num_classes": self.num_classes,
            "input_size": (self.architecture.in_channels, side, side),
            "fixed_input_size": False,
            "interpolation": transform.interpolation,
            "crop_pct": crop_share(transform.resize, side),
            "crop_mode": "center",
            "mean": transform.mean,
            "std": transform.std,
            "first_conv": self.first_conv,
            "classifier": "fc",
        }

    @property
    def default_cfg(self) -> dict[str, Any]:
        """The older name of `pretrained_cfg`."""
        return self.pretrained_cfg

    @property
    def precision(self) -> str:
        """Of the weights: "float32", "float64", "bfloat16" or "float16"; "float32" where there are none."""
        return str(next((weight.dtype for weight in self.parameters()), torch.float32)).removeprefix("torch.")

    @property
    def weights_digest(self) -> str:
        """`digest` of the weights as they are now, by which the same model is known again."""
        return digest(self.state_dict())

    @property
    def classes(self) -> ClassNames:
        """What the logits stand for, as the card says."""
        return self._card().classes

    @property
    def transform(self) -> Preprocessing:
        """Callable PIL image -> (3, H, W) float32 tensor, prepared as the card says."""
        return self._card().preprocessing

    def _card(self) -> Card:
        if self.card is None:
            raise ValueError("this network has no card yet: build it with bagnet.create or bagnet.load")
        return self.card

    def save(self, path: str | PathLike[str]) -> None:
        """Write the weights as safetensors with the card inside; `bagnet.load(path)` gives the same network back.

        Raises:
            ValueError: the network has no card, or the name does not end in .safetensors.
            OSError: the file cannot be written; an older one stays as it was.
        """
        save(self, path)

    def save_pretrained(self, folder: str | PathLike[str]) -> Path:
        """Write a folder as the Hugging Face hub has it, which `bagnet.load(folder)` and `from_pretrained` read.

        Raises:
            ValueError: the network has no card.
            OSError: a file cannot be written; an older one stays as it was.
        """
        return save_folder(self, folder)

    @classmethod
    def from_pretrained(cls, name: str | PathLike[str], **changes: Any) -> Self:
        """`bagnet.load` of a folder that `save_pretrained` wrote, or of the hub's repository "user/repo" or "user/repo@revision".

        Args:
            name: of the folder or the repository.
            changes: `num_classes`, `classes`, `in_channels`, as `bagnet.load` has them.

        Raises:
            NotOnTheHub: there is no such repository, or the hub cannot be reached.
            ValueError: it holds a network of another kind; or as `bagnet.load`.
        """
        from .zoo.load import load_network

        words = fspath(name)
        model = load_network(words if Path(words).exists() else f"{PREFIX}{words.removeprefix(PREFIX)}", **changes)
        if not isinstance(model, cls):
            raise ValueError(f"{words}: holds {model.name}, which is no {cls.__name__}: bagnet.load reads both kinds")
        return model

    def push_to_hub(self, repository: str, *, private: bool = False, token: str | None = None) -> str:
        """Write the same files to a repository of the hub, "user/repo", which is made where there is none; returns its address.

        Raises:
            NotOnTheHub: the hub refuses, or cannot be reached.
            ValueError: the network has no card, or the name is no repository's.
        """
        return push(self, repository, private, token)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:  # noqa: ARG002
        """Which parameters lie how deep, for timm's layer-wise learning rates: all of another network alike, before the head."""
        return {"stem": r"^(?!fc\.)"}

    def check(self, x: Tensor) -> None:
        """See that x is a batch of images this network takes.

        Raises:
            ValueError: x has another shape, or is smaller than one window.
        """
        if isinstance(x, fx.Proxy) or torch.compiler.is_compiling():
            return  # a graph is made for inputs of any size
        check_batch(x, self.name, self.architecture.in_channels, self.geometry)

    def forward_features(self, x: Tensor) -> Tensor:
        """Timm's name of `features`."""
        return self.features(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, C, h, w) features -> (B, K) logits, or (B, C) where `pre_logits`, as timm's tools ask for them."""
        pooled = self._pooled(x)
        return pooled if pre_logits else self._classified(pooled)

    def get_classifier(self) -> nn.Module:
        """The linear head."""
        head: nn.Module = self.fc
        return head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new random head for so many classes; the card says so.

        Raises:
            ValueError: num_classes < 1, another pooling than the mean over windows is asked for, or there is no linear head.
        """
        if global_pool not in (None, "avg"):
            raise ValueError(f"a bag of windows is averaged: global_pool={global_pool!r} would be another network")
        if not isinstance(self.fc, nn.Linear):
            raise ValueError(f"{self.name}: its network has no linear head, so that none can take its place")
        architecture = replace(self.architecture, num_classes=num_classes)
        like = next(self.parameters())
        self.fc = nn.Linear(self.num_features, num_classes).to(like.device, like.dtype)
        self.architecture = architecture
        if self.card is not None:
            self.card = self.card.adapted(architecture, ClassNames.numbered(num_classes), new_head=True)

    def head(self, features: Tensor, classes: Sequence[int] | None = None) -> Tensor:
        """The linear classifier, in its own precision always.

        Args:
            features: (B, C) or (B, C, h, w).
            classes: indices of the wanted classes, in the wanted order; all where None.

        Returns:
            (B, K) or (B, K, h, w) logits.

        Raises:
            IndexError: a class index is out of range.
        """
        if features.ndim == 2:
            return self._classified(features, classes)
        return self._classified(features.permute(0, 2, 3, 1), classes).permute(0, 3, 1, 2)

    def _classified(self, features: Tensor, classes: Sequence[int] | None = None) -> Tensor:
        """(..., C) -> (..., K): by the module `fc`, whatever has taken its place, with its hooks."""
        parameter = next(self.fc.parameters(), None)
        if parameter is not None:
            features = features.to(parameter.dtype)
        with torch.autocast("cpu" if parameter is None or parameter.is_meta else parameter.device.type, enabled=False):
            if classes is None:
                every: Tensor = self.fc(features)
                return every
            rows = check_classes(classes, self.num_classes)
            if type(self.fc) is nn.Linear and not self.fc._forward_hooks and not self.fc._forward_pre_hooks:
                bias = None if self.fc.bias is None else self.fc.bias[rows]
                return F.linear(features, self.fc.weight[rows], bias)  # the same numbers, and no others
            chosen: Tensor = self.fc(features)[..., rows]
            return chosen

    def evidence(self, x: Tensor, classes: Sequence[int] | None = None) -> Tensor:
        """The logits of every window; their mean over the grid is `self(x)`.

        Args:
            x: (B, in_channels, H, W) prepared images.
            classes: indices of the wanted classes, in the wanted order; all where None.

        Returns:
            (B, K, h, w) logits.

        Raises:
            ValueError: as `features`.
            IndexError: a class index is out of range.
        """
        return self.head(self.features(x), classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, num_classes) of prepared images (B, in_channels, H, W), or of tiles of images (B, N, in_channels, H, W).

        Of tiles they are the mean over the windows of all tiles of an image. Raises as `features`.
        """
        features = self.features_of(x) if self._are_tiles(x) else self.features(x)
        return self._classified(self._pooled(features))

    def _are_tiles(self, x: Tensor) -> bool:
        return not isinstance(x, fx.Proxy) and x.ndim == 5 and x.shape[2] == self.architecture.in_channels

    def logits_and_evidence(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, K) logits by pooling before the head and (B, K, h, w) evidence, from one pass. Raises as `features`."""
        features = self.features(x)
        return self.head(self._pooled(features)), self.head(features)

    def _pooled(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C), the mean over windows."""
        if self.training:  # by way of (B, h w, C), so that the gradient, too, is channels last
            return features.permute(0, 2, 3, 1).flatten(1, 2).mean(1)
        return features.mean((2, 3))


def crop_share(resize: int | None, crop: int) -> float:
    """`crop / resize` so that timm, which rounds `crop / share` down, gets the resize back."""
    if resize is None:
        return 1.0
    share = crop / resize
    return share if floor(crop / share) == resize else crop / (resize + 0.5)


def check_batch(x: Tensor, name: str, channels: int, geometry: Geometry) -> None:
    """See that x is a (B, channels, H, W) batch of at least one window.

    Raises:
        ValueError: x has another shape, or is smaller than one window.
    """
    if x.ndim != 4 or x.shape[1] != channels:
        raise ValueError(f"{name} takes a batch of shape (B, {channels}, H, W), got {tuple(x.shape)}")
    geometry.grid(x.shape[2], x.shape[3])
