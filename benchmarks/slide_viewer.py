"""How soon a slide is seen, and how long its tiles take: of the service, and in a browser.

python benchmarks/slide_viewer.py FOLDER              # that `bagnet slide` wrote; more of them one after another

Tiles are asked for once each, one after another, at random places of each size. With Chromium, openseadragon and the package
playwright (`make browser`), new visitors, too: until all of the slide is drawn with its map, and until a strongest window that is
flown to is.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from fastapi.testclient import TestClient
from playwright.sync_api import sync_playwright

from bagnet.engine.cost import peak_memory
from bagnet.geometry import Pyramid
from bagnet.serve.slides import slides_application, write_slides_page
from bagnet.slides.view import open_view

TILES = 40  # of each size, at most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--visitors", type=int, default=10)
    options = parser.parse_args()
    for folder in options.folders:
        measure(folder, options.visitors)


def measure(folder: Path, visitors: int) -> None:
    start = time.perf_counter()
    view = open_view(folder)
    print(f"{view.name}: opened in {time.perf_counter() - start:.2f} s", flush=True)
    with TestClient(slides_application([view])) as client:
        for name, path, pyramid in (("image", "image", view.image), ("map", "maps/0", view.map)):
            tiles(client, name, path, pyramid)
    if (chromium := shutil.which("chromium")) and visitors:
        visit(folder, chromium, visitors)
    print(f"{(peak_memory() or 0) / 1e6:.0f} MB at most", flush=True)


def tiles(client: TestClient, name: str, path: str, pyramid: Pyramid) -> None:
    """Print how long tiles take, by their size."""
    chosen = random.Random(0)
    for halvings in range(pyramid.levels):
        rows, columns = (-(-length // pyramid.side) for length in pyramid.shape(halvings))
        places = [(row, column) for row in range(rows) for column in range(columns)]
        seconds, sizes = [], []
        for row, column in chosen.sample(places, min(TILES, len(places))):
            start = time.perf_counter()
            answer = client.get(f"/v1/slides/0/{path}/{halvings}/{row}/{column}")
            seconds.append(time.perf_counter() - start)
            sizes.append(len(answer.content))
        typical, worst = 1000 * statistics.median(seconds), 1000 * max(seconds)
        size = statistics.mean(sizes) / 1000
        print(f"{name} 1/{1 << halvings}: median {typical:.0f} ms, worst {worst:.0f} ms, {size:.0f} kB", flush=True)


def visit(folder: Path, chromium: str, visitors: int) -> None:
    """Print how long new visitors wait."""
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as driver:
        write_slides_page(Path(scratch) / "page")
        server = uvicorn.Server(
            uvicorn.Config(slides_application([open_view(folder)], page=Path(scratch) / "page"), port=0, log_level="warning")
        )
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        first, flown = [], []
        for number in range(visitors):
            with browser.new_context(viewport={"width": 1300, "height": 900}, reduced_motion="reduce") as context:
                page = context.new_page()
                first.append(seconds(page, lambda page=page: page.goto(address)))
                page.wait_for_selector("#windows button")
                flown.append(
                    seconds(page, lambda page=page, number=number: page.locator("#windows button").nth(number % 8).click())
                )
        server.should_exit = True
        thread.join()
        for name, times in (("first view", first), ("a window flown to", flown)):
            print(f"{name}: {min(times):.2f} to {max(times):.2f} s, median {statistics.median(times):.2f}", flush=True)


def seconds(page: Any, do: Callable[[], None]) -> float:
    """How long it takes until all is drawn after something was done."""
    start = time.perf_counter()
    do()
    page.wait_for_selector("body[data-drawn=yes]")
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
