"""Where on the ground the pixels of an image lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot
from pathlib import Path
from typing import Any

from ..missing import needs

Affine = tuple[float, float, float, float, float, float]
_WGS84 = "EPSG:4326"


@dataclass(frozen=True, slots=True)
class Georeference:
    """A coordinate system, and how pixels are mapped into it.

    Args:
        crs: the coordinate system as well-known text; "" where the file says none.
        transform: (a, b, c, d, e, f): the corner (x, y) of a pixel lies at (a x + b y + c, d x + e y + f).
    """

    crs: str
    transform: Affine

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The coordinates of a point of the image, in pixels; (0, 0) is the outer corner of the first one."""
        a, b, c, d, e, f = self.transform
        return a * x + b * y + c, d * x + e * y + f

    @property
    def microns_per_pixel(self) -> float | None:
        """Along a row, of a plane coordinate system; None of one in degrees, whose pixels differ in size, and of none."""
        crs = needs("rasterio", "slides").crs.CRS.from_wkt(self.crs) if self.crs else None
        if crs is None or not crs.is_projected:
            return None
        return 1e6 * float(crs.linear_units_factor[1]) * hypot(self.transform[0], self.transform[3])

    def degrees(self, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]] | None:
        """(longitude, latitude), on WGS 84, of points of the image, in pixels; infinite for points that are not on the earth.

        None where the file says no coordinate system, or a local one, of which nobody knows where on the earth it is.

        Raises:
            ImportError: rasterio is missing; the message has the pip command.
        """
        if not self.crs:
            return None
        transform = needs("rasterio.warp", "slides").transform
        across, down = zip(*(self.at(x, y) for x, y in points), strict=True)
        try:
            longitudes, latitudes = transform(self.crs, _WGS84, across, down)
        except Exception:  # GDAL's come in several families, of which PROJ's are private
            return None
        return list(zip(map(float, longitudes), map(float, latitudes), strict=True))

    def grid(self, left: float, top: float, across: float, down: float) -> Georeference:
        """Of a grid whose first corner lies at (left, top) and whose cells are `across` x `down` pixels large."""
        a, b, _, d, e, _ = self.transform
        c, f = self.at(left, top)
        return Georeference(self.crs, (a * across, b * down, c, d * across, e * down, f))


def georeference_of(path: Path) -> Georeference | None:
    """What a file says of its largest level; None where it says nothing.

    Raises:
        ImportError: rasterio is missing; the message has the pip command.
    """
    rasterio = needs("rasterio", "slides")
    with rasterio.open(path) as file:
        return in_words(file)


def in_words(file: Any) -> Georeference | None:
    """Of a file that rasterio has opened."""
    if file.transform.is_identity:
        return None
    return Georeference(file.crs.to_wkt() if file.crs else "", tuple(file.transform)[:6])
