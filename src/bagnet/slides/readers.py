"""Who reads regions of a large image: a class for each kind of file, and the one list of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from os import PathLike, fspath
from pathlib import Path
from threading import get_ident
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..data.decode import LARGEST, BadImage, decode_large, printable
from ..data.levels import Levels
from ..engine.cost import available_memory
from ..files import missing_hint
from ..geometry import Box
from ..missing import needs
from .georeference import Georeference, georeference_of, in_words

Pixels = NDArray[np.uint8]
WHITE = 230  # of 255: all three colours of a background pixel are at least so bright
_GDAL_NODATA, _GEO_KEYS = 42113, 34735  # tags of a GeoTIFF: the value of pixels that show nothing; its coordinate system
_DECODED = 12  # bytes of a pixel while a photograph is decoded and turned: 3 for each picture of it, and some to spare
_MICRONS = {"nm": 1e-3, "µm": 1.0, "mm": 1e3, "cm": 1e4, "m": 1e6}  # units of OME


@dataclass(frozen=True, slots=True)
class Level:
    """One of the sizes in which a file holds its image.

    Args:
        height: in pixels.
        width: in pixels.
        downsample: pixels of the largest level that one of these stands for, along an axis.
    """

    height: int
    width: int
    downsample: float


class Reader(Protocol):
    """An open image."""

    @property
    def levels(self) -> Sequence[Level]:
        """The sizes that it has, the largest first."""

    @property
    def microns_per_pixel(self) -> float | None:
        """Of the largest level; None where the file does not say it."""

    @property
    def georeference(self) -> Georeference | None:
        """Where the pixels of the largest level lie on the ground; None where the file does not say it."""

    def read(self, level: int, box: Box) -> Pixels:
        """(height, width, 3) pixels of a box inside a level; called by several threads. BadImage: they cannot be read."""

    def close(self) -> None:
        """No more reading."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file.

    Args:
        name: of it.
        endings: of its files, in small letters.
        open: path -> reader.
    """

    name: str
    endings: tuple[str, ...]
    open: Callable[[Path], Reader]


class ArrayReader:
    """A `.npy` file of (H, W) or (H, W, 3) uint8; mapped for each region anew, as what stays mapped counts as memory."""

    georeference: Georeference | None = None

    def __init__(self, path: Path) -> None:
        self._path = path
        array = _checked(self._mapped(), path)
        self.levels = (Level(array.shape[0], array.shape[1], 1.0),)
        self.microns_per_pixel: float | None = None

    def read(self, level: int, box: Box) -> Pixels:  # noqa: ARG002
        return _colours(self._mapped()[box.slices])

    def close(self) -> None:
        """Nothing is open."""

    def _mapped(self) -> NDArray[Any]:
        array: NDArray[Any] = np.load(self._path, mmap_mode="r", allow_pickle=False)
        return array


class ZarrReader:
    """A zarr array of (H, W) or (H, W, 3) uint8, a group of several, the largest first, or OME-Zarr of one plane."""

    georeference: Georeference | None = None

    def __init__(self, path: Path) -> None:
        zarr = needs("zarr", "slides")
        opened = zarr.open(path, mode="r")
        ome = dict(opened.attrs).get("ome", opened.attrs).get("multiscales")
        self._axes, self.microns_per_pixel = ("yxc", None) if ome is None else _ome_zarr(ome[0])
        if hasattr(opened, "shape"):
            arrays = [opened]
        elif ome is None:
            arrays = [array for _, array in sorted(opened.arrays())]
        else:
            arrays = [opened[level["path"]] for level in ome[0]["datasets"]]
        if not arrays:
            raise BadImage(f"{printable(str(path))}: holds no arrays")
        self._axes = self._axes[: arrays[0].ndim]
        for array in arrays:
            self._check(array, path)
        self._arrays = arrays
        self.levels = _levels([(array.shape[self._axes.index("y")], array.shape[self._axes.index("x")]) for array in arrays])

    def read(self, level: int, box: Box) -> Pixels:
        rows, columns = box.slices
        where = tuple({"y": rows, "x": columns, "c": slice(None)}.get(axis, 0) for axis in self._axes)
        part = np.asarray(self._arrays[level][where])
        kept = [axis for axis in self._axes if axis in "yxc"]
        return _colours(np.moveaxis(part, kept.index("c"), 2) if "c" in kept else part)

    def close(self) -> None:
        self._arrays = []

    def _check(self, array: Any, path: Path) -> None:
        """BadImage: an array is not one plane of 8 bits, grey or of three colours."""
        sizes = dict(zip(self._axes, array.shape, strict=False))
        one_plane = all(size == 1 for axis, size in sizes.items() if axis not in "yxc")
        if array.ndim != len(self._axes) or not {"y", "x"} <= set(sizes) or not one_plane:
            held = " x ".join(map(str, array.shape))
            raise BadImage(f"{printable(str(path))}: holds {held} values along {self._axes}, not one plane; convert it first")
        _checked_values(array, sizes.get("c", 1), path)


class TiffReader:
    """What tifffile reads: pyramids, BigTIFF, OME, in tiles and strips; decoded a tile at a time."""

    def __init__(self, path: Path) -> None:
        tifffile, zarr = needs("tifffile", "slides"), needs("zarr", "slides")
        try:
            self._file = tifffile.TiffFile(path)
            series = self._file.series[0]
            arrays = [zarr.open(series.aszarr(level=level), mode="r") for level in range(len(series.levels))]
        except IndexError:
            raise BadImage(f"{printable(str(path))}: ends before its first page; save or copy it again") from None
        except (tifffile.TiffFileError, ValueError, OSError) as error:
            raise BadImage(f"{printable(str(path))}: cannot be read as TIFF ({_line(error)})") from None
        page = series.keyframe
        self._path, self._axes = path, series.axes
        if self._axes not in ("YX", "YXS", "SYX"):
            raise BadImage(f"{printable(str(path))}: has the axes {self._axes}, not a plane of pixels (YX, YXS or SYX)")
        _check_compression(page, path)
        self._alpha = bool(page.extrasamples) and int(page.extrasamples[0]) in (1, 2)
        self._nodata = int(page.nodata) if page.tags.get(_GDAL_NODATA) is not None else None
        self._arrays = [_checked(array, path, self._axes, self._alpha) for array in arrays]
        self.levels = _levels([_plane(array.shape, self._axes) for array in arrays])
        self.georeference = None if page.tags.get(_GEO_KEYS) is None else georeference_of(path)
        if self.georeference is None:
            self.microns_per_pixel = _ome_microns(self._file.ome_metadata) or _microns(page)
        else:  # of its resolution in print nothing follows
            self.microns_per_pixel = self.georeference.microns_per_pixel

    def read(self, level: int, box: Box) -> Pixels:
        where = (slice(None), *box.slices) if self._axes == "SYX" else box.slices
        try:
            part = np.asarray(self._arrays[level][where])
        except Exception as error:  # whatever a decoder has against a tile
            raise BadImage(f"{printable(str(self._path))}: {_words(box)} cannot be read ({_line(error)})") from None
        pixels = np.moveaxis(part, 0, 2) if self._axes == "SYX" else part
        if self._alpha:
            return _over_white(pixels)
        if self._nodata is not None:
            pixels = pixels.reshape(*pixels.shape[:2], -1)
            pixels = np.where((pixels == self._nodata).all(2, keepdims=True), np.uint8(255), pixels)
        return _colours(pixels)

    def close(self) -> None:
        self._file.close()


class RasterReader:
    """What GDAL reads of scenes and of mosaics of many files, by rasterio: its first three bands; a handle for each thread."""

    def __init__(self, path: Path) -> None:
        self._rasterio, self._path = needs("rasterio", "slides"), path
        self._handles: dict[tuple[int, int], Any] = {}
        try:
            with self._rasterio.open(path) as file:
                self.georeference = in_words(file)
                alpha = "alpha" in (band.name for band in file.colorinterp)
                if file.count - alpha not in (1, 3) or set(file.dtypes) != {"uint8"}:
                    held = f"{file.count} bands of {file.dtypes[0]}"
                    raise BadImage(f"{printable(str(path))}: holds {held}, not one or three of uint8; convert it first")
                self._bands = list(range(1, file.count - alpha + 1))
                shapes = [file.shape]
                count = len(file.overviews(1))
            for level in range(count):
                with self._rasterio.open(path, overview_level=level) as file:
                    shapes.append(file.shape)
        except self._rasterio.errors.RasterioError as error:
            raise BadImage(f"{printable(str(path))}: cannot be read by GDAL ({_line(error)})") from None
        self.levels = _levels(shapes)
        self.microns_per_pixel = None if self.georeference is None else self.georeference.microns_per_pixel

    def read(self, level: int, box: Box) -> Pixels:
        window = self._rasterio.windows.Window(box.left, box.top, box.width, box.height)
        try:
            handle = self._handle(level)
            pixels = handle.read(self._bands, window=window)
            shown = handle.dataset_mask(window=window)
        except self._rasterio.errors.RasterioError as error:
            raise BadImage(f"{printable(str(self._path))}: {_words(box)} cannot be read ({_line(error)})") from None
        return _colours(np.where(shown[..., None] > 0, np.moveaxis(pixels, 0, 2), np.uint8(255)))

    def close(self) -> None:
        for handle in self._handles.values():
            handle.close()
        self._handles = {}

    def _handle(self, level: int) -> Any:
        """Of this thread, as GDAL's must not be shared."""
        key = get_ident(), level
        if key not in self._handles:
            options = {} if level == 0 else {"overview_level": level - 1}
            self._handles[key] = self._rasterio.open(self._path, **options)
        return self._handles[key]


