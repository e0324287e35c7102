"""DICOM files whose pictures are known."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bagnet
from bagnet.data.decode import BadImage, decode
from bagnet.data.sources import open_images

pydicom = pytest.importorskip("pydicom")
LEVELS = np.array([[0, 1000, 1200], [1400, 2000, 4095]], np.uint16)


def file_of(values: np.ndarray = LEVELS, syntax: str = "1.2.840.10008.1.2.1", **tags: Any) -> bytes:
    """12 bits in 16, explicit little endian, MONOCHROME2, unless told."""
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    colours = values.dtype == np.uint8
    dataset.Rows, dataset.Columns = values.shape[:2] if colours else values.shape[-2:]
    dataset.SamplesPerPixel = 3 if colours else 1
    dataset.PhotometricInterpretation, dataset.PixelRepresentation = "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelData = values.tobytes()
    for name, value in tags.items():
        setattr(dataset, name, value)
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def grey(content: bytes) -> list[int]:
    pixels = np.asarray(decode(content).image)
    assert (pixels == pixels[..., :1]).all()
    return [int(value) for value in pixels[..., 0].ravel()]


def test_the_window_that_is_stated() -> None:
    """Linear, PS3.3 C.11.2.1.2: of centre 1200.5 and width 401 black ends at 1000 and white begins at 1400."""
    shown = grey(file_of(WindowCenter=1200.5, WindowWidth=401))
    assert shown == [0, 0, 128, 255, 255, 255]
    assert grey(file_of(WindowCenter=[1200.5, 300], WindowWidth=[401, 50])) == shown, "the first of several"
    turned = grey(file_of(WindowCenter=1200.5, WindowWidth=401, PhotometricInterpretation="MONOCHROME1"))
    assert turned == [255, 255, 127, 0, 0, 0]


def test_another_window_than_the_files() -> None:
    """In the units of the file, after its slope and intercept."""
    content = file_of(WindowCenter=300, WindowWidth=10, RescaleSlope=2, RescaleIntercept=-1000)
    shown = np.asarray(decode(content).shown((1000, 1800)))[..., 0].ravel().tolist()
    assert shown == [0, 0, 128, 255, 255, 255]
    turned = decode(file_of(PhotometricInterpretation="MONOCHROME1")).shown((1000, 1400))
    assert np.asarray(turned)[..., 0].ravel().tolist() == [255, 255, 127, 0, 0, 0]


def test_without_a_window_all_that_the_bits_hold() -> None:
    assert grey(file_of()) == [round(255 * level / 4095) for level in LEVELS.ravel().tolist()]
    signed = (LEVELS.astype(np.int32) - 2048).astype(np.int16)
    assert grey(file_of(signed, PixelRepresentation=1)) == grey(file_of())


def test_levels_in_units_of_the_scanner() -> None:
    """Hounsfield units are the stored levels less 1024: the window is of them."""
    shown = grey(file_of(RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=176.5, WindowWidth=401))
    assert shown == [0, 0, 128, 255, 255, 255]


def test_a_table_instead_of_a_window() -> None:
    table = pydicom.Dataset()
    table.LUTDescriptor, table.LUTData = [3, 1000, 8], np.array([10, 100, 200], np.uint16).tobytes()
    assert grey(file_of(np.array([[0, 1000, 1001, 1002, 3000]], np.uint16), VOILUTSequence=[table])) == [10, 10, 100, 200, 200]


def test_colours_and_the_first_of_several_frames() -> None:
    colours = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    eight = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    content = file_of(colours, PhotometricInterpretation="RGB", PlanarConfiguration=0, **eight)
    np.testing.assert_array_equal(np.asarray(decode(content).image), colours)
    frames = file_of(np.stack([LEVELS, LEVELS[::-1]]), NumberOfFrames=2)
    assert grey(frames) == grey(file_of())


def test_as_any_other_image(tmp_path: Path) -> None:
    rows = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    for name in ("a.dcm", "b.DICOM"):
        (tmp_path / name).write_bytes(file_of(rows))
    images = open_images(tmp_path)
    assert len(images.names) == 2
    assert images.photo(0).image.size == (64, 64)
    (tmp_path / "without-an-ending").write_bytes(file_of(rows))
    assert decode(tmp_path / "without-an-ending").image.size == (64, 64)
    model = bagnet.create(kernel3=(1, 1, 0, 0), layers=(1, 1, 1, 1), width=4, num_classes=2).eval()
    assert bagnet.explain(model, tmp_path / "a.dcm").image.size == (64, 64)


def test_what_cannot_be_shown_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(content: bytes, words: str) -> None:
        path = tmp_path / "scan.dcm"
        path.write_bytes(content)
        with pytest.raises(BadImage, match=rf"^\S*scan\.dcm: {words}"):
            decode(path)

    report = file_of()
    dataset = pydicom.dcmread(BytesIO(report))
    del dataset.PixelData
    file = BytesIO()
    dataset.save_as(file)
    refused(file.getvalue(), "is a DICOM file without a picture; name one that has pixels")
    refused(file_of(Rows=60_000, Columns=60_000), "60000 x 60000 pixels is more than the 178,956,970 that are read in one piece")
    refused(report[:-4], r"broken or incomplete \(")
    refused(file_of()[:140], "")

    def without(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("bagnet.missing.import_module", without)
    refused(report, r"this needs the package 'pydicom': pip install 'bagnet\[dicom\]'")
