"""bagnet slide"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from .conftest import Run, assert_refused


def test_a_slide_has_maps_a_picture_and_its_strongest_window(run: Run, weights: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", np.random.default_rng(0).integers(0, 256, (120, 200, 3), np.uint8))
    words = ("slide", tmp_path / "scan.npy", "--model", weights, "--class", "dog", "--out", tmp_path / "out")
    result = run(*words, "--json")
    assert result.code == 0, result.err
    record = json.loads(result.out)
    (dog,) = record["classes"]
    values = np.load(tmp_path / "out" / "evidence.npy")[0]
    assert dog["strongest"]["logit"] == float(values.max())
    row, column = np.unravel_index(values.argmax(), values.shape)
    assert dog["strongest"]["box"] == [17, 17, 8 * column, 8 * row]
    assert abs(dog["logit"] - values.mean()) < 1e-4
    assert Path(dog["picture"]).read_bytes().startswith(b"\x89PNG")
    again = run(*words, "--also", "geojson")
    assert again.code == 0
    assert "dog" in again.out
    assert json.loads((tmp_path / "out" / "dog.geojson").read_text())["type"] == "FeatureCollection"
    assert again.out.splitlines()[-1] == f"-> {tmp_path / 'out'}"


def test_a_scene_says_where_on_the_ground(run: Run, weights: Path, tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    pytest.importorskip("tifffile")
    pytest.importorskip("zarr")
    about = {"height": 120, "width": 200, "count": 3, "dtype": "uint8", "crs": "EPSG:4326"}
    with rasterio.open(tmp_path / "scene.tif", "w", **about, transform=rasterio.Affine(0.5, 0, -50, 0, -0.25, 40)) as file:
        file.write(np.random.default_rng(0).integers(0, 256, (3, 120, 200), np.uint8))
    words = ("slide", tmp_path / "scene.tif", "--model", weights, "--class", "dog", "--out", tmp_path / "out")
    (dog,) = json.loads(run(*words, "--json").out)["classes"]
    width, height, left, top = dog["strongest"]["box"]
    centre = (-50 + (left + width / 2) / 2, 40 - (top + height / 2) / 4)
    assert (dog["strongest"]["longitude"], dog["strongest"]["latitude"]) == centre
    assert "{:.4f}, {:.4f}".format(*centre) in run(*words).out


def test_a_finer_stride(run: Run, weights: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", np.random.default_rng(0).integers(0, 256, (120, 200, 3), np.uint8))
    words = ("slide", tmp_path / "scan.npy", "--model", weights, "--class", "dog")
    for stride in (8, 4):
        assert run(*words, "--stride", stride, "--out", tmp_path / str(stride)).code == 0
    coarse, fine = (np.load(tmp_path / str(stride) / "evidence.npy")[0] for stride in (8, 4))
    assert np.abs(fine[::2, ::2] - coarse).max() < 1e-4
    assert_refused(run(*words, "--stride", 12, "--out", tmp_path / "12"), "--stride 12: windows 8 px apart", "4 px say")


def test_wrong_words(run: Run, weights: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", np.zeros((120, 200, 3), np.uint8))
    assert_refused(run("slide", tmp_path / "scan.npy", "--model", weights, "--out", tmp_path / "out"), "say which classes")
    words = ("slide", tmp_path / "scan.npy", "--model", weights, "--class", "dog", "--out", tmp_path / "out")
    assert_refused(run(*words, "--level", 3), "there is no level 3")
    assert_refused(run(*words, "--also", "pdf"), "no output 'pdf'", "geojson, ome-tiff")
    assert_refused(run("slide", tmp_path / "none.svs", *words[2:]), "none.svs", "no such file")
    assert not (tmp_path / "out").exists()


def test_parts_are_merged(run: Run, weights: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", np.random.default_rng(0).integers(0, 256, (1500, 1400, 3), np.uint8))
    words = ("slide", tmp_path / "scan.npy", "--model", weights, "--class", "dog")
    for part in "12":
        assert run(*words, "--shard", f"{part}/2", "--out", tmp_path / part).code == 0
    merged = run("merge", tmp_path / "2", tmp_path / "1", "--out", tmp_path / "out", "--json")
    assert merged.code == 0, merged.err
    assert json.loads(merged.out)["classes"][0]["class"] == "dog"
    again = run("merge", tmp_path / "1", tmp_path / "2", "--out", tmp_path / "out", "--also", "geojson")
    assert again.code == 0, again.err
    assert (tmp_path / "out" / "dog.geojson").exists()
    assert_refused(run("merge", tmp_path / "1", tmp_path / "2", "--out", tmp_path / "out", "--also", "cog"), "not georeferenced")
    assert not np.isnan(np.load(tmp_path / "out" / "evidence.npy")).any()
    assert_refused(run("merge", tmp_path / "1", "--out", tmp_path / "other"), "1/2 to 2/2, each once")
    assert_refused(run(*words, "--shard", "half", "--out", tmp_path / "other"), "is no part; the first of four is 1/4")