class OpenSlideReader:
    """The formats of whole-slide scanners, by OpenSlide."""

    georeference: Georeference | None = None

    def __init__(self, path: Path) -> None:
        openslide = needs("openslide", "slides")
        try:
            self._slide = openslide.OpenSlide(str(path))
        except openslide.OpenSlideError as error:
            raise BadImage(f"{printable(str(path))}: cannot be read by OpenSlide ({_line(error)})") from None
        sizes = self._slide.level_dimensions
        self.levels = tuple(
            Level(height, width, factor) for (width, height), factor in zip(sizes, self._slide.level_downsamples, strict=True)
        )
        said = self._slide.properties.get(openslide.PROPERTY_NAME_MPP_X)
        self.microns_per_pixel = float(said) if said else None
        self._error, self._path = openslide.OpenSlideError, path

    def read(self, level: int, box: Box) -> Pixels:
        factor = self.levels[level].downsample
        origin = round(box.left * factor), round(box.top * factor)
        try:
            region = np.asarray(self._slide.read_region(origin, level, (box.width, box.height)))
        except self._error as error:
            raise BadImage(f"{printable(str(self._path))}: {_words(box)} cannot be read ({_line(error)})") from None
        return _over_white(region)

    def close(self) -> None:
        self._slide.close()


class PhotographReader:
    """A photograph, decoded whole: what Pillow reads, upright; up to the size that memory has room for."""

    georeference: Georeference | None = None

    def __init__(self, path: Path) -> None:
        largest = max(LARGEST, (available_memory() or 0) // _DECODED)
        photo = decode_large(path, largest)
        if isinstance(photo.pixels, Levels):  # which of them are black and white a slide's model cannot say
            raise BadImage(f"{printable(str(path))}: holds grey levels of more than 8 bits, not of uint8; convert it first")
        self._pixels = np.asarray(photo.image)
        self.levels = (Level(self._pixels.shape[0], self._pixels.shape[1], 1.0),)
        self.microns_per_pixel: float | None = None

    def read(self, level: int, box: Box) -> Pixels:  # noqa: ARG002
        return _colours(self._pixels[box.slices])

    def close(self) -> None:
        self._pixels = self._pixels[:0]


READERS: Mapping[str, Kind] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            Kind("array", (".npy",), ArrayReader),
            Kind("zarr", (".zarr",), ZarrReader),
            Kind("openslide", (".svs", ".ndpi", ".mrxs", ".scn", ".vms", ".vmu", ".bif", ".svslide"), OpenSlideReader),
            Kind("tiff", (".tif", ".tiff", ".btf", ".qptiff"), TiffReader),
            Kind("raster", (".vrt", ".jp2"), RasterReader),
            Kind("photograph", (".jpg", ".jpeg", ".png", ".bmp", ".webp"), PhotographReader),
        )
    }
)


