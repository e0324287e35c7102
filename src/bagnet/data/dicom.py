"""DICOM: the picture that a viewer shows first, its grey levels beside it."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..missing import needs
from .levels import Levels, spread

EXTRA = "dicom"
_PREFIX, _MAGIC = 128, b"DICM"
HEADER = _PREFIX + len(_MAGIC)  # bytes that tell a DICOM file from others
_FAR = 1e9  # beyond any grey level


class NotShown(ValueError):
    """A DICOM file holds no picture that can be shown. The message says why, and what to do."""


def is_dicom(start: bytes) -> bool:
    """Whether a file that begins so is one of DICOM (PS3.10, 7.1)."""
    return start[_PREFIX:HEADER] == _MAGIC


def read_dicom(content: bytes, largest: int) -> Image.Image | Levels:
    """The first frame of a DICOM file.

    Grey levels are in the file's units (Hounsfield units of a CT), and usually shown through the window that it states (centre
    and width, or a table; the first of several). Where it states none, the range that its bits can hold becomes black to white.
    Of MONOCHROME1 the least level is the brightest.

    Args:
        content: bytes of the file.
        largest: pixels that are decoded, at most.

    Returns:
        Grey levels, or a picture in "RGB".

    Raises:
        NotShown: there are no pixels, too many of them, or they are compressed in a way for which a package is missing.
        ImportError: pydicom is not installed; the message has the pip command.
    """
    pydicom, pixels = needs("pydicom", EXTRA), needs("pydicom.pixels", EXTRA)
    dataset = pydicom.dcmread(BytesIO(content))
    if "PixelData" not in dataset:
        raise NotShown("is a DICOM file without a picture; name one that has pixels")
    if dataset.Rows * dataset.Columns > largest:
        raise NotShown(f"{dataset.Columns} x {dataset.Rows} pixels is more than the {largest:,} that are read in one piece")
    try:
        values = pixels.pixel_array(dataset, index=0)
    except RuntimeError as error:  # of what its decoders lack
        raise NotShown(
            f"its pixels are compressed as {dataset.file_meta.TransferSyntaxUID.name}, for which a package is missing: "
            "pip install 'pylibjpeg[all]'"
        ) from error
    if dataset.SamplesPerPixel > 1:
        return Image.fromarray(spread(values, 0, 2**dataset.BitsStored - 1))
    levels = pixels.apply_modality_lut(values, dataset)
    usual = _usual(pixels, values, levels, dataset)
    return Levels(levels, dataset.PhotometricInterpretation == "MONOCHROME1", usual=usual)


def _usual(pixels: Any, values: NDArray[Any], levels: NDArray[Any], dataset: Any) -> NDArray[np.uint8]:
    """(H, W) levels, of stored values, through the file's window."""
    if "VOILUTSequence" in dataset and dataset.VOILUTSequence:
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        return spread(pixels.apply_voi(levels, dataset), 0, 2**bits - 1)
    if "WindowWidth" in dataset:
        black, white = pixels.apply_windowing(np.array([-_FAR, _FAR]), dataset)
        return spread(pixels.apply_windowing(levels.astype(np.float64), dataset), black, white)
    signed = bool(dataset.PixelRepresentation)
    least = -(2 ** (dataset.BitsStored - 1)) if signed else 0
    ends = np.array([least, least + 2**dataset.BitsStored - 1], values.dtype)
    black, white = sorted(pixels.apply_modality_lut(ends, dataset))
    return spread(levels, black, white)
