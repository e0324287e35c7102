"""From a person's image to the network's input, and back again by way of a Placement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import isfinite, prod
from numbers import Integral
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..geometry import Axis, Placement
from .decode import LARGEST, BadImage, ImageLike, Photo, decode

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# name -> (Pillow's filter, its half-width in output pixels)
_FILTERS = {
    "bilinear": (Image.Resampling.BILINEAR, 1.0),
    "bicubic": (Image.Resampling.BICUBIC, 2.0),
    "lanczos": (Image.Resampling.LANCZOS, 3.0),
}


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Resize the shorter side, crop the centre, scale to [0, 1], normalise. The defaults are the paper's.

    Callable: an image, as `decode` reads it -> (3, H, W) float32 tensor (one channel where `mean` has one). Equal to
    torchvision's Resize, CenterCrop, ToTensor and Normalize on upright RGB images; other modes become RGB, and other
    orientations upright, as `decode` makes them so.

    Args:
        resize: pixels of the shorter side after the antialiased resize; None leaves the image as it is.
        crop: side of the square cropped from the middle; None keeps everything. Smaller images are padded with black.
        interpolation: "bilinear", "bicubic" or "lanczos".
        mean: per channel, subtracted after scaling to [0, 1].
        std: per channel, divided by.
        grey: of grey images of more than 8 bits, and of DICOM: the levels that become black and white (in radiology the window),
            those in between spread evenly; None for what `Photo.image` makes of them.

    Raises:
        ValueError: a field is out of range.
    """

    resize: int | None = 256
    crop: int | None = 224
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    grey: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for field in ("resize", "crop"):
            pixels = getattr(self, field)
            if pixels is not None and (isinstance(pixels, bool) or not isinstance(pixels, Integral) or pixels < 1):
                raise ValueError(f"{field} must be a whole number of pixels >= 1, or nothing, got {pixels!r}")
            object.__setattr__(self, field, None if pixels is None else int(pixels))
        if self.interpolation not in _FILTERS:
            raise ValueError(f"interpolation must be one of {', '.join(_FILTERS)}, got {self.interpolation!r}")
        try:
            mean, std = (tuple(map(float, values)) for values in (self.mean, self.std))
            good = 0 < len(mean) == len(std) and min(std) > 0 and all(map(isfinite, mean + std))
        except (TypeError, ValueError):
            good = False
        if not good:
            raise ValueError(
                f"mean and std need one number per channel, and those of std be positive, got {self.mean} and {self.std}"
            )
        if self.grey is not None:
            try:
                black, white = map(float, self.grey)
                ordered = isfinite(white - black) and black < white
            except (TypeError, ValueError):
                ordered = False
            if not ordered:
                raise ValueError(
                    f"grey must be two levels, the one that is black and a higher one that is white, got {self.grey}"
                )
            object.__setattr__(self, "grey", (black, white))
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "std", std)

    def with_crop(self, crop: int) -> Preprocessing:
        """The same proportions at another input size: the resize grows or shrinks with the crop."""
        if self.resize is None or self.crop is None:
            return replace(self, crop=crop)
        return replace(self, resize=max(1, round(self.resize * crop / self.crop)), crop=crop)

    def whole(self, size: int | None) -> Preprocessing:
        """The whole image, its shorter side of so many pixels, None for its own: nothing is cropped."""
        return replace(self, resize=size, crop=None)

    def with_channels(self, channels: int) -> Preprocessing:
        """The same for another number of channels: each then has the mean of all means and deviations."""
        if channels == len(self.mean):
            return self
        middle = [(sum(values) / len(values),) * channels for values in (self.mean, self.std)]
        return replace(self, mean=middle[0], std=middle[1])

    def placement(self, image_size: tuple[int, int], orientation: int = 1) -> Placement:
        """Where the prepared pixels of an upright image of (width, height) pixels come from."""
        resized = self._resized(image_size)
        radius = _FILTERS[self.interpolation][1]
        axes = []
        for source, pixels in zip(image_size, resized, strict=True):
            start, length = (0, pixels) if self.crop is None else (_crop_start(pixels, self.crop), self.crop)
            axes.append(Axis(source, pixels, start, length, radius))
        return Placement(axes[0], axes[1], orientation)

    def __call__(self, image: ImageLike) -> Tensor:
        """Prepare an image in any form that `decode` reads, upright.

        Raises:
            FileNotFoundError, BadImage: as `decode`; it would become too large.
            ValueError: the network takes other than one or three channels.
        """
        return self.of_picture(self.shown(decode(image)))

    def shown(self, photo: Photo) -> Image.Image:
        """The upright RGB picture that is prepared, of which evidence is a part. BadImage: there is none (`Photo.shown`)."""
        return photo.shown(self.grey)

    def of_picture(self, image: Image.Image) -> Tensor:
        """The same of an upright RGB picture."""
        channels = len(self.mean)
        if channels not in (1, 3):
            raise ValueError(f"a picture has no {channels} channels: prepare an array of them with `of_pixels`")
        return self.normalise(_planes([self._resized_and_cropped(image.convert("L") if channels == 1 else image)]))

    def of_pixels(self, pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
        """The same of an array of (H, W, C) uint8 with as many channels as `mean` has; (N, C, h, w) of (N, H, W, C) tiles.

        Raises:
            BadImage: it would become too large.
            ValueError: it has another number of channels.
        """
        if pixels.ndim == 4:
            return torch.stack([self.of_pixels(tile) for tile in pixels])
        if pixels.shape[2] != len(self.mean):
            raise ValueError(f"an image of {pixels.shape[2]} channels, where {len(self.mean)} are expected")
        if pixels.shape[2] == 3:
            return self.normalise(_planes([self._resized_and_cropped(Image.fromarray(pixels))]))
        return self.normalise(_planes([self._resized_and_cropped(Image.fromarray(plane)) for plane in np.moveaxis(pixels, 2, 0)]))

    def _resized_and_cropped(self, image: Image.Image) -> Image.Image:
        """Resized and cropped."""
        placement = self.placement(image.size)
        resized = placement.horizontal.resized, placement.vertical.resized
        if max(prod(resized), prod(placement.input_size)) > LARGEST:
            raise BadImage(
                f"an image of {image.width} x {image.height} pixels would be resized to {resized[0]} x {resized[1]} and cropped "
                f"to {placement.horizontal.length} x {placement.vertical.length}, more than {LARGEST:,} pixels; "
                "crop it to a squarer shape or choose a smaller size"
            )
        if image.size != resized:
            image = image.resize(resized, _FILTERS[self.interpolation][0])
        left, top = placement.horizontal.start, placement.vertical.start
        height, width = placement.input_size
        if (left, top, width, height) != (0, 0, *resized):
            image = image.crop((left, top, left + width, top + height))  # outside the image Pillow's crop is black
        return image

    def normalise(self, pixels: Tensor) -> Tensor:
        """uint8 pixels (..., C, H, W) -> float32, normalised."""
        mean, std = self._statistics(pixels.device)
        return pixels.float().div_(255).sub_(mean).div_(std)  # in place: of a large photograph each copy counts

    def picture(self, tensor: Tensor) -> Image.Image:
        """A picture of a prepared (C, H, W) tensor, for people; of other than three channels, the mean in grey."""
        mean, std = self._statistics(torch.device("cpu"))
        pixels = (tensor.detach().float().cpu() * std + mean).clamp(0, 1)
        if len(pixels) != 3:
            pixels = pixels.mean(0, keepdim=True).expand(3, -1, -1)
        return Image.fromarray((pixels * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them, without `grey` where nobody says it; `Preprocessing(**fields)` reads them back."""
        kept = {field: list(value) if isinstance(value, tuple) else value for field, value in asdict(self).items()}
        return {field: value for field, value in kept.items() if field != "grey" or value is not None}

    def _statistics(self, device: torch.device) -> list[Tensor]:
        """Mean and standard deviation as float32 of shape (C, 1, 1)."""
        return [torch.tensor(values, dtype=torch.float32, device=device)[:, None, None] for values in (self.mean, self.std)]

    def _resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """Torchvision's rule: the shorter side exactly, the longer one rounded down to whole pixels."""
        if self.resize is None:
            return size
        short, long = min(size), max(size)
        longer = int(self.resize * long / short)
        return (self.resize, longer) if size[0] <= size[1] else (longer, self.resize)


def _planes(images: Sequence[Image.Image]) -> Tensor:
    """(C, H, W) uint8 of pictures of one size, one after the other."""
    width, height = images[0].size
    planes = [np.array(image, np.uint8).reshape(height, width, -1).transpose(2, 0, 1) for image in images]
    return torch.from_numpy(planes[0] if len(planes) == 1 else np.concatenate(planes))


def _crop_start(pixels: int, crop: int) -> int:
    """Torchvision's CenterCrop: it pads a smaller image first, with the odd pixel at the end, and rounds half to even."""
    return round((pixels - crop) / 2.0) if pixels >= crop else -((crop - pixels) // 2)
