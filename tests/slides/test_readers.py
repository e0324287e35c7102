"""Every reader gives the pixels that were written, a region at a time, and says what it cannot read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bagnet.data.decode import BadImage
from bagnet.geometry import Box
from bagnet.slides.readers import READERS, Level, level_of, open_reader

PIXELS = np.random.default_rng(0).integers(0, 256, (300, 420, 3), np.uint8)
BOX = Box(100, 40, 350, 290)


def as_array(path: Path) -> Path:
    np.save(path / "image.npy", PIXELS)
    return path / "image.npy"


def as_zarr(path: Path) -> Path:
    zarr = pytest.importorskip("zarr")
    zarr.create_array(path / "image.zarr", data=PIXELS, chunks=(128, 128, 3))
    return path / "image.zarr"


def as_tiff(path: Path, **options: Any) -> Path:
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("zarr")
    with tifffile.TiffWriter(path / "image.tif", bigtiff=True) as file:
        about = {"tile": (128, 128), "photometric": "rgb", "resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
        file.write(PIXELS, subifds=1, **about, **options)
        file.write(PIXELS[::2, ::2], subfiletype=1, tile=(128, 128), photometric="rgb", **options)
    return path / "image.tif"


def as_flat_pyramid(path: Path) -> Path:
    """Levels as pages behind each other, as OpenSlide and GDAL have them."""
    tifffile = pytest.importorskip("tifffile")
    with tifffile.TiffWriter(path / "image.tif") as file:
        for step in (1, 2):
            file.write(PIXELS[::step, ::step], subfiletype=step - 1, tile=(128, 128), photometric="rgb")
    return path / "image.tif"


def as_photograph(path: Path) -> Path:
    Image.fromarray(PIXELS).save(path / "image.png")
    return path / "image.png"


@pytest.mark.parametrize("write", [as_array, as_zarr, as_tiff, as_photograph])
def test_a_region_has_the_pixels_that_were_written(write: Callable[[Path], Path], tmp_path: Path) -> None:
    reader = open_reader(write(tmp_path))
    assert reader.levels[0] == Level(300, 420, 1.0)
    assert np.array_equal(reader.read(0, BOX), PIXELS[BOX.slices])
    assert np.array_equal(reader.read(0, Box(0, 0, 420, 300)), PIXELS)
    reader.close()


def test_a_pyramid_has_levels_and_says_how_large_its_pixels_are(tmp_path: Path) -> None:
    reader = open_reader(as_tiff(tmp_path))
    assert reader.levels == (Level(300, 420, 1.0), Level(150, 210, 2.0))
    assert reader.microns_per_pixel == pytest.approx(0.5)
    assert np.array_equal(reader.read(1, Box(10, 20, 60, 50)), PIXELS[::2, ::2][20:50, 10:60])
    flat = open_reader(as_flat_pyramid(tmp_path))
    assert flat.levels == reader.levels
    assert np.array_equal(flat.read(1, Box(10, 20, 60, 50)), PIXELS[::2, ::2][20:50, 10:60])
    assert [level_of(reader, None, microns) for microns in (0.4, 0.6, 0.9, 7.0)] == [0, 0, 1, 1]
    assert (level_of(reader, None, None), level_of(reader, 1, None)) == (0, 1)
    with pytest.raises(ValueError, match=r"there is no level 2: there are 0 to 1"):
        level_of(reader, 2, None)
    with pytest.raises(ValueError, match="give one of them"):
        level_of(reader, 1, 0.5)
    with pytest.raises(ValueError, match="choose a level instead"):
        level_of(open_reader(as_array(tmp_path)), None, 0.5)


def test_grey_images_have_three_equal_colours(tmp_path: Path) -> None:
    np.save(tmp_path / "grey.npy", PIXELS[..., 0])
    assert np.array_equal(open_reader(tmp_path / "grey.npy").read(0, BOX), np.repeat(PIXELS[BOX.slices][..., :1], 3, 2))


def test_what_cannot_be_read_is_said_in_a_line(tmp_path: Path) -> None:
    np.save(tmp_path / "deep.npy", PIXELS.astype(np.uint16))
    with pytest.raises(BadImage, match=r"deep.npy: holds 300 x 420 x 3 values of uint16, not .* of uint8; convert it first"):
        open_reader(tmp_path / "deep.npy")
    (tmp_path / "broken.npy").write_bytes(b"no array")
    with pytest.raises(BadImage, match=r"broken\.npy: cannot be read as array"):
        open_reader(tmp_path / "broken.npy")
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        open_reader(tmp_path / "missing.svs")
    (tmp_path / "scan.xyz").write_text("")
    with pytest.raises(ValueError, match=r"scan.xyz: is none of the kinds .*\.svs.*\.tif"):
        open_reader(tmp_path / "scan.xyz")


def test_a_truncated_tiff_is_named(tmp_path: Path) -> None:
    whole = as_tiff(tmp_path).read_bytes()
    (tmp_path / "short.tif").write_bytes(whole[:40])
    with pytest.raises(BadImage, match=r"short\.tif: cannot be read as TIFF"):
        open_reader(tmp_path / "short.tif")


def test_of_a_tiff_that_ends_early_the_beginning_is_read(tmp_path: Path) -> None:
    whole = as_flat_pyramid(tmp_path).read_bytes()
    (tmp_path / "short.tif").write_bytes(whole[: len(whole) // 2])
    reader = open_reader(tmp_path / "short.tif")
    assert np.array_equal(reader.read(0, Box(0, 0, 100, 100)), PIXELS[:100, :100])
    with pytest.raises(BadImage, match=r"short\.tif: the region of 20 x 20 pixels at \(400, 280\) cannot be read"):
        reader.read(0, Box(400, 280, 420, 300))


def test_a_compression_that_nothing_reads_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = as_flat_pyramid(tmp_path)
    with pytest.importorskip("tifffile").TiffFile(path) as file:
        offset = file.pages[0].tags["Compression"].valueoffset
    content = bytearray(path.read_bytes())
    content[offset : offset + 2] = (40_000).to_bytes(2, "little")
    path.write_bytes(content)
    with pytest.raises(BadImage, match=r"image.tif: its tiles are compressed as number 40000, .* convert it first"):
        open_reader(path)
    monkeypatch.setattr("bagnet.slides.readers.find_spec", lambda _: None)
    with pytest.raises(BadImage, match=r"the package imagecodecs may: pip install 'bagnet\[slides\]'"):
        open_reader(path)


def test_what_shows_nothing_is_white(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    alpha = np.full((300, 420, 1), 255, np.uint8)
    alpha[:100] = 0
    tifffile.imwrite(tmp_path / "alpha.tif", np.concatenate([PIXELS, alpha], 2), photometric="rgb", extrasamples=["unassalpha"])
    dark = PIXELS.copy()
    dark[:100] = 7
    tifffile.imwrite(tmp_path / "nodata.tif", dark, photometric="rgb", extratags=[(42113, "s", 0, "7", True)])
    for name in ("alpha.tif", "nodata.tif"):
        seen = open_reader(tmp_path / name).read(0, Box(0, 0, 420, 300))
        assert (seen[:100] == 255).all()
        assert np.array_equal(seen[100:], PIXELS[100:])
    tifffile.imwrite(tmp_path / "infrared.tif", np.concatenate([PIXELS, alpha], 2), photometric="rgb", extrasamples=[0])
    with pytest.raises(BadImage, match="holds 300 x 420 x 4 values"):
        open_reader(tmp_path / "infrared.tif")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr(version: str, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(tmp_path / "image.ome.zarr", mode="w", zarr_format=2 if version == "0.4" else 3)
    for level, step in enumerate((1, 2)):
        planes = np.moveaxis(PIXELS[::step, ::step], 2, 0)[None, :, None]
        group.create_array(f"s{level}", data=planes, chunks=(1, 1, 1, 128, 128))
    axes = [{"name": name, "type": "space", "unit": "micrometer"} if name in "zyx" else {"name": name} for name in "tczyx"]
    scale = [{"type": "scale", "scale": [1, 1, 1, 0.25, 0.25]}]
    about = [{"axes": axes, "datasets": [{"path": f"s{level}", "coordinateTransformations": scale} for level in (0, 1)]}]
    group.attrs.update({"multiscales": about} if version == "0.4" else {"ome": {"version": "0.5", "multiscales": about}})
    reader = open_reader(tmp_path / "image.ome.zarr")
    assert reader.levels == (Level(300, 420, 1.0), Level(150, 210, 2.0))
    assert reader.microns_per_pixel == 0.25
    assert np.array_equal(reader.read(0, BOX), PIXELS[BOX.slices])
    assert np.array_equal(reader.read(1, Box(10, 20, 60, 50)), PIXELS[::2, ::2][20:50, 10:60])
    group.create_array("deep", data=np.zeros((1, 3, 2, 40, 40), np.uint8))
    about[0]["datasets"] = [{"path": "deep"}]
    group.attrs.update({"multiscales": about} if version == "0.4" else {"ome": {"version": "0.5", "multiscales": about}})
    with pytest.raises(BadImage, match="holds 1 x 3 x 2 x 40 x 40 values along tczyx, not one plane"):
        open_reader(tmp_path / "image.ome.zarr")


def test_ome_says_how_large_its_pixels_are(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    about = {"axes": "YXS", "PhysicalSizeX": 250.0, "PhysicalSizeXUnit": "nm"}
    tifffile.imwrite(tmp_path / "image.ome.tif", PIXELS, photometric="rgb", ome=True, metadata=about)
    assert open_reader(tmp_path / "image.ome.tif").microns_per_pixel == pytest.approx(0.25)


def test_a_corrupt_tile_is_named_with_its_place(tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs")
    path = as_tiff(tmp_path, compression="zlib")
    tifffile = pytest.importorskip("tifffile")
    with tifffile.TiffFile(path) as file:
        offset = file.pages[0].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[offset : offset + 50] = bytes(50)
    path.write_bytes(content)
    reader = open_reader(path)
    with pytest.raises(BadImage, match=r"image.tif: the region of 20 x 20 pixels at \(0, 0\) cannot be read"):
        reader.read(0, Box(0, 0, 20, 20))
    assert np.array_equal(reader.read(0, Box(300, 200, 350, 250)), PIXELS[200:250, 300:350])


def test_endings_belong_to_one_reader_each() -> None:
    endings = [ending for kind in READERS.values() for ending in kind.endings]
    assert len(set(endings)) == len(endings)


def test_photographs_of_deeper_grey_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 40), 1000, np.uint16)).save(tmp_path / "scan.png")
    with pytest.raises(BadImage, match=r"scan.png: holds grey levels of more than 8 bits, not of uint8"):
        open_reader(tmp_path / "scan.png")
