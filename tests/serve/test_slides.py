"""What clients that look at slides are answered."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient

from bagnet.serve import slides as module
from bagnet.serve.limits import Limits
from bagnet.serve.npm import NoPackage
from bagnet.serve.slides import OPENSEADRAGON, slides_application, write_slides_page
from bagnet.slides.view import View, open_view

from ..slides.made import BROKEN, RED, SIZE, STRIDE, expected_map, made_slide, pixels

MAKEFILE = Path(__file__).parents[2] / "Makefile"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_slide(tmp_path_factory.mktemp("slide"))


@pytest.fixture
def client(folder: Path) -> Iterator[TestClient]:
    with TestClient(slides_application([open_view(folder)])) as opened:
        yield opened


@pytest.fixture
def openseadragon(tmp_path: Path) -> Path:
    """As the npm package has its files."""
    package = tmp_path / "package"
    for name in OPENSEADRAGON.files:
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(name)
    return package


def picture(answer: Any) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(BytesIO(answer.content)))


def test_what_is_served(client: TestClient) -> None:
    (about,) = client.get("/v1/slides").json()
    assert (about["name"], about["width"], about["height"], about["microns_per_pixel"]) == ("made.tif", 900, 640, 0.5)
    assert about["windows"] == {"size": SIZE, "stride": STRIDE, "origin": 0}
    assert (about["rows"], about["columns"], about["levels"], about["map_levels"]) == (313, 443, 3, 2)
    assert about["skipped"] > 0 < about["missing"]
    expected = expected_map(0)
    red = about["classes"][0]
    values = np.block([[tile(client, 0, 0, row, column) for column in range(2)] for row in range(2)])
    assert red["name"] == "red"
    assert red["logit"] == pytest.approx(values[np.isfinite(values)].mean(dtype=np.float64), abs=1e-4)
    assert np.abs(values - expected)[np.isfinite(values)].max() < 1e-5
    assert client.get("/healthz").json() == {"status": "serving made.tif"}
    assert 'route="/v1/slides/{slide}/maps/{number}/{halvings}/{row}/{column}",status="200"} 4.0' in client.get("/metrics").text


def tile(client: TestClient, number: int, halvings: int, row: int, column: int) -> np.ndarray[Any, Any]:
    answer = client.get(f"/v1/slides/0/maps/{number}/{halvings}/{row}/{column}")
    assert answer.headers["content-type"] == "application/octet-stream"
    columns = min(256, -(-443 >> halvings) - 256 * column)
    return np.frombuffer(answer.content, "<f4").reshape(-1, columns)


def test_pixels_of_a_tile_are_the_images(client: TestClient) -> None:
    whole = client.get("/v1/slides/0/image/0/0/1")
    assert whole.headers["content-type"] == "image/png"
    assert np.array_equal(picture(whole), pixels()[:256, 256:512])
    far = client.get("/v1/slides/0/image/1/0/1")
    assert far.headers["content-type"] == "image/jpeg"
    assert picture(far).shape == (256, 194, 3)
    assert np.abs(picture(far)[:, 64:].astype(int) - 255).max() < 12, "white"


def test_skipped_and_missing_windows_are_told_apart(client: TestClient) -> None:
    near = np.block([[tile(client, 1, 0, row, column) for column in range(2)] for row in range(2)])
    assert np.isposinf(near[5, 340:]).all()
    assert np.isnan(near[BROKEN[0].start // STRIDE, BROKEN[1].start // STRIDE])
    far = tile(client, 1, 1, 0, 0)
    assert np.isposinf(far[5, 172:]).all()
    assert np.isnan(far[BROKEN[0].start // STRIDE // 2, BROKEN[1].start // STRIDE // 2])


def test_the_strongest_windows_and_what_they_see(client: TestClient) -> None:
    first, *others = client.get("/v1/slides/0/maps/0/strongest?count=3").json()
    assert (first["row"], first["column"], first["logit"]) == (RED[0] // STRIDE, RED[1] // STRIDE, pytest.approx(8, abs=1e-5))
    assert len(others) == 2
    assert all(STRIDE * max(abs(w["row"] - first["row"]), abs(w["column"] - first["column"])) >= SIZE for w in others)
    seen = picture(client.get(f"/v1/slides/0/windows/{first['row']}/{first['column']}"))
    assert seen.shape == (SIZE, SIZE, 3)
    assert (seen == (255, 0, 0)).all()
    around = picture(client.get(f"/v1/slides/0/windows/{first['row']}/{first['column']}?around=5"))
    assert np.array_equal(around, pixels()[RED[0] - 5 : RED[0] + SIZE + 5, RED[1] - 5 : RED[1] + SIZE + 5])


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/slides/1/image/0/0/0", 404),
        ("/v1/slides/0/image/3/0/0", 404),
        ("/v1/slides/0/image/0/3/0", 404),
        ("/v1/slides/0/image/99999999999999999999/0/0", 404),
        ("/v1/slides/0/maps/2/0/0/0", 404),
        ("/v1/slides/0/maps/0/2/0/0", 404),
        ("/v1/slides/0/maps/2/strongest", 404),
        ("/v1/slides/0/windows/313/0", 404),
        ("/v1/slides/0/windows/0/0?around=65", 422),
        ("/v1/slides/0/maps/0/strongest?count=101", 422),
        ("/v1/slides/0/image/-1/0/0", 422),
        ("/v1/slides/0/image/0/..%2f..%2fetc/passwd", 404),
        ("/v1/slides/made.tif/image/0/0/0", 422),
    ],
)
def test_what_there_is_not(client: TestClient, path: str, code: int) -> None:
    assert client.get(path).status_code == code


def test_the_token(folder: Path) -> None:
    with TestClient(slides_application([open_view(folder)], token="s3cret")) as client:
        assert client.get("/healthz").status_code == 200
        for path in ("/v1/slides", "/metrics", "/v1/slides/0/image/0/0/0", "/v1/slides/0/maps/0/0/0/0"):
            assert client.get(path).status_code == 401
            assert client.get(path, headers={"Authorization": "Bearer s3cret"}).status_code == 200


def test_pages_of_other_sites_cannot_ask_under_their_name(folder: Path) -> None:
    with TestClient(slides_application([open_view(folder)], hosts=("localhost",)), base_url="http://evil.example") as client:
        assert client.get("/v1/slides").status_code == 400
        assert client.get("/v1/slides", headers={"Host": "localhost:8000"}).status_code == 200


def test_few_tiles_are_drawn_at_a_time_and_none_twice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, at_work, most, drawn = threading.Event(), 0, 0, []
    lock, draw = threading.Lock(), View.pixels

    def slow(self: View, *where: int) -> Any:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
            drawn.append(where)
        go_on.wait(5)
        try:
            return draw(self, *where)
        finally:
            with lock:
                at_work -= 1

    monkeypatch.setattr(View, "pixels", slow)
    paths = [f"/v1/slides/0/image/0/{row}/{column}" for row in range(2) for column in range(3)]
    with TestClient(slides_application([open_view(folder)], Limits(renders=2))) as client, ThreadPoolExecutor(6) as pool:
        threading.Timer(0.3, go_on.set).start()
        assert [answer.status_code for answer in pool.map(client.get, paths)] == [200] * 6
        assert most == 2
        assert client.get(paths[0]).status_code == 200
        assert len(drawn) == 6


def test_too_many_at_once_are_told_to_come_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, begun = threading.Event(), threading.Semaphore(0)

    def slow(*_: Any) -> None:
        begun.release()
        go_on.wait(5)

    monkeypatch.setattr(View, "pixels", slow)
    with TestClient(slides_application([open_view(folder)], Limits(waiting=1))) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.get, "/v1/slides/0/image/0/0/0")
        begun.acquire()
        second = client.get("/v1/slides/0/image/0/0/1")
        go_on.set()
        assert first.result().status_code == 404
    assert (second.status_code, second.headers["Retry-After"]) == (429, "1")


def test_a_tile_that_takes_too_long(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, pixels = threading.Event(), View.pixels

    def slow(*words: Any) -> Any:
        go_on.wait(30)
        return pixels(*words)

    monkeypatch.setattr(View, "pixels", slow)
    with (
        TestClient(slides_application([open_view(folder)], Limits(seconds=0.1, renders=1))) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(client.get, "/v1/slides/0/image/0/0/0")
        late = client.get("/v1/slides/0/image/0/0/1")
        go_on.set()
        first.result()
    assert late.status_code == 429
    assert "not drawn within 0.1 seconds" in late.json()["detail"]


def test_the_page_has_all_that_it_loads(openseadragon: Path, tmp_path: Path) -> None:
    write_slides_page(tmp_path / "page", openseadragon=openseadragon)
    files = {file.name for file in (tmp_path / "page").iterdir()}
    for file in (tmp_path / "page").glob("*.js"):
        for line in file.read_text().splitlines():
            if line.startswith("import "):
                assert line.split("'./")[1].rstrip("';") in files, line
    assert (tmp_path / "page" / "openseadragon" / "openseadragon.min.js").is_file()


def test_without_openseadragon_the_remedy_is_said(openseadragon: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NoPackage, match=r"npm package openseadragon, .*`npm pack openseadragon@[\d.]+` .* --openseadragon open"):
        write_slides_page(tmp_path / "page")
    (openseadragon / OPENSEADRAGON.files[0]).unlink()
    with pytest.raises(NoPackage, match="is no package openseadragon, as build/"):
        write_slides_page(tmp_path / "another", openseadragon=openseadragon)
    assert f"openseadragon@{OPENSEADRAGON.version} " in MAKEFILE.read_text(), "what is tested is what people get"


def test_kept_tiles_have_a_bound(folder: Path) -> None:
    service = module._Slides([open_view(folder)], Limits(), "")
    assert service._tile.cache_info().maxsize == 512


@pytest.mark.slow
def test_the_command_serves_the_viewer_and_ends_in_order(folder: Path, openseadragon: Path) -> None:
    words = ["serve", "--slide", str(folder), "--openseadragon", str(openseadragon), "--port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "bagnet", *words], stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        address = process.stderr.readline().split()[-1]
        with urllib.request.urlopen(address, timeout=20) as answer:
            assert b"a slide and its evidence" in answer.read()
        process.terminate()
        assert process.wait(20) in (0, -signal.SIGTERM)
