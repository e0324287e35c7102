"""Maps as files that other programs open: regions for QuPath and QGIS, and a pyramid for QuPath and Fiji."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from os import PathLike, fspath
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..files import replacing
from ..missing import needs
from .run import Slide

QUANTILE = 0.99  # of a map's logits, from which on a window is one of the strongest
_SAMPLE = 1 << 22  # logits by which the quantile is judged, at most
_TILE = 256  # of the pyramid


class Output(Protocol):
    """Writes the map of a class: (slide, class, path)."""

    def __call__(self, slide: Slide, target: int | str, path: str | PathLike[str]) -> None: ...


def write_geojson(slide: Slide, target: int | str, path: str | PathLike[str]) -> None:
    """The windows that speak most for a class, as rectangles in pixels of the largest level; written row by row.

    Neighbours in a row are one rectangle, about the centres of its windows, with the mean and the largest of their logits.

    Args:
        slide: the evidence.
        target: the class, as for `Slide.map`.
        path: of the file.

    Raises:
        UnknownClass, AmbiguousClass: as `Slide.map`.
        OSError: it cannot be written.
    """
    values = slide.map(target)
    least = max(0.0, _quantile(values))
    name = str(slide.classes[slide.classes.find(target)])
    with replacing(Path(fspath(path))) as part, part.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for number, (row, first, end) in enumerate(_runs(values, least)):
            run = np.asarray(values[row, first:end])
            about = {"logit": round(float(run.mean()), 4), "largest": round(float(run.max()), 4)}
            feature = {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": [_ring(slide, row, first, end)]},
                "properties": {"objectType": "annotation", "classification": {"name": name}, "measurements": about},
            }
            file.write(("," if number else "") + "\n" + json.dumps(feature))
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
    levels = [values]
    while max(levels[-1].shape) > _TILE:
        levels.append(_halved(levels[-1]))
    options = {"tile": (_TILE, _TILE), "photometric": "minisblack", "compression": "zlib"}
    with replacing(Path(fspath(path))) as part, tifffile.TiffWriter(part, ome=True, bigtiff=values.nbytes > 1 << 31) as file:
        file.write(levels[0], subifds=len(levels) - 1, metadata=about, **options)
        for level in levels[1:]:
            file.write(level, subfiletype=1, **options)


OUTPUTS: Mapping[str, tuple[str, Output]] = MappingProxyType(  # name -> (ending, writer)
    {"geojson": (".geojson", write_geojson), "ome-tiff": (".ome.tif", write_ome_tiff)}
)


def _quantile(values: NDArray[np.float32]) -> float:
    """Of the logits of a map, by those of evenly spaced rows; of those that are numbers."""
    step = max(1, values.size // _SAMPLE)
    sample = np.asarray(values[::step])
    return float(np.quantile(sample[np.isfinite(sample)], QUANTILE))


def _runs(values: NDArray[np.float32], least: float) -> Iterator[tuple[int, int, int]]:
    """(row, first column, column behind the last) of neighbours that reach a logit."""
    for row, line in enumerate(values):
        reached = np.asarray(line) >= least  # NaN reaches nothing
        edges = np.flatnonzero(np.diff(reached.astype(np.int8), prepend=0, append=0))
        for first, end in edges.reshape(-1, 2):
            yield row, int(first), int(end)


def _ring(slide: Slide, row: int, first: int, end: int) -> list[list[float]]:
    """The corners of a run of cells, closed: the stride x stride squares about the centres of their windows."""
    left, right = (slide.geometry.centre_square(row, column) for column in (first, end - 1))
    edges = [slide.downsample * edge for edge in (left.left, left.top, right.right, right.bottom)]
    x, y, far, low = edges
    return [[x, y], [far, y], [far, low], [x, low], [x, y]]


def _halved(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of 2 x 2 cells; of those that are numbers."""
    rows, columns = (size // 2 * 2 for size in values.shape)
    blocks = np.asarray(values[:rows, :columns]).reshape(rows // 2, 2, columns // 2, 2)
    known = np.isfinite(blocks)
    with np.errstate(invalid="ignore"):
        means = np.where(known, blocks, 0).sum((1, 3), dtype=np.float64) / known.sum((1, 3))
    halved: NDArray[np.float32] = means.astype(np.float32)
    return halved