def open_reader(path: str | PathLike[str]) -> Reader:
    """The reader of a file, by its ending. What is transparent, or has a GeoTIFF's value of no data, is white.

    Raises:
        FileNotFoundError: there is no such file.
        BadImage: it cannot be read; the message says why.
        ValueError: no reader is for such an ending.
        ImportError: a package is missing; the message has the pip command.
    """
    file = Path(fspath(path))
    if not file.exists():
        raise FileNotFoundError(f"{printable(str(file))}: there is no such file; {missing_hint(str(file))}")
    kind = next((kind for kind in READERS.values() if file.suffix.lower() in kind.endings), None)
    if kind is None:
        endings = ", ".join(ending for kind in READERS.values() for ending in kind.endings)
        raise ValueError(f"{printable(str(file))}: is none of the kinds that are read a region at a time ({endings})")
    try:
        return kind.open(file)
    except BadImage:
        raise
    except (ValueError, EOFError) as error:
        raise BadImage(f"{printable(str(file))}: cannot be read as {kind.name} ({_line(error)})") from None


@contextmanager
def opened(image: str | PathLike[str], level: int | None, microns: float | None) -> Iterator[tuple[Reader, int]]:
    """A reader of an image, and the number of the level that is meant. Raises as `open_reader` and `level_of`."""
    with closing(open_reader(image)) as reader:
        try:
            number = level_of(reader, level, microns)
        except ValueError as error:
            raise ValueError(f"{printable(fspath(image))}: {error}") from None
        yield reader, number


