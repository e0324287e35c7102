"""Maps as files that other programs open: regions for QuPath and QGIS, and a pyramid for QuPath and Fiji."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..files import NotWritten, replacing
from ..missing import needs
from .georeference import Georeference
from .run import Slide

QUANTILE = 0.99  # of a map's logits, from which on a window is one of the strongest
_SAMPLE = 1 << 22  # logits by which the quantile is judged, at most
_TILE = 256  # of the pyramid
_DECIMALS = 7  # of a degree: a centimetre


class Output(Protocol):
    """Writes the map of a class: (slide, class, path)."""

    def __call__(self, slide: Slide, target: int | str, path: str | PathLike[str]) -> None: ...


def write_geojson(slide: Slide, target: int | str, path: str | PathLike[str]) -> None:
    """The windows that speak most for a class, as rectangles; written row by row.

    Neighbours in a row are one rectangle, about the centres of its windows, with the mean and the largest of their logits. Where
    the image lies on the earth corners are in longitude and latitude, as GeoJSON (RFC 7946) has it, else in pixels of the largest
    level.

    Args:
        slide: the evidence.
        target: the class, as for `Slide.map`.
        path: of the file.

    Raises:
        UnknownClass, AmbiguousClass: as `Slide.map`.
        OSError: it cannot be written.
    """
    values = slide.map(target)
    least = max(0.0, logit_at(values, QUANTILE))
    name = str(slide.classes[slide.classes.find(target)])
    with replacing(Path(fspath(path))) as part, part.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        comma = ""
        for row, runs in _runs(values, least):
            for (first, end), ring in zip(runs, _rings(slide, row, runs), strict=True):
                if not np.isfinite(ring).all():
                    continue  # beyond the rim of the earth
                run = np.asarray(values[row, first:end])
                about = {"logit": round(float(run.mean()), 4), "largest": round(float(run.max()), 4)}
                feature = {
                    "type": "Feature",
                    "geometry": {"type": "Polygon", "coordinates": [ring]},
                    "properties": {"objectType": "annotation", "classification": {"name": name}, "measurements": about},
                }
                file.write(f"{comma}\n{json.dumps(feature)}")
                comma = ","
        file.write("\n]}\n")


def write_ome_tiff(slide: Slide, target: int | str, path: str | PathLike[str]) -> None:
    """The map of a class as a pyramid of float32 logits, a pixel a window, with its size in micrometres where that is known.

    Args:
        slide: the evidence.
        target: the class, as for `Slide.map`.
        path: of the file, ending in .ome.tif.

    Raises:
        UnknownClass, AmbiguousClass: as `Slide.map`.
        ImportError: tifffile is missing; the message has the pip command.
        OSError: it cannot be written.
    """
    tifffile = needs("tifffile", "slides")
    values = slide.map(target)
    about: dict[str, Any] = {"axes": "YX", "Channel": {"Name": [str(slide.classes[slide.classes.find(target)])]}}
    if slide.microns_per_pixel is not None:
        microns = slide.microns_per_pixel * slide.geometry.stride
        about |= {f"PhysicalSize{axis}": microns for axis in "XY"} | {f"PhysicalSize{axis}Unit": "µm" for axis in "XY"}
    options = {"tile": (_TILE, _TILE), "photometric": "minisblack", "compression": "zlib"}
    with replacing(Path(fspath(path))) as part, TemporaryDirectory(dir=part.parent, prefix=".ome") as folder:
        levels = [values]
        while max(levels[-1].shape) > _TILE:
            levels.append(_halved(levels[-1], Path(folder) / f"{len(levels)}.npy"))
        with tifffile.TiffWriter(part, ome=True, bigtiff=values.nbytes > 1 << 31) as file:
            file.write(levels[0], subifds=len(levels) - 1, metadata=about, **options)
            for level in levels[1:]:
                file.write(level, subfiletype=1, **options)
        del levels  # before the folder goes


def write_cog(slide: Slide, target: int | str, path: str | PathLike[str]) -> None:
    """The map of a class as a Cloud-Optimised GeoTIFF of float32 logits, a pixel a window, where its image lies on the ground.

    A pixel covers the stride x stride square about the centre of its window; windows that were not computed are nodata (NaN).

    Args:
        slide: the evidence.
        target: the class, as for `Slide.map`.
        path: of the file, ending in .tif.

    Raises:
        UnknownClass, AmbiguousClass: as `Slide.map`.
        ValueError: the image is not georeferenced.
        ImportError: rasterio is missing; the message has the pip command.
        OSError: it cannot be written.
    """
    rasterio, copy = needs("rasterio", "slides"), needs("rasterio.shutil", "slides").copy
    values = slide.map(target)
    where = georeference_of_map(slide)
    about = {
        "driver": "GTiff",
        "dtype": "float32",
        "count": 1,
        "nodata": np.nan,
        "height": values.shape[0],
        "width": values.shape[1],
    }
    about |= {"crs": where.crs or None, "transform": rasterio.Affine(*where.transform)}
    tiles = {"tiled": True, "blockxsize": _TILE, "blockysize": _TILE, "compress": "deflate", "bigtiff": "if_safer"}
    with replacing(Path(fspath(path))) as part, TemporaryDirectory(dir=part.parent, prefix=".cog") as folder:
        plain = Path(folder) / "plain.tif"
        try:
            with rasterio.open(plain, "w", **about, **tiles) as file:
                file.set_band_description(1, str(slide.classes[slide.classes.find(target)]))
                for top in range(0, values.shape[0], _TILE):
                    rows = np.asarray(values[top : top + _TILE])
                    file.write(rows, 1, window=rasterio.windows.Window(0, top, rows.shape[1], rows.shape[0]))
            copy(
                plain, part, driver="COG", compress="deflate", blocksize=_TILE, bigtiff="if_safer", overview_resampling="average"
            )
        except Exception as error:  # GDAL's come in several families, that of a full disk among the private ones
            raise NotWritten(f"{path}: cannot be written ({' '.join(str(error).split())})") from None


def georeference_of_map(slide: Slide) -> Georeference:
    """Where the cells of a slide's maps lie on the ground. ValueError: the image is not georeferenced."""
    if slide.georeference is None:
        raise ValueError(f"{slide.folder}: its image is not georeferenced, and so its map cannot be: ask for ome-tiff instead")
    geometry = slide.geometry
    first = geometry.origin + (geometry.size - geometry.stride) / 2  # exact where `centre_square` rounds to whole pixels
    return slide.georeference.grid(first, first, geometry.stride, geometry.stride)


