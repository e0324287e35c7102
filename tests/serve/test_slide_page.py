"""The viewer of slides in a browser: what visitors see, and whether it lies where it should.

Needs Debian's Chromium and the npm package openseadragon: `make browser` brings both.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bagnet.serve.slides import OPENSEADRAGON, slides_application, write_slides_page
from bagnet.slides.view import View, open_view

from ..slides.made import BROKEN, RED, SIZE, STRIDE, made_slide
from .browser import NEEDS_BROWSER, launched, visitor

pytest.importorskip("playwright.sync_api")
uvicorn = pytest.importorskip("uvicorn")
MODULES = Path(__file__).parents[2] / "node_modules"
pytestmark = [
    *NEEDS_BROWSER,
    pytest.mark.skipif(not (MODULES / OPENSEADRAGON.name).is_dir(), reason="needs openseadragon: make browser"),
]
TOKEN = "secret"


class Served:
    """A server in a thread of this process."""

    def __init__(self, folder: Path, views: list[View], token: str = "") -> None:
        write_slides_page(folder, asks_token=bool(token), openseadragon=MODULES / OPENSEADRAGON.name)
        app = slides_application(views, token=token, page=folder)
        self._server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        self.address = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}/"

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The made slide, and the same at half its size."""
    folder = tmp_path_factory.mktemp("slide")
    large = made_slide(folder).rename(folder / "large")
    return large, made_slide(folder, level=1)


@pytest.fixture(scope="module")
def view(stores: tuple[Path, Path]) -> View:
    return open_view(stores[0])


@pytest.fixture(scope="module")
def address(stores: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    served = Served(tmp_path_factory.mktemp("page") / "page", [open_view(store) for store in stores])
    yield served.address
    served.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as opened:
        yield opened


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A new visitor's, which has not met an error when it is closed."""
    with visitor(browser, 1000, 640, seconds=10, reduced_motion="reduce") as opened:
        yield opened


def visit(page: Any, address: str, **link: object) -> None:
    """Open the page, at a link, and wait until all of it is there."""
    page.goto(f"{address}#{urlencode(link)}")
    page.wait_for_selector("body[data-milliseconds]")
    page.wait_for_function("document.querySelectorAll('#windows img[src]').length > 0")
    page.wait_for_function("[...document.querySelectorAll('#windows img')].every((image) => image.naturalWidth)")


def link_of(page: Any) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(page.url.partition("#")[2]).items()}


def written(value: float) -> str:
    return f"{round(float(value), 2) + 0.0:+.2f}".replace("-", "\N{MINUS SIGN}")


def shot(page: Any) -> NDArray[np.int64]:
    """(h, w, 3): what is seen of the slide."""
    return np.asarray(Image.open(BytesIO(page.locator("#stage").screenshot())).convert("RGB")).astype(np.int64)


def set_range(page: Any, selector: str, value: int) -> None:
    page.evaluate(
        """([selector, value]) => {
            const input = document.querySelector(selector);
            input.value = value;
            input.dispatchEvent(new Event('input'));
            input.dispatchEvent(new Event('change'));
        }""",
        [selector, value],
    )


def look(page: Any, **link: object) -> None:
    """Follow another link on the page that is open, and wait until all is drawn."""
    words = urlencode(link)
    page.evaluate("words => { delete document.body.dataset.milliseconds; location.hash = words; }", words)
    page.wait_for_selector("body[data-milliseconds]")


def where_red_is(page: Any, zoom: float) -> tuple[float, float]:
    """Left and top of the red square on the screen: by looking for it."""
    red = (np.abs(shot(page) - (255, 0, 0)) < 40).all(2)
    rows, columns = np.nonzero(red)
    width, height = columns.max() + 1 - columns.min(), rows.max() + 1 - rows.min()
    assert abs(width - zoom * SIZE) <= 1 >= abs(height - zoom * SIZE)
    return float(columns.min()), float(rows.min())


def test_the_slide_its_classes_and_windows_are_shown(page: Any, address: str, view: View) -> None:
    visit(page, address)
    assert "made.tif, 900 \N{MULTIPLICATION SIGN} 640 pixels" in page.inner_text("#model")
    logits = dict(zip(("red", "dark"), view.slide.logits, strict=True))
    best = max(logits, key=lambda name: logits[name])
    assert page.inner_text("#answer") == best == "red"
    assert written(logits[best]) in page.inner_text("#adds-up")
    shown = [line.split("\n") for line in page.locator("#classes li").all_inner_texts()]
    assert shown == [[name, written(logit)] for name, logit in sorted(logits.items(), key=lambda each: -each[1])]
    assert page.inner_text("#skipped") == f"skipped: white all over ({view.skipped_cells:,} windows)"
    assert page.inner_text("#missing") == f"missing: could not be read ({view.missing_cells:,} windows)"
    assert page.inner_text("#length") == "50 µm"
    lengths = page.evaluate("import('./length.js').then((module) => [2.5, 1500, 2e6, 3.2e9].map(module.lengthInWords))")
    assert lengths == ["2.5 µm", "1.5 mm", "2 m", "3.2 km"]
    assert page.locator("#windows button >> nth=0").inner_text() == "+8.00"
    page.click("#classes button:not([aria-pressed=true])")
    strongest = written(float(np.nanmax(view.slide.map("dark"))))
    page.wait_for_function("text => document.querySelector('#windows button').textContent === text", arg=strongest)
    assert page.inner_text("#answer") == "dark"
    assert page.locator("#classes [aria-pressed=true]").inner_text().startswith("dark")
    assert link_of(page)["class"] == "dark"


