"""Pixels and the ground they show."""

from __future__ import annotations

import importlib
import math
from pathlib import Path

import numpy as np
import pytest

from bagnet.data.decode import BadImage
from bagnet.geometry import Box
from bagnet.slides.georeference import Georeference, georeference_of
from bagnet.slides.readers import Level, open_reader
from bagnet.slides.run import open_slide, slide

from ..engine.classifiers import small_bagnet

PIXELS = np.random.default_rng(0).integers(0, 256, (200, 320, 3), np.uint8)
NORTH_UP = (0.25, 0.0, -80.0, 0.0, -0.25, 50.0)


def scene(path: Path, crs: str | None = "EPSG:4326", **options: object) -> Path:
    """A georeferenced image, in the format of its ending."""
    rasterio = pytest.importorskip("rasterio")
    pixels = np.moveaxis(PIXELS, 2, 0)
    about = {"height": 200, "width": 320, "count": 3, "dtype": "uint8", "crs": crs, "transform": rasterio.Affine(*NORTH_UP)}
    with rasterio.open(path, "w", **{**about, **options}) as file:
        file.write(pixels)
        file.build_overviews([2], rasterio.enums.Resampling.nearest)
    return path


def test_points_and_grids() -> None:
    turned = Georeference("", (0.0, 2.0, 100.0, 3.0, 0.0, 200.0))
    assert turned.at(5, 7) == (114.0, 215.0)
    cells = turned.grid(5, 7, 4, 8)
    assert cells == Georeference("", (0.0, 16.0, 114.0, 12.0, 0.0, 215.0))
    assert cells.at(1, 1) == turned.at(9, 15)


def test_degrees_of_points() -> None:
    rasterio = pytest.importorskip("rasterio")
    plate = Georeference(rasterio.CRS.from_epsg(4326).to_wkt(), (0.5, 0.0, -180.0, 0.0, -0.5, 90.0))
    assert plate.degrees([(0, 0), (390, 130)]) == [(-180.0, 90.0), (15.0, 25.0)]
    mercator = Georeference(rasterio.CRS.from_epsg(3857).to_wkt(), (1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
    ((east, north),) = mercator.degrees([(math.pi * 6_378_137, 0)]) or [(0.0, 0.0)]
    assert (abs(east), north) == pytest.approx((180.0, 0.0))
    assert Georeference("", NORTH_UP).degrees([(0, 0)]) is None
    assert Georeference('LOCAL_CS["plan of the hall",UNIT["metre",1]]', NORTH_UP).degrees([(0, 0)]) is None


def test_a_geotiff_says_where_it_lies(tmp_path: Path) -> None:
    reader = open_reader(scene(tmp_path / "scene.tif", tiled=True, blockxsize=64, blockysize=64))
    assert reader.georeference is not None
    assert reader.georeference.transform == NORTH_UP
    assert 'AUTHORITY["EPSG","4326"]' in reader.georeference.crs
    assert reader.levels == (Level(200, 320, 1.0), Level(100, 160, 2.0))
    plain = scene(tmp_path / "plain.tif", crs=None)
    assert georeference_of(plain) == Georeference("", NORTH_UP)
    np.save(tmp_path / "image.npy", PIXELS)
    assert open_reader(tmp_path / "image.npy").georeference is None


@pytest.mark.parametrize(
    ("crs", "microns"),
    [
        ("EPSG:32632", 0.25e6),  # metres
        ("EPSG:2263", 0.25e6 * 1200 / 3937),  # US survey feet
        ("EPSG:4326", None),  # degrees
        (None, None),
    ],
)
def test_pixels_are_as_large_as_on_the_ground(tmp_path: Path, crs: str | None, microns: float | None) -> None:
    """Also where the file has a resolution for print, as many do."""
    image = scene(tmp_path / "scene.tif", crs=crs)
    rasterio = pytest.importorskip("rasterio")
    with rasterio.open(image, "r+") as file:
        file.update_tags(TIFFTAG_XRESOLUTION="72", TIFFTAG_YRESOLUTION="72", TIFFTAG_RESOLUTIONUNIT="2")
    importlib.import_module("rasterio.shutil").copy(image, tmp_path / "scene.vrt", driver="VRT")
    for path in (image, tmp_path / "scene.vrt"):
        assert open_reader(path).microns_per_pixel == (None if microns is None else pytest.approx(microns))


def test_a_result_lies_where_its_level_does(tmp_path: Path) -> None:
    image, model = scene(tmp_path / "scene.tif"), small_bagnet()
    result = slide(model, image, [0], tmp_path / "out", level=1)
    assert result.georeference is not None
    assert result.georeference.transform == (0.5, 0.0, -80.0, 0.0, -0.5, 50.0)
    assert open_slide(tmp_path / "out").georeference == result.georeference


def test_a_mosaic_is_read_as_an_image_with_its_gaps_white(tmp_path: Path) -> None:
    scene(tmp_path / "scene.tif", nodata=0)
    mosaic = tmp_path / "mosaic.vrt"
    band = """<VRTRasterBand dataType="Byte" band="{0}"><NoDataValue>0</NoDataValue><SimpleSource>
        <SourceFilename relativeToVRT="1">scene.tif</SourceFilename><SourceBand>{0}</SourceBand>
        <SrcRect xOff="0" yOff="0" xSize="320" ySize="200"/><DstRect xOff="400" yOff="0" xSize="320" ySize="200"/>
        </SimpleSource></VRTRasterBand>"""
    mosaic.write_text(
        f"""<VRTDataset rasterXSize="800" rasterYSize="200"><GeoTransform>{", ".join(map(str, (-180, 0.25, 0, 50, 0, -0.25)))}
        </GeoTransform>{"".join(map(band.format, (1, 2, 3)))}</VRTDataset>"""
    )
    reader = open_reader(mosaic)
    assert reader.georeference == Georeference("", (0.25, 0.0, -180.0, 0.0, -0.25, 50.0))
    assert (reader.levels[0].width, reader.levels[0].height) == (800, 200)
    assert (reader.read(0, Box(0, 0, 400, 200)) == 255).all()
    seen = reader.read(0, Box(410, 20, 500, 100))
    shown = (PIXELS[20:100, 10:100] != 0).any(2)
    assert np.array_equal(seen[shown], PIXELS[20:100, 10:100][shown])
    assert (seen[~shown] == 255).all()
    reader.close()
    (tmp_path / "scene.tif").unlink()
    with pytest.raises(BadImage, match=r"mosaic.vrt: the region of 90 x 80 pixels at \(410, 20\) cannot be read"):
        open_reader(mosaic).read(0, Box(410, 20, 500, 100))
    (tmp_path / "broken.vrt").write_text("no mosaic")
    with pytest.raises(BadImage, match=r"broken\.vrt: cannot be read by GDAL"):
        open_reader(tmp_path / "broken.vrt")