def level_of(reader: Reader, level: int | None, microns: float | None) -> int:
    """The number of a level: as asked for, or that with pixels of about so many microns; the largest where neither is said.

    Raises:
        ValueError: there is no such level, the file does not say how large its pixels are, or both are asked for.
    """
    if level is not None and microns is not None:
        raise ValueError("a level and microns per pixel are two answers to one question: give one of them")
    if microns is not None:
        if reader.microns_per_pixel is None:
            raise ValueError("the file does not say how large its pixels are: choose a level instead")
        sizes = [reader.microns_per_pixel * each.downsample for each in reader.levels]
        return int(np.argmin([abs(np.log(size / microns)) for size in sizes]))
    if level is not None and not 0 <= level < len(reader.levels):
        raise ValueError(f"there is no level {level}: there are 0 to {len(reader.levels) - 1}")
    return level or 0


def _levels(shapes: Sequence[tuple[int, ...]]) -> tuple[Level, ...]:
    return tuple(Level(height, width, shapes[0][1] / width) for height, width in shapes)


def _plane(shape: tuple[int, ...], axes: str) -> tuple[int, int]:
    return shape[axes.index("Y")], shape[axes.index("X")]


def _checked(array: Any, path: Path, axes: str = "", alpha: bool = False) -> Any:
    """Raises BadImage where an array holds anything but one plane of 8 bits, grey or of three colours; with alpha beside them."""
    axes = axes or "YXS"[: array.ndim]
    _checked_values(array, (array.shape[axes.index("S")] if "S" in axes else 1) - alpha if array.ndim in (2, 3) else 0, path)
    return array


