"""Any image file a person may have, upright, as an 8-bit RGB picture or as grey levels, or one clear reason why not."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from os import PathLike, fsdecode
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ..files import missing_hint
from .dicom import HEADER, NotShown, is_dicom, read_dicom
from .levels import Levels, NoPicture

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP")
LARGEST = 178_956_970  # pixels; where Pillow itself calls an image a decompression bomb
_SMALLER = "scale it down first, or make it a tiled TIFF for bagnet slide"
_EXIF_ORIENTATION = 0x0112
_TIFF_PHOTOMETRIC, _TIFF_WHITE_IS_ZERO = 262, 0
_TIFF_BITS, _TIFF_FORMAT, _UNSIGNED = 258, 339, (1,)
_BACKGROUND = (255, 255, 255)
_CHANNELS = (1, 3, 4)  # grey, RGB and RGBA
_LONGEST_PATH = 4096  # bytes
_LONGEST_NAME = 200  # letters of a name that a message repeats


class BadImage(ValueError):
    """A file, array or picture that cannot be read as an image. The message names it and says what to do."""


@dataclass(frozen=True)
class Photo:
    """A decoded image.

    Args:
        pixels: upright: an 8-bit RGB picture, or grey levels of more bits.
        orientation: EXIF orientation of the file, 1 to 8; it has been applied to `pixels`.
        name: where it came from, for messages and file names; "" for pictures that were never files.
        rounded: the file has more than 8 bits of colours, or of grey with transparency, of which the upper 8 are read.
    """

    pixels: Image.Image | Levels
    orientation: int = 1
    name: str = ""
    rounded: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.pixels.size

    @cached_property
    def image(self) -> Image.Image:
        """In 8-bit RGB: of grey levels what the file says, or else their upper bits. BadImage: there is no such picture."""
        return self.shown(None)

    def shown(self, grey: tuple[float, float] | None) -> Image.Image:
        """In 8-bit RGB, where the model says which grey levels are black and white (`Preprocessing.grey`).

        Raises:
            BadImage: there is no such picture of its grey levels (`Levels.picture`), or they were rounded.
        """
        with _reasons(self.name or "image"):
            if isinstance(self.pixels, Levels):
                return self.pixels.picture(grey)
            if self.rounded and grey is not None:
                raise BadImage(
                    f"which levels are black and white is said ({grey[0]:g} and {grey[1]:g}), but of colours, and of grey with "
                    "transparency, only the upper 8 bits are read; save it in grey alone"
                )
            return self.pixels


ImageLike = str | bytes | PathLike[str] | PathLike[bytes] | BinaryIO | Image.Image | np.ndarray | Tensor | Photo


def decode(source: ImageLike) -> Photo:
    """Read an image, in whatever form it is at hand, as long as that has one meaning.

    Transparency is laid over white. Grey images of more than 8 bits, and DICOM, keep their levels (`Photo.shown`). CMYK is
    converted without a colour profile, and profiles are not applied to RGB, as the published preprocessing does neither. Of a
    file with several frames the first is taken, of a PIL image the one it stands at. What is given is never modified.

    Args:
        source: a path; the bytes of an image file; an open file of them; a PIL image; a uint8 array of shape (H, W), (H, W, 1),
            (H, W, 3) or (H, W, 4), or with these channels first; or a uint8 tensor of shape (1, H, W), (3, H, W) or (4, H, W),
            as torchvision reads images. What `decode_bytes` returned is returned.

    Raises:
        FileNotFoundError: there is no such file.
        BadImage: it is no image, of a kind not read here, incomplete, or larger than `LARGEST` pixels.
    """
    if isinstance(source, Photo):
        return source
    if isinstance(source, Image.Image):
        name = fsdecode(getattr(source, "filename", None) or "")
        with _reasons(name or "image"):
            return _upright(source, name)
    if isinstance(source, Tensor):
        with _reasons("tensor"):
            return _upright(_from_tensor(source), "")
    if isinstance(source, np.ndarray):
        with _reasons("array"):
            return _upright(_from_array(source), "")
    if isinstance(source, (bytes, bytearray, memoryview)) and not _is_path(bytes(source)):
        return decode_bytes(bytes(source), "")
    if hasattr(source, "read"):
        return _decode_file(source)
    try:
        name = fsdecode(source)
    except TypeError:
        raise BadImage(
            f"a {type(source).__name__} is no image: give a path, the bytes of a file, a PIL image, an array or a tensor"
        ) from None
    _check_file(name)
    with _reasons(name):
        with Path(name).open("rb") as file:
            start = file.read(HEADER)
        if is_dicom(start):
            return _from_dicom(Path(name).read_bytes(), name)
        with Image.open(name, formats=FORMATS) as image:
            return _upright(image, name)


def decode_large(path: Path, largest: int) -> Photo:
    """Read an image file as `decode` does, of which somebody knows that it is large.

    Args:
        path: of the file.
        largest: pixels, at most.

    Raises:
        FileNotFoundError, BadImage: as `decode`.
    """
    _check_file(str(path))
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with _reasons(str(path)), Image.open(path, formats=FORMATS) as image:
            return _upright(image, str(path), largest)
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def decode_bytes(content: bytes, name: str) -> Photo:
    """Read the bytes of an image file, as `decode` reads the file.

    Args:
        content: of the file.
        name: of the image, for messages.

    Raises:
        BadImage: as `decode`.
    """
    with _reasons(name or "image"):
        if not content:
            raise BadImage("there are no bytes; save or copy it again")
        if is_dicom(content):
            return _from_dicom(content, name)
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            return _upright(image, name)


def _check_file(name: str) -> None:
    """Refuse what is no file before it is opened: to open a pipe would wait for its other end."""
    try:
        status = Path(name).stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a null byte, which no name can have
        raise FileNotFoundError(f"{printable(name)}: there is no such file; {missing_hint(name)}") from None
    except OSError as error:
        raise BadImage(f"{printable(name)}: cannot be read ({error.strerror}); check the path") from None
    if S_ISDIR(status.st_mode):
        raise BadImage(f"{printable(name)}: is a folder; name an image file")
    if not S_ISREG(status.st_mode):
        raise BadImage(f"{printable(name)}: is a pipe or a device; save the image to a file first")
    if status.st_size == 0:
        raise BadImage(f"{printable(name)}: the file is empty; save or copy it again")


def _from_dicom(content: bytes, name: str) -> Photo:
    return Photo(read_dicom(content, LARGEST), 1, name)


def _upright(image: Image.Image, name: str, largest: int | None = None) -> Photo:
    largest = LARGEST if largest is None else largest
    if image.width * image.height > largest:
        raise BadImage(
            f"{image.width} x {image.height} pixels is more than the {largest:,} that are read in one piece; {_SMALLER}"
        )
    if image.width * image.height == 0:
        raise BadImage(f"{image.width} x {image.height} pixels is no pixel at all; give an image that has some")
    # All before anything is decoded, since Pillow turns a TIFF while it loads and then forgets the orientation, and the tiles.
    deep, tags = image.mode.startswith(("I", "F")), getattr(image, "tag_v2", {})
    rounded = not deep and any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    negative = deep and tags.get(_TIFF_PHOTOMETRIC) == _TIFF_WHITE_IS_ZERO  # Pillow heeds it in 8 bits only
    image, orientation = ImageOps.exif_transpose(image), orientation if orientation in range(1, 9) else 1
    if not deep:
        return Photo(_to_rgb(image), orientation, name, rounded)
    values, clear = np.array(image), image.info.get("transparency")
    if values.dtype == np.int32 and tags.get(_TIFF_BITS) == (32,) and tags.get(_TIFF_FORMAT, _UNSIGNED) == _UNSIGNED:
        values = values.view(np.uint32)  # Pillow takes them for signed
    return Photo(Levels(values, negative, clear if isinstance(clear, int) else None), orientation, name)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.new("RGBA", rgba.size, (*_BACKGROUND, 255))
        image.alpha_composite(rgba)
    return image.convert("RGB")


def _is_path(content: bytes) -> bool:
    """Whether bytes name a file that is there, as they may on systems whose names need not be text."""
    return len(content) < _LONGEST_PATH and b"\0" not in content and Path(fsdecode(content)).is_file()


def _decode_file(file: Any) -> Photo:
    """An open file, from where it stands, which is left as it was."""
    name = getattr(file, "name", "")
    name = fsdecode(name) if isinstance(name, (str, bytes)) else ""
    with _reasons(name or "file"):
        start = file.tell() if getattr(file, "seekable", bool)() else None
        content = file.read()
        if start is not None:
            file.seek(start)
        if not isinstance(content, bytes):
            raise BadImage("is opened as text; open it with mode 'rb'")
    return decode_bytes(content, name)


def _from_array(values: np.ndarray) -> Image.Image:
    """(H, W), (H, W, C) or (C, H, W) uint8."""
    if values.ndim == 3 and values.shape[0] in _CHANNELS and min(values.shape[1:]) > max(_CHANNELS):
        values = values.transpose(1, 2, 0)
    if values.dtype != np.uint8 or values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in _CHANNELS):
        raise BadImage(
            f"must be uint8 of shape (H, W), (H, W, 3) or (H, W, 4), got {values.dtype} {values.shape}; "
            "give deeper grey levels as PIL.Image.fromarray(values), a prepared (3, H, W) network input as a torch tensor"
        )
    if 0 in values.shape:
        raise BadImage(f"shape {values.shape} holds no pixel; give an image that has some")
    return Image.fromarray(np.ascontiguousarray(values[:, :, 0] if values.shape[2:] == (1,) else values))


def _from_tensor(values: Tensor) -> Image.Image:
    """(C, H, W) uint8, or (1, C, H, W)."""
    pixels = values[0] if values.ndim == 4 and values.shape[0] == 1 else values
    if pixels.dtype != torch.uint8 or pixels.ndim != 3 or pixels.shape[0] not in _CHANNELS:
        raise BadImage(
            f"an image as a tensor must be uint8 of shape (1, H, W), (3, H, W) or (4, H, W), got {values.dtype} "
            f"{tuple(values.shape)}"
        )
    return _from_array(pixels.permute(1, 2, 0).cpu().numpy())


@contextmanager
def _reasons(name: str) -> Iterator[None]:
    """Turn the many ways in which Pillow fails into one exception with the file's name and the remedy."""
    name = printable(name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata and of large sizes that are still allowed
            yield
    except (BadImage, NotShown, NoPicture, ImportError) as error:
        raise BadImage(f"{name}: {error}") from None
    except UnidentifiedImageError:
        kinds = "JPEG, PNG, WebP, TIFF, GIF, BMP or DICOM"
        raise BadImage(f"{name}: not an image of a known kind; save it as {kinds}") from None
    except Image.DecompressionBombError:
        raise BadImage(f"{name}: has more than the {LARGEST:,} pixels that are read in one piece; {_SMALLER}") from None
    except PermissionError:
        raise BadImage(f"{name}: may not be read; check its permissions") from None
    except Exception as error:  # the readers of damaged files raise whatever they stumble over, struct.error and KeyError too
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadImage(f"{name}: broken or incomplete ({reason}); save or copy it again") from None


def printable(name: str) -> str:
    """A file's name on one line of a terminal, whatever is in it: bytes that are no text, line ends, control characters.

    Of a very long name the middle is left out.
    """
    if len(name) > _LONGEST_NAME:
        half = _LONGEST_NAME // 2
        name = f"{name[:half]}\N{HORIZONTAL ELLIPSIS}{name[-half:]}"
    return escaped(name)


def escaped(name: str) -> str:
    """The same in its full length, to be copied."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in name)
