"""Files of maps, read back by what other programs read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bagnet.files import NotWritten
from bagnet.slides.georeference import Georeference
from bagnet.slides.outputs import check_outputs, write_cog, write_geojson, write_ome_tiff
from bagnet.slides.run import Slide, slide

from ..engine.classifiers import small_bagnet


@pytest.fixture
def result(tmp_path: Path) -> Slide:
    """A map of 40 x 60 cells, 8 px apart at half the resolution, that is 5 in a row of three cells and 9 in one."""
    np.save(tmp_path / "image.npy", np.zeros((330, 490, 3), np.uint8))
    values = np.full((1, 40, 60), -1.0, np.float32)
    values[0, 10, 20:23], values[0, 11, 20] = 5.0, 9.0
    values[0, 30] = np.nan
    return replace(
        slide(small_bagnet(), tmp_path / "image.npy", [0], tmp_path / "out"),
        evidence=values,
        downsample=2.0,
        microns_per_pixel=0.5,
    )


def test_the_strongest_windows_are_rectangles_of_the_largest_level(result: Slide, tmp_path: Path) -> None:
    write_geojson(result, 0, tmp_path / "map.geojson")
    features = json.loads((tmp_path / "map.geojson").read_text())["features"]
    measured = [feature["properties"]["measurements"] for feature in features]
    assert measured == [{"logit": 5.0, "largest": 5.0}, {"logit": 9.0, "largest": 9.0}]
    square = result.geometry.centre_square(10, 20)
    left, top = 2 * square.left, 2 * square.top
    (ring,) = features[0]["geometry"]["coordinates"]
    assert ring == [[left, top], [left + 48, top], [left + 48, top + 16], [left, top + 16], [left, top]]
    assert features[1]["properties"]["classification"] == {"name": str(result.classes[0])}


def test_regions_of_a_scene_are_in_longitude_and_latitude(result: Slide, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    plate = Georeference(rasterio.CRS.from_epsg(4326).to_wkt(), (0.5, 0.0, -100.0, 0.0, -0.25, 60.0))
    write_geojson(replace(result, georeference=plate), 0, tmp_path / "map.geojson")
    features = json.loads((tmp_path / "map.geojson").read_text())["features"]
    # Windows of 17 px every 8: the cell at (10, 20) begins at (20 * 8 + 4.5, 10 * 8 + 4.5) px of the level, and is 8 px large.
    west, north = -100 + 164.5 / 2, 60 - 84.5 / 4
    (ring,) = features[0]["geometry"]["coordinates"]
    assert ring == [[west, north], [west, north - 2], [west + 12, north - 2], [west + 12, north], [west, north]]
    utm = Georeference(rasterio.CRS.from_epsg(32632).to_wkt(), (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0))
    write_geojson(replace(result, georeference=utm), 0, tmp_path / "map.geojson")
    (ring,) = json.loads((tmp_path / "map.geojson").read_text())["features"][0]["geometry"]["coordinates"]
    back = rasterio.warp.transform("EPSG:4326", "EPSG:32632", *zip(*ring, strict=True))
    assert np.allclose(back[0][:3], [501_645, 501_645, 501_885], rtol=0, atol=0.02)
    assert np.allclose(back[1][:3], [4_999_155, 4_999_075, 4_999_075], rtol=0, atol=0.02)


@pytest.mark.parametrize("crs", ["", 'LOCAL_CS["plan of the hall",UNIT["metre",1]]'])
def test_regions_of_a_scene_that_is_nowhere_on_the_earth_are_in_pixels(result: Slide, tmp_path: Path, crs: str) -> None:
    pytest.importorskip("rasterio")
    write_geojson(result, 0, tmp_path / "plain.geojson")
    write_geojson(replace(result, georeference=Georeference(crs, (2.0, 0, 0, 0, 2.0, 0))), 0, tmp_path / "hall.geojson")
    assert (tmp_path / "hall.geojson").read_text() == (tmp_path / "plain.geojson").read_text()


def test_a_map_without_evidence_for_the_class_has_no_regions(result: Slide, tmp_path: Path) -> None:
    silent = replace(result, evidence=np.full_like(result.evidence, -3.0))
    write_geojson(silent, 0, tmp_path / "map.geojson")
    assert json.loads((tmp_path / "map.geojson").read_text()) == {"type": "FeatureCollection", "features": []}


def test_a_pyramid_has_the_logits_and_their_place(result: Slide, tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("imagecodecs")
    values = np.random.default_rng(0).normal(size=(1, 1101, 700)).astype(np.float32)
    write_ome_tiff(replace(result, evidence=values), 0, tmp_path / "map.ome.tif")
    with tifffile.TiffFile(tmp_path / "map.ome.tif") as file:
        (series,) = file.series
        assert [level.shape for level in series.levels] == [(1101, 700), (550, 350), (275, 175), (137, 87)]
        assert np.array_equal(series.asarray(), values[0])
        assert np.allclose(series.levels[1].asarray(), values[0, :1100].reshape(550, 2, 350, 2).mean((1, 3)), atol=1e-6)
        assert 'PhysicalSizeX="4.0"' in file.ome_metadata


def test_a_geotiff_lies_where_the_windows_lie(result: Slide, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    values = np.random.default_rng(0).normal(size=(1, 300, 700)).astype(np.float32)
    values[0, 7, 9] = np.nan
    ground = Georeference(rasterio.CRS.from_epsg(32632).to_wkt(), (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0))
    write_cog(replace(result, evidence=values, georeference=ground), 0, tmp_path / "map.tif")
    with rasterio.open(tmp_path / "map.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.crs.to_epsg() == 32632
        assert np.array_equal(file.read(1), values[0], equal_nan=True)
        assert np.isnan(file.nodata)
        assert file.overviews(1) == [2, 4]
        assert file.descriptions == (str(result.classes[0]),)
        # Windows of 17 px every 8: the square about the centre of the first begins at (17 - 8) / 2 = 4.5 px, 45 m.
        assert file.transform == rasterio.Affine(80.0, 0.0, 500_045.0, 0.0, -80.0, 4_999_955.0)
        square = result.geometry.centre_square(2, 3)
        assert Georeference("", tuple(file.transform)[:6]).at(3, 2) == pytest.approx(
            ground.at(square.left + 0.5, square.top + 0.5)
        )
    assert list(tmp_path.glob(".*")) == [], "nothing is left behind"


def test_a_full_disk_leaves_no_half_a_geotiff(result: Slide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = pytest.importorskip("rasterio.shutil")

    def full(source: Path, target: Path, **options: object) -> None:
        target.write_bytes(b"half")
        raise RuntimeError("TIFFAppendToStrip: Write error")

    monkeypatch.setattr(copy, "copy", full)
    ground = Georeference("", (10.0, 0.0, 0.0, 0.0, -10.0, 0.0))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(NotWritten, match=r"map\.tif: cannot be written \(TIFFAppendToStrip: Write error\)"):
        write_cog(replace(result, georeference=ground), 0, tmp_path / "map.tif")
    assert sorted(tmp_path.iterdir()) == before


def test_what_is_not_georeferenced_has_no_geotiff(result: Slide, tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    with pytest.raises(ValueError, match="out: its image is not georeferenced"):
        write_cog(result, 0, tmp_path / "map.tif")
    with pytest.raises(ValueError, match=r"scan\.svs: is not georeferenced"):
        check_outputs(["cog"], "scan.svs", None)
    with pytest.raises(ValueError, match="no output 'pdf': there are geojson, ome-tiff, cog"):
        check_outputs(["pdf"], "scan.svs", None)
    check_outputs(["geojson", "ome-tiff"], "scan.svs", None)