OUTPUTS: Mapping[str, tuple[str, Output]] = MappingProxyType(  # name -> (ending, writer)
    {"geojson": (".geojson", write_geojson), "ome-tiff": (".ome.tif", write_ome_tiff), "cog": (".tif", write_cog)}
)


def check_outputs(names: Iterable[str], image: str, georeference: Georeference | None) -> None:
    """See that outputs can be written of an image, before there is any work.

    Args:
        names: of the outputs.
        image: its name, or that of the folder that holds a part of it.
        georeference: of the image.

    Raises:
        ValueError: one cannot be written; the message says why.
    """
    for name in names:
        if name not in OUTPUTS:
            raise ValueError(f"there is no output {name!r}: there are {', '.join(OUTPUTS)}")
        if name == "cog" and georeference is None:
            raise ValueError(f"{image}: is not georeferenced, and so its map cannot be: ask for ome-tiff instead of cog")


def write_outputs(slide: Slide, names: Iterable[str]) -> None:
    """Write the maps of all classes of a slide into its folder, CLASS.ENDING for each output. Raises as the writers do."""
    for ending, write in (OUTPUTS[name] for name in names):
        for name in slide.classes:
            write(slide, str(name), slide.folder / f"{stem_of(str(name))}{ending}")


def stem_of(name: str) -> str:
    """The name of a class as that of a file."""
    return name.replace("/", "-")


def logit_at(values: NDArray[np.float32], share: float) -> float:
    """The logit that a share of a map does not exceed, by evenly spaced rows; of those that are numbers, 0 where none is."""
    step = max(1, values.size // _SAMPLE)
    sample = np.asarray(values[::step])
    known = sample[np.isfinite(sample)]
    return float(np.quantile(known, share)) if known.size else 0.0


def _runs(values: NDArray[np.float32], least: float) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """For each row that has some, the (first column, column behind the last) of neighbours that reach a logit."""
    for row, line in enumerate(values):
        reached = np.asarray(line) >= least  # NaN reaches nothing
        edges = np.flatnonzero(np.diff(reached.astype(np.int8), prepend=0, append=0))
        if edges.size:
            yield row, [(int(first), int(end)) for first, end in edges.reshape(-1, 2)]


def _rings(slide: Slide, row: int, runs: Sequence[tuple[int, int]]) -> list[list[list[float]]]:
    """The corners of the runs of a row, all at once, as changing the coordinate system of a point takes as long as of many."""
    cells = [cell for first, end in runs for cell in ((first, row), (first, row + 1), (end, row + 1), (end, row), (first, row))]
    degrees = None if slide.georeference is None else georeference_of_map(slide).degrees(cells)
    if degrees is None:
        return [_ring(slide, row, first, end) for first, end in runs]
    corners = [[round(x, _DECIMALS), round(y, _DECIMALS)] for x, y in degrees]
    return [corners[start : start + 5] for start in range(0, len(corners), 5)]


def _ring(slide: Slide, row: int, first: int, end: int) -> list[list[float]]:
    """The corners of a run of cells, closed: the stride x stride squares about the centres of their windows."""
    left, right = (slide.geometry.centre_square(row, column) for column in (first, end - 1))
    edges = [slide.downsample * edge for edge in (left.left, left.top, right.right, right.bottom)]
    x, y, far, low = edges
    return [[x, y], [far, y], [far, low], [x, low], [x, y]]


def _halved(values: NDArray[np.float32], path: Path) -> NDArray[np.float32]:
    """Means of 2 x 2 cells, of those that are numbers; in a file, as a map may be larger than memory, a strip at a time."""
    rows, columns = (size // 2 for size in values.shape)
    halved = np.lib.format.open_memmap(path, "w+", np.float32, (rows, columns))
    for top in range(0, rows, _TILE):
        strip = np.asarray(values[2 * top : 2 * min(top + _TILE, rows), : 2 * columns])
        blocks = strip.reshape(-1, 2, columns, 2)
        known = np.isfinite(blocks)
        with np.errstate(invalid="ignore"):
            halved[top : top + _TILE] = np.where(known, blocks, 0).sum((1, 3), dtype=np.float64) / known.sum((1, 3))
    return halved
