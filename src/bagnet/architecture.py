"""Architecture: the shape of a network, as data; no torch modules."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .geometry import Geometry


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
    def name(self) -> str:
        """`bagnet<window>`, with `s<stride>` where that is not the published 8 and `_padded` for the padded family."""
        geometry = self.geometry
        stride = "" if geometry.stride == 8 else f"s{geometry.stride}"
        return f"bagnet{geometry.size}{stride}{'_padded' if self.padded else ''}"

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them; `Architecture(**fields)` reads them back."""
        return {field: list(value) if isinstance(value, tuple) else value for field, value in asdict(self).items()}


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
