"""Any image file a person may have, as an upright 8-bit RGB picture, or one clear reason why not."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP")
LARGEST = 178_956_970  # pixels; where Pillow itself calls an image a decompression bomb
_EXIF_ORIENTATION = 0x0112
_BACKGROUND = (255, 255, 255)


class BadImage(ValueError):
    """A file, array or picture that cannot be read as an image. The message names it and says what to do."""


@dataclass(frozen=True, slots=True)
class Photo:
    """A decoded image.

    Args:
        image: upright, 8-bit RGB.
        orientation: EXIF orientation of the file, 1 to 8; it has been applied to `image`.
        name: where it came from, for messages and file names; "" for pictures that were never files.
    """

    image: Image.Image
    orientation: int = 1
    name: str = ""


def decode(source: str | PathLike[str] | Image.Image | np.ndarray) -> Photo:  # type: ignore[type-arg]
    """Read an image file, a PIL image or a uint8 array of shape (H, W), (H, W, 3) or (H, W, 4).

    Transparency is laid over white. Grey images of 16 bits keep their upper 8. CMYK is converted without a colour profile,
    and profiles are not applied to RGB, as the published preprocessing does neither. Of several frames the first is taken.

    Raises:
        FileNotFoundError: there is no such file.
        BadImage: it is no image, of a kind not read here, cut short, or larger than `LARGEST` pixels.
    """
    if isinstance(source, Image.Image):
        return _upright(source, name=getattr(source, "filename", ""))
    if isinstance(source, np.ndarray):
        return _from_array(source)
    path = Path(fspath(source))
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file")
    if path.is_dir():
        raise BadImage(f"{path}: is a folder; name an image file")
    if path.stat().st_size == 0:
        raise BadImage(f"{path}: the file is empty")
    with _reasons(str(path)), Image.open(path, formats=FORMATS) as image:
        return _upright(image, str(path))


def _upright(image: Image.Image, name: str) -> Photo:
    if image.width * image.height > LARGEST:
        raise BadImage(
            f"{name or 'image'}: {image.width} x {image.height} pixels is more than the {LARGEST:,} read in one piece"
        )
    with _reasons(name or "image"):
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
        orientation = orientation if orientation in range(1, 9) else 1
        return Photo(_to_rgb(ImageOps.exif_transpose(image)), orientation, name)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        image = _eight_bits(np.asarray(image))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.new("RGBA", rgba.size, (*_BACKGROUND, 255))
        image.alpha_composite(rgba)
    return image.convert("RGB")


def _eight_bits(values: np.ndarray) -> Image.Image:  # type: ignore[type-arg]
    """Grey levels of 16 bits, or floating point in [0, 1], as 8 bits."""
    if values.dtype.kind == "f":
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise BadImage(
                f"floating-point grey levels run from {values.min():g} to {values.max():g}; bring them to [0, 1]"
            )
        return Image.fromarray(np.round(values * 255).astype(np.uint8))
    if values.min() < 0 or values.max() > 65535:
        raise BadImage(f"grey levels run from {values.min()} to {values.max()}; bring them to 16 bits")
    return Image.fromarray((values >> 8).astype(np.uint8))


def _from_array(values: np.ndarray) -> Photo:  # type: ignore[type-arg]
    if values.dtype != np.uint8 or values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (1, 3, 4)):
        raise BadImage(
            f"an array must be uint8 of shape (H, W), (H, W, 3) or (H, W, 4), got {values.dtype} {values.shape}; "
            "give a prepared (3, H, W) network input as a torch tensor"
        )
    if 0 in values.shape:
        raise BadImage(f"an array of shape {values.shape} holds no pixel")
    return _upright(Image.fromarray(values[:, :, 0] if values.shape[2:] == (1,) else values), "")


@contextmanager
def _reasons(name: str) -> Iterator[None]:
    """Turn the many ways in which Pillow fails into one exception with the file's name and the remedy."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata and of large sizes that are still allowed
            yield
    except BadImage as error:
        raise (error if str(error).startswith(name) else BadImage(f"{name}: {error}")) from None
    except UnidentifiedImageError:
        kinds = "JPEG, PNG, WebP, TIFF, GIF and BMP"
        raise BadImage(f"{name}: not an image of a known kind ({kinds} are read)") from None
    except Image.DecompressionBombError:
        raise BadImage(f"{name}: has more than the {LARGEST:,} pixels that are read in one piece") from None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, OverflowError, MemoryError, TypeError) as error:
        raise BadImage(f"{name}: broken or cut short ({error}); save or copy it again") from None