def test_a_window_is_flown_to_hovered_and_stepped_from(page: Any, address: str, view: View) -> None:
    visit(page, address, **{"class": "red"})
    row, column = (each // STRIDE for each in RED)
    page.click("#windows button >> nth=0")
    page.wait_for_function("document.querySelector('#window').textContent.includes('+8.00')")
    text = page.inner_text("#window")
    assert f"in row {row + 1} of 313, column {column + 1} of 443 says +8.00 to red" in text
    assert "Pixels 200 to 216 across, 100 to 116 down; its centre is at 104, 54 µm" in text
    assert (link_of(page)["x"], link_of(page)["y"]) == ("208", "108")
    assert link_of(page)["window"] == f"{row},{column}"
    page.focus("#stage .openseadragon-canvas >> nth=0")
    for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    value = written(float(view.slide.map("red")[row + 1, column + 2]))
    page.wait_for_function("row => document.querySelector('#window').textContent.includes(`row ${row} `)", arg=row + 2)
    page.wait_for_function(
        "column => document.querySelector('#window').textContent.includes(`column ${column} `)", arg=column + 3
    )
    assert f"says {value} to red" in page.inner_text("#window")


def test_the_map_lies_on_the_pixels(page: Any, address: str, stores: tuple[Path, Path]) -> None:
    """Where the red square is on the screen says where each cell should be; there is its colour, and there it is hovered."""
    visit(page, address)
    for slide, zoom in ((0, 8), (0, 5.3), (0, 2.7), (1, 5.3)):
        look(page, slide=slide, **{"class": "red"}, x=210, y=105, zoom=zoom, limit=0.5, grey=0, opacity=0)
        values = open_view(stores[slide]).slide.map("red")
        step = 2**slide  # pixels of the largest level in one of the level that was seen
        left, top = where_red_is(page, zoom)
        set_range(page, "#opacity", 100)
        page.wait_for_timeout(100)
        seen = shot(page)
        signs = set()
        for row, column in np.argwhere(np.abs(values) > 0.43):  # what says little lets the image through
            x, y = (step * (STRIDE * cell + (SIZE - STRIDE) // 2) for cell in (column, row))
            edge = 1.6 / zoom  # pixels of the screen: half of one is lost where it is looked for, and half where it is drawn
            for at_x in (x + edge, x + step * STRIDE - edge):
                for at_y in (y + edge, y + step * STRIDE - edge):
                    where = round(top + (at_y - RED[0]) * zoom - 0.5), round(left + (at_x - RED[1]) * zoom - 0.5)
                    if 0 <= where[0] < seen.shape[0] and 0 <= where[1] < seen.shape[1]:
                        red, _, blue = seen[where]
                        assert np.sign(red - blue) == np.sign(values[row, column]), (slide, zoom, row, column)
                        signs.add((row, column, np.sign(red - blue)))
        assert min(sum(sign == wanted for *_, sign in signs) for wanted in (1, -1)) > 60 / step**2
        frame = page.locator("#stage").bounding_box()
        page.mouse.move(frame["x"] + left + zoom * SIZE / 2, frame["y"] + top + zoom * SIZE / 2)
        row, column = (round((each + SIZE / 2 - step * SIZE / 2) / (step * STRIDE)) for each in RED)
        words = (
            f"row {row + 1} of {values.shape[0]}, column {column + 1} of {values.shape[1]} says {written(values[row, column])}"
        )
        page.wait_for_function("words => document.querySelector('#window').textContent.includes(words)", arg=words)


def test_from_far_squares_are_means_and_windows_keep_their_logits(page: Any, address: str, view: View) -> None:
    page.set_viewport_size({"width": 360, "height": 420})
    visit(page, address, **{"class": "red"})
    assert "each square is the mean of 2 \N{MULTIPLICATION SIGN} 2 windows" in page.inner_text("#pooled")
    page.focus("#stage .openseadragon-canvas >> nth=0")
    page.keyboard.press("ArrowDown")
    page.wait_for_function("document.querySelector('#window').textContent.includes('says')")
    row, column = (int(number) - 1 for number in re.findall(r"(?:row|column) (\d+)", page.inner_text("#window")))
    assert f"says {written(float(view.slide.map('red')[row, column]))} to red" in page.inner_text("#window")
    for _ in range(8):
        page.keyboard.press("+")
    page.wait_for_function("document.querySelector('#pooled').textContent === ''")
    page.keyboard.press("0")
    page.wait_for_function("document.querySelector('#pooled').textContent !== ''")


def test_what_says_nothing_is_hatched_and_said(page: Any, address: str, view: View) -> None:
    visit(page, address)
    colours = []
    for (row, column), words in (
        ((100, 400), "was skipped: its tile is white all over"),
        ((BROKEN[0].start // STRIDE, BROKEN[1].start // STRIDE), "is missing: its pixels could not be read"),
        ((0, 313), "says"),
    ):
        look(page, x=STRIDE * column + 8, y=STRIDE * row + 8, zoom=20, window=f"{row},{column}", opacity=100, grey=0)
        page.wait_for_function("words => document.querySelector('#window').textContent.includes(words)", arg=words)
        seen = shot(page)
        middle, centre = seen.shape[0] // 2, seen.shape[1] // 2
        colours.append(seen[middle + 30 : middle + 90, centre + 30 : centre + 110].reshape(-1, 3))
    skipped, missing, silent = colours
    assert abs(skipped.mean(0)[0] - skipped.mean(0)[2]) < 20, "grey lines"
    assert missing.mean(0)[0] - missing.mean(0)[2] > 40, "black lines on yellow"
    assert skipped.std(0).min() > 10 < missing.std(0).min()
    assert len(np.unique(silent, axis=0)) < 30, "a white image and logits, without lines"
    assert abs(view.slide.map("red")[0, 313]) < 1e-5


def test_a_link_brings_all_back(page: Any, address: str) -> None:
    visit(page, address, slide=1, **{"class": "dark"}, x=300, y=200, zoom=2.5, limit=2, opacity=40, grey=0, window="20,30")
    expected = {"slide": "1", "class": "dark", "x": "300", "y": "200", "zoom": "2.5", "limit": "2", "opacity": "40", "grey": "0"}
    assert link_of(page) == {**expected, "window": "20,30"}
    assert page.input_value("#opacity") == "40"
    assert not page.is_checked("#grey")
    page.select_option("#slide", "0")
    page.wait_for_function("location.hash.includes('slide=0')")
    assert page.inner_text("#answer") == "dark"
    page.evaluate("hash => { location.hash = hash; }", urlencode({**expected, "class": "red", "zoom": 4}))
    page.wait_for_function("document.querySelector('#answer').textContent === 'red' && location.hash.includes('zoom=4')")
    assert link_of(page) == {**expected, "class": "red", "zoom": "4"}
    page.evaluate("location.hash = 'slide=7&class=zebra'")
    page.wait_for_selector("#error:not([hidden])")
    assert "the link asks for zebra, of which this slide has no map" in page.inner_text("#error")
    page.keyboard.press("Escape")
    assert page.locator("#error").is_hidden()


def test_by_keyboard_alone(page: Any, address: str) -> None:
    visit(page, address)
    seen = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.id || document.activeElement.className || document.activeElement.tagName"))
    assert {"slide", "theme", "openseadragon-canvas", "nearer", "farther", "whole", "scale", "opacity", "grey", "link"} <= seen
    before = link_of(page)
    page.focus("#stage .openseadragon-canvas >> nth=0")
    page.keyboard.press("+")
    page.wait_for_function("zoom => !location.hash.includes(`zoom=${zoom}&`)", arg=before["zoom"])
    nearer = link_of(page)
    page.keyboard.press("Shift+ArrowRight")
    page.wait_for_function("x => !location.hash.includes(`x=${x}&`)", arg=nearer["x"])
    assert float(link_of(page)["x"]) > float(nearer["x"])
    page.focus("#classes button >> nth=1")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelectorAll('#classes button')[1].getAttribute('aria-pressed') === 'true'")
    assert page.evaluate("document.activeElement.closest('#classes') !== null"), "the focus stays"


@pytest.mark.parametrize(("theme", "width"), [("light", 1200), ("dark", 360)])
def test_nobody_is_kept_out(page: Any, address: str, theme: str, width: int) -> None:
    """No rule of axe-core is broken, and nothing is wider than the screen of a phone."""
    script = MODULES / "axe-core" / "axe.min.js"
    page.emulate_media(color_scheme=theme)
    page.set_viewport_size({"width": width, "height": 740})
    visit(page, address, window="3,4")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate(script.read_text(encoding="utf-8"))
    for _ in range(2):
        broken = page.evaluate("axe.run().then(({ violations }) => violations.map((v) => [v.id, v.nodes[0].html]))")
        assert broken == []
        page.click("#theme")


def test_the_token_is_asked_for_and_shown_with_every_tile(
    browser: Any, stores: tuple[Path, Path], tmp_path: Path, address: str
) -> None:
    served = Served(tmp_path / "page", [open_view(stores[0])], TOKEN)
    answers, asked = ["wrong", TOKEN], []

    def answer(dialog: Any) -> None:
        asked.append(dialog.message)
        dialog.accept(answers[len(asked) - 1])

    with browser.new_context() as context:
        page = context.new_page()
        page.on("dialog", answer)
        visit(page, served.address)
        assert page.locator("#error").is_hidden()
        served.stop()
        page.click("#classes button >> nth=1")
        page.wait_for_selector("#error:not([hidden])")
        assert "the service does not answer" in page.inner_text("#error")
    assert len(asked) == 2
    assert "does not know" in asked[1]
