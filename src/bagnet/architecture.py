"""Architecture: the shape of a network, as data; no torch modules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from .geometry import Geometry

EXPANSION = 4  # channels after a bottleneck, as a multiple of those inside


@dataclass(frozen=True, slots=True)
class Architecture:
    """The shape of a BagNet, in the published code's terms. The defaults are BagNet-33's.

    Args:
        kernel3: per stage, how many of its leading blocks have a 3x3 convolution; the others have only 1x1.
        strides: stride of each stage's first block.
        layers: blocks per stage.
        width: channels of the stem; stage i has width * 2**i inside its blocks and four times that after them.
        padded: zero-pad every 3x3 convolution to keep the size (the bagnetsv2 family) instead of not at all (the paper's).
        in_channels: channels of the input image.
        num_classes: logits.

    Raises:
        ValueError: a field is out of range; the message says which.
    """

    kernel3: tuple[int, int, int, int] = (1, 1, 1, 1)
    strides: tuple[int, int, int, int] = (2, 2, 2, 1)
    layers: tuple[int, int, int, int] = (3, 4, 6, 3)
    width: int = 64
    padded: bool = False
    in_channels: int = 3
    num_classes: int = 1000

    def __post_init__(self) -> None:
        for field, least in (("kernel3", 0), ("strides", 1), ("layers", 1)):
            numbers = getattr(self, field)
            if len(numbers) != 4 or any(not isinstance(n, int) or n < least for n in numbers):
                raise ValueError(f"{field} must be four whole numbers >= {least}, one per stage, got {numbers}")
            object.__setattr__(self, field, tuple(numbers))  # a list read from JSON is welcome
        for field in ("width", "in_channels", "num_classes"):
            if not isinstance(getattr(self, field), int) or getattr(self, field) < 1:
                raise ValueError(f"{field} must be a whole number >= 1, got {getattr(self, field)}")
        if any(k > n for k, n in zip(self.kernel3, self.layers, strict=True)):
            raise ValueError(f"kernel3={self.kernel3} asks for more 3x3 blocks than layers={self.layers} has")

    @property
    def geometry(self) -> Geometry:
        """Window, stride and origin of the evidence grid, by receptive-field arithmetic over the 3x3 convolutions."""
        size, stride = 3, 1
        for blocks, stage_stride in zip(self.kernel3, self.strides, strict=True):
            for block in range(blocks):
                size += 2 * stride
                stride *= stage_stride if block == 0 else 1
            stride *= stage_stride if blocks == 0 else 1
        return Geometry(size, stride, origin=-(size - 1) // 2 if self.padded else 0)

    @property
    def num_features(self) -> int:
        """Channels of the bag of features."""
        return self.width * 2**3 * EXPANSION

    @property
    def name(self) -> str:
        """`bagnet<window>`, with `s<stride>` where that is not the published 8 and `_padded` for the padded family."""
        geometry = self.geometry
        stride = "" if geometry.stride == 8 else f"s{geometry.stride}"
        return f"bagnet{geometry.size}{stride}{'_padded' if self.padded else ''}"

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them; `Architecture(**fields)` reads them back."""
        return {field: list(value) if isinstance(value, tuple) else value for field, value in asdict(self).items()}


# The published sizes, by name; any other shape is asked for by its fields.
PUBLISHED_SHAPES: Mapping[str, Architecture] = MappingProxyType(
    {
        shape.name: shape
        for padded in (False, True)
        for shape in (Architecture(kernel3, padded=padded) for kernel3 in ((1, 1, 0, 0), (1, 1, 1, 0), (1, 1, 1, 1)))
    }
)


@dataclass(frozen=True, slots=True)
class Windowed:
    """The shape of any classifier that is shown one window of an image at a time.

    Args:
        network: who builds the classifier: "timm:NAME", "torchvision:NAME" or "package.module:function".
        window: side of a window, in pixels of the prepared image.
        stride: between neighbouring windows, in pixels of the prepared image.
        head: the name in the network of the linear layer that makes logits of its pooled features; "" where it has none, so
            that the logits of the windows are averaged.
        resize: side that each window is resized to for the network; None shows it as it is.
        num_classes: logits.
        in_channels: channels of the input image.

    Raises:
        ValueError: a field is out of range; the message says which.
    """

    network: str
    window: int
    stride: int
    head: str = ""
    resize: int | None = None
    num_classes: int = 1000
    in_channels: int = 3

    def __post_init__(self) -> None:
        for field in ("window", "stride", "resize", "num_classes", "in_channels"):
            number = getattr(self, field)
            optional = field == "resize" and number is None
            if not optional and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
                raise ValueError(f"{field} must be a whole number >= 1, got {number!r}")

    @property
    def geometry(self) -> Geometry:
        """Where the windows lie."""
        return Geometry(self.window, self.stride)

    @property
    def name(self) -> str:
        """`windowed<window>s<stride>`, in pixels of the prepared image."""
        return f"windowed{self.window}s{self.stride}"

    @property
    def shown(self) -> int:
        """Side of what the network is shown, in pixels."""
        return self.resize or self.window

    @property
    def whole(self) -> ExternalArchitecture:
        """The classifier by itself."""
        return ExternalArchitecture(self.network, self.num_classes, self.in_channels)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them; `Windowed(**fields)` reads them back."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ExternalArchitecture:
    """The shape of a network that is not a BagNet, kept for comparison or as a teacher.

    Args:
        network: who builds it: "timm:NAME", "torchvision:NAME" or "package.module:function".
        num_classes: length of the logits.
        in_channels: of the input.
    """

    network: str
    num_classes: int = 1000
    in_channels: int = 3

    @property
    def name(self) -> str:
        """The last word of who builds it."""
        return self.network.rsplit(":", 1)[-1].split(".")[0]

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them."""
        return asdict(self)


AnyArchitecture = Architecture | Windowed | ExternalArchitecture


def architecture_from(fields: Mapping[str, Any]) -> AnyArchitecture:
    """What `to_dict` of one of them wrote; each has fields that the others have not. Raises TypeError, ValueError: none did."""
    if "window" in fields:
        return Windowed(**fields)
    return ExternalArchitecture(**fields) if "network" in fields else Architecture(**fields)