def _checked_values(array: Any, colours: int, path: Path) -> None:
    if colours not in (1, 3) or array.dtype != np.uint8:
        raise BadImage(
            f"{printable(str(path))}: holds {' x '.join(map(str, array.shape))} values of {array.dtype}, not (height, width) "
            "or (height, width, 3) of uint8; convert it first"
        )


def _ome_zarr(multiscale: Mapping[str, Any]) -> tuple[str, float | None]:
    """The axes of OME-Zarr, a letter each, and microns per pixel of the largest level."""
    axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in multiscale.get("axes", "tczyx")]
    names = "".join(str(axis["name"])[0].lower() for axis in axes)
    unit = {"nanometer": 1e-3, "micrometer": 1.0, "millimeter": 1e3}.get(axes[names.index("x")].get("unit", ""))
    scales = [way["scale"] for way in multiscale["datasets"][0].get("coordinateTransformations", ()) if way["type"] == "scale"]
    return names, scales[0][names.index("x")] * unit if unit and scales else None


def _colours(pixels: NDArray[Any]) -> Pixels:
    """(h, w), (h, w, 1) or (h, w, 3) -> (h, w, 3)."""
    planes = pixels[..., None] if pixels.ndim == 2 else pixels
    return np.array(np.broadcast_to(planes, (*planes.shape[:2], 3)))  # a copy, as what is mapped must not be written to


def _over_white(pixels: NDArray[Any]) -> Pixels:
    """(h, w, 2 or 4) with alpha -> (h, w, 3): what was not scanned is transparent, and white here."""
    share = pixels[..., -1:] / 255.0
    return _colours(np.rint(pixels[..., :-1] * share + 255 * (1 - share)).astype(np.uint8))


def _check_compression(page: Any, path: Path) -> None:
    """BadImage: the tiles of a page are compressed as nothing here reads."""
    tifffile = needs("tifffile", "slides")
    try:
        tifffile.TIFF.DECOMPRESSORS[page.compression]
    except KeyError:
        name = getattr(page.compression, "name", f"number {page.compression}")
        remedy = "convert it first (gdal_translate, vips)"
        if find_spec("imagecodecs") is None:
            remedy = "the package imagecodecs may: pip install 'bagnet[slides]'"
        raise BadImage(
            f"{printable(str(path))}: its tiles are compressed as {name}, which nothing here reads; {remedy}"
        ) from None


def _ome_microns(description: str | None) -> float | None:
    """What the OME-XML of a TIFF says of the size of its pixels."""
    image = needs("tifffile", "slides").xml2dict(description)["OME"].get("Image") if description else None
    pixels = (image[0] if isinstance(image, list) else image or {}).get("Pixels", {})
    unit = _MICRONS.get(pixels.get("PhysicalSizeXUnit", "µm"))
    return float(pixels["PhysicalSizeX"]) * unit if unit and "PhysicalSizeX" in pixels else None


def _microns(page: Any) -> float | None:
    """What a TIFF says of the size of its pixels: Aperio's description, or the resolution in centimetres."""
    for part in str(page.description).split("|"):
        name, _, value = part.partition("=")
        if name.strip() == "MPP":
            return float(value)
    resolution = page.tags.get("XResolution")
    if resolution is None or page.tags.get("ResolutionUnit") is None or int(page.tags["ResolutionUnit"].value) != 3:
        return None
    pixels, centimetres = resolution.value
    return 1e4 * centimetres / pixels if pixels else None


def _words(box: Box) -> str:
    return f"the region of {box.width} x {box.height} pixels at ({box.left}, {box.top})"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
