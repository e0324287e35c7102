"""DICOM: the picture that a viewer shows first, in grey levels or colours of 8 bits."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..missing import needs

EXTRA = "dicom"
_PREFIX, _MAGIC = 128, b"DICM"
HEADER = _PREFIX + len(_MAGIC)  # bytes that tell a DICOM file from others
_FAR = 1e9  # beyond any grey level


class NotShown(ValueError):
    """A DICOM file holds no picture that can be shown. The message says why, and what to do."""


def is_dicom(start: bytes) -> bool:
    """Whether a file that begins so is one of DICOM (PS3.10, 7.1)."""
    return start[_PREFIX:HEADER] == _MAGIC


def dicom_picture(content: bytes, largest: int) -> Image.Image:
    """The first frame of a DICOM file.

    Grey levels are shown through the window that the file states (centre and width, or a table; the first of several). Where it
    states none, the range that its bits can hold becomes black to white. MONOCHROME1 is turned, so that more is always brighter.

    Args:
        content: bytes of the file.
        largest: pixels that are decoded, at most.

    Returns:
        A picture in "L" or "RGB".

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
        return Image.fromarray(_eight_bits(values, 0, 2**dataset.BitsStored - 1))
    grey = _shown(pixels, values, dataset)
    return Image.fromarray(255 - grey if dataset.PhotometricInterpretation == "MONOCHROME1" else grey)


def _shown(pixels: Any, values: NDArray[Any], dataset: Any) -> NDArray[np.uint8]:
    """(H, W) stored levels through the file's window."""
    levels = pixels.apply_modality_lut(values, dataset)
    if "VOILUTSequence" in dataset and dataset.VOILUTSequence:
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        return _eight_bits(pixels.apply_voi(levels, dataset), 0, 2**bits - 1)
    if "WindowWidth" in dataset:
        black, white = pixels.apply_windowing(np.array([-_FAR, _FAR]), dataset)
        return _eight_bits(pixels.apply_windowing(levels.astype(np.float64), dataset), black, white)
    signed = bool(dataset.PixelRepresentation)
    least = -(2 ** (dataset.BitsStored - 1)) if signed else 0
    ends = np.array([least, least + 2**dataset.BitsStored - 1], values.dtype)
    black, white = sorted(pixels.apply_modality_lut(ends, dataset))
    return _eight_bits(levels, black, white)


def _eight_bits(values: NDArray[Any], black: float, white: float) -> NDArray[np.uint8]:
    shares = (values.astype(np.float64) - black) / max(float(white) - float(black), 1e-12)
    eight: NDArray[np.uint8] = np.round(255 * shares.clip(0, 1)).astype(np.uint8)
    return eight
