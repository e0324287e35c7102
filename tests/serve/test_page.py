"""The viewer page in a browser, with the network in the page and with a service behind it: what visitors do, and what they see.

Needs Debian's Chromium and, for the network in the page, the npm package onnxruntime-web: `make browser` brings both.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

import bagnet
from bagnet.data.transforms import Preprocessing
from bagnet.model import BagNet
from bagnet.serve.web import ONNXRUNTIME_WEB, export_web
from bagnet.zoo.load import create

from ..conftest import randomised
from .browser import NEEDS_BROWSER, launched, visitor
from .conftest import picture

pytest.importorskip("playwright.sync_api")
MODULES = Path(__file__).parents[2] / "node_modules"
pytestmark = NEEDS_BROWSER
WORDS = ("ape", "bee", "cow", "dog", "elk")


@pytest.fixture(scope="module")
def network() -> BagNet:
    """Windows of 17 pixels every 8, of whole photographs whose shorter side is scaled to 56, and scans of 12 bits."""
    torch.manual_seed(0)
    model = randomised(create(kernel3=(1, 1, 1, 0), layers=(1, 1, 1, 1), width=4, classes=WORDS)).eval()
    assert model.card is not None
    model.card = replace(model.card, name="small.test", preprocessing=Preprocessing(56, None, grey=(0, 4095)))
    return model


class Quiet(SimpleHTTPRequestHandler):
    """A web server without a log, which knows what a module is."""

    extensions_map: ClassVar = {**SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript", ".js": "text/javascript"}

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module", params=["page", "service"])
def address(request: pytest.FixtureRequest, network: BagNet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of the page, with the network in it or behind it."""
    folder = tmp_path_factory.mktemp("page")
    if request.param == "page":
        if not (MODULES / ONNXRUNTIME_WEB.name).is_dir():
            pytest.skip("needs the npm package onnxruntime-web: make browser")
        pytest.importorskip("onnxruntime")
        site, _ = export_web(network, folder / "site", MODULES / ONNXRUNTIME_WEB.name)
        with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_address[1]}/"
            server.shutdown()
        return
    network.save(folder / "small.safetensors")
    words = ["serve", "--model", str(folder / "small.safetensors"), "--port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "bagnet", *words], stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        yield process.stderr.readline().split()[-1]
        process.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with launched() as opened:
        yield opened


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    """A new visitor's, which has not met an error when it is closed."""
    with visitor(browser, 1200, 800) as opened:
        opened.goto(address)
        opened.wait_for_selector("body[data-ready]")
        yield opened


def upload(page: Any, content: bytes, name: str = "noise.png", into: str = "#file") -> None:
    """Choose a file, and wait until it is explained."""
    shown = page.locator(".stage").count()
    page.set_input_files(into, {"name": name, "mimeType": "image/png", "buffer": content})
    page.wait_for_function("n => document.querySelectorAll('.stage').length === n", arg=shown + 1 if into == "#second" else 1)
    page.wait_for_function("name => document.querySelector('#stages').textContent.includes(name)", arg=name)


def saved(page: Any) -> Any:
    """What the page says of itself, as the file that it saves."""
    with page.expect_download() as download:
        page.click("#save-json")
    return json.loads(Path(download.value.path()).read_text())


def logits_of(record: Any) -> dict[str, float]:
    return {entry["name"]: entry["logit"] for entry in record["top"]}


def assert_same(record: Any, expected: bagnet.Evidence) -> None:
    largest = float(np.abs(expected.values).max())
    for name, logit in logits_of(record).items():
        assert logit == pytest.approx(expected.prediction(name).logit, abs=1e-5 * largest)
    values = expected.map(record["shown"]["class"])
    np.testing.assert_allclose(record["map"], values, atol=1e-5 * np.abs(expected.values).max())
    assert np.mean(record["map"]) == pytest.approx(logits_of(record)[record["shown"]["class"]], abs=1e-5 * largest)


@pytest.mark.parametrize("size", [(90, 70), (60, 110), (56, 56)])
def test_the_page_says_what_the_library_says(page: Any, network: BagNet, size: tuple[int, int]) -> None:
    content = picture(*size)
    upload(page, content)
    expected = bagnet.explain(network, content)
    record = saved(page)
    assert_same(record, expected)
    assert record["top"][0]["name"] == expected.top(1)[0].name == page.inner_text("#answer")
    assert record["top"][0]["probability"] == pytest.approx(expected.top(1)[0].probability, abs=1e-5)
    assert f"{expected.values[0].size} windows say" in page.inner_text("#adds-up")


def test_classes_are_switched_searched_and_compared(page: Any, network: BagNet) -> None:
    content = picture()
    upload(page, content)
    expected = bagnet.explain(network, content)
    last = expected.top(5)[-1].name
    page.fill("#search", last[:2].upper())
    assert page.locator("#classes button").count() == 1
    page.click("#classes button")
    assert page.inner_text("#answer") == last
    assert_same(saved(page), expected)
    rival = expected.top(1)[0].name
    page.select_option("#versus", label=rival)
    assert page.inner_text("#answer") == f"{last} and not {rival}"
    np.testing.assert_allclose(saved(page)["map"], expected.difference(last, rival), atol=1e-4)
    page.fill("#search", "zebra")
    assert page.inner_text("#classes") == "no class has these letters"


def test_a_window_is_looked_at_by_pointer_and_by_keys(page: Any, network: BagNet) -> None:
    content = picture(70, 70)
    upload(page, content)
    evidence = bagnet.explain(network, content)
    box = page.locator(".stage canvas").bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    assert "in row 1 of 5, column 1 of 5" in page.inner_text("#window")
    page.focus(".stage canvas")
    for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    best = evidence.top(1)[0]
    value = f"{evidence.map(best.index)[1, 2]:+.2f}".replace("-", "\N{MINUS SIGN}")
    assert f"in row 2 of 5, column 3 of 5 says {value} to {best.name}" in page.inner_text("#window")
    page.click("#windows button >> nth=0")
    strongest = evidence.windows(best.index, 1)[0]
    assert f"in row {strongest.row + 1} of 5, column {strongest.column + 1} of 5" in page.inner_text("#window")


def test_what_is_erased_is_looked_at_again_and_comes_back(page: Any, network: BagNet) -> None:
    content = picture(56, 56)  # whose pixels are those of the network's input
    upload(page, content)
    before = saved(page)
    for mode in ("erase", "sticker"):
        page.click(f"[data-mode={mode}]")
        box = page.locator(".stage canvas").bounding_box()
        page.mouse.click(box["x"] + 0.4 * box["width"], box["y"] + 0.6 * box["height"])
        page.wait_for_function("!document.querySelector('#undo').disabled && document.querySelector('#status').textContent")
        after = saved(page)
        if mode == "erase":
            edited = np.asarray(Image.open(BytesIO(content)).convert("RGB")).copy()
            (edit,) = after["edits"]
            hole = edit["box"]
            edited[hole["top"] : hole["bottom"], hole["left"] : hole["right"]] = [round(255 * m) for m in network.transform.mean]
            assert_same(after, bagnet.explain(network, edited))
        assert after["map"] != before["map"]
        page.click("#undo")
        page.wait_for_function("document.querySelector('#undo').disabled")
        assert saved(page) == before


def test_the_certificate_is_the_librarys(page: Any, network: BagNet) -> None:
    content = picture(90, 70)
    upload(page, content)
    for share in ("0.01", "0.04"):
        page.select_option("#patch", share)
        expected = bagnet.certify(network, content, f"{100 * float(share):g}%")
        assert page.inner_text("#verdict") == ("certified" if expected.certified else "not certified")
        proof = saved(page)["certificate"]
        assert proof["margin"] == pytest.approx(expected.margin, abs=1e-4)
        assert (proof["label"], proof["rival"]) == (expected.name, expected.rival)
    page.click("#worst")
    assert page.get_attribute("#worst", "aria-pressed") == "true"


def test_two_photographs_have_one_scale(page: Any, network: BagNet) -> None:
    upload(page, picture(seed=1), "one.png")
    upload(page, picture(seed=2), "two.png", "#second")
    assert page.locator(".stage").count() == 2
    assert_same(saved(page), bagnet.explain(network, picture(seed=2)))
    page.locator(".stage canvas").first.click()
    record = saved(page)
    assert record["photograph"] == "one.png"
    assert_same(record, bagnet.explain(network, picture(seed=1)))


def test_bad_files_are_told(page: Any) -> None:
    page.set_input_files("#file", {"name": "notes.txt", "mimeType": "image/png", "buffer": b"not an image"})
    page.wait_for_selector("#error:not([hidden])")
    assert "no image that this browser can read" in page.inner_text("#error")
    upload(page, picture())
    assert page.locator("#error").is_hidden()


def test_levels_that_the_browser_would_round_off_are_refused(page: Any) -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((60, 60), 1000, np.uint16)).save(file, "PNG")
    page.set_input_files("#file", {"name": "scan.png", "mimeType": "image/png", "buffer": file.getvalue()})
    page.wait_for_selector("#error:not([hidden])")
    assert "for this model level 0 is black and 4095 white" in page.inner_text("#error")


@pytest.mark.parametrize(("size", "reason"), [((6, 6), "too small"), ((30_000, 7), "crop it to a squarer shape")])
def test_what_the_service_refuses_the_page_refuses(page: Any, size: tuple[int, int], reason: str) -> None:
    page.set_input_files("#file", {"name": "odd.png", "mimeType": "image/png", "buffer": picture(*size)})
    page.wait_for_selector("#error:not([hidden])")
    assert reason in page.inner_text("#error")
    page.keyboard.press("Escape")
    assert page.locator("#error").is_hidden()


def test_two_files_that_are_dropped_are_compared(page: Any, network: BagNet) -> None:
    contents = [list(picture(seed=seed)) for seed in range(3)]
    page.evaluate(
        """contents => {
            const dataTransfer = new DataTransfer();
            contents.forEach((content, seed) => dataTransfer.items.add(new File([new Uint8Array(content)], `${seed}.png`)));
            dispatchEvent(new DragEvent('drop', { dataTransfer, cancelable: true }));
        }""",
        contents,
    )
    page.wait_for_function("document.querySelector('#status').textContent.includes('left out')")
    assert page.locator(".stage").count() == 2
    assert page.locator(".stage.active").inner_text().startswith("1.png")
    assert_same(saved(page), bagnet.explain(network, picture(seed=1)))


def test_a_stroke_that_nobody_waits_for_stops_no_other(page: Any) -> None:
    upload(page, picture())
    page.click("[data-mode=look]")
    page.locator(".stage canvas").click()
    hint = "Point at the photograph"
    assert hint not in page.inner_text("#window")
    page.click("[data-mode=erase]")
    page.evaluate(
        """() => {
            const canvas = document.querySelector('.stage canvas');
            canvas.setPointerCapture = () => {}; // there is no such pointer
            const { left, top } = canvas.getBoundingClientRect();
            canvas.dispatchEvent(new PointerEvent('pointerdown', { clientX: left + 50, clientY: top + 50 }));
            document.querySelector('#another').click();
        }"""
    )
    upload(page, picture(seed=1), "next.png")
    assert hint in page.inner_text("#window")
    page.locator(".stage canvas").click()
    page.wait_for_function("!document.querySelector('#undo').disabled")


def test_a_sticker_is_dragged(page: Any) -> None:
    upload(page, picture())
    page.click("[data-mode=sticker]")
    canvas = page.locator(".stage canvas")
    box = canvas.bounding_box()
    scale = saved(page)["input"]["width"] / box["width"]
    there = f"location.hash.endsWith('edit=sticker%2C{round(300 * scale)}%2C{round(200 * scale)}%2C6')"
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 300, box["y"] + 200, steps=20)
    page.mouse.up()
    page.wait_for_function(there)
    dragged = saved(page)
    page.click("#undo")
    page.wait_for_function("document.querySelector('#undo').disabled")
    canvas.click(position={"x": 300, "y": 200})
    page.wait_for_function(there)
    assert saved(page) == dragged
    assert [edit["mode"] for edit in dragged["edits"]] == ["sticker"]


def test_a_link_brings_all_back(page: Any, browser: Any) -> None:
    page.click("#samples button >> nth=0")
    page.wait_for_selector("#panel:not([hidden])")
    page.locator("#classes button").nth(1).click()
    page.fill("#opacity", "40")
    page.fill("#brush", "9")  # an odd number of pixels, about positions between them
    page.click("[data-mode=erase]")
    for stroke, x in enumerate((90, 203, 311), 1):
        page.locator(".stage canvas").click(position={"x": x, "y": x - 20})
        page.wait_for_function("n => (location.hash.match(/edit=/g) ?? []).length === n", arg=stroke)
    expected, link = saved(page), page.url
    with browser.new_context() as context:
        again = context.new_page()
        again.goto(link)
        again.wait_for_selector("body[data-ready]")
        assert saved(again) == expected
        assert again.input_value("#opacity") == "40"
        again.click("#another")
        again.goto(link)  # the same page, which is not loaded anew
        again.wait_for_selector("#panel:not([hidden])")
        again.wait_for_function("hash => location.hash === hash", arg=link[link.index("#") :])
        assert saved(again) == expected


def test_by_keyboard_alone(page: Any) -> None:
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#samples') !== null"):
            break
    page.keyboard.press("Enter")
    page.wait_for_selector("#panel:not([hidden])")
    seen = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.add(
            page.evaluate("document.activeElement.id || document.activeElement.dataset.mode || document.activeElement.tagName")
        )
    assert {"look", "erase", "sticker", "CANVAS", "brush", "opacity", "search", "versus", "save-picture", "save-json"} <= seen
    page.focus("[data-mode=erase]")
    page.keyboard.press("Enter")
    page.focus(".stage canvas")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_function("!document.querySelector('#undo').disabled")
    page.keyboard.press("Control+z")
    page.wait_for_function("document.querySelector('#undo').disabled")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_nobody_is_kept_out(page: Any, theme: str, width: int) -> None:
    """No rule of axe-core is broken, and nothing is wider than the screen of a phone."""
    script = MODULES / "axe-core" / "axe.min.js"
    page.emulate_media(color_scheme=theme)
    page.set_viewport_size({"width": width, "height": 740})
    for open_first in (False, True):
        if open_first:
            upload(page, picture())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if script.is_file():
            page.evaluate(script.read_text(encoding="utf-8"))
            broken = page.evaluate("axe.run().then(({ violations }) => violations.map((v) => [v.id, v.nodes[0].html]))")
            assert broken == []


def test_light_and_dark(page: Any) -> None:
    def ground() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    first = ground()
    page.click("#theme")
    assert ground() != first
    page.click("#theme")
    assert ground() == first


def test_the_picture_is_saved(page: Any, tmp_path: Path) -> None:
    upload(page, picture(90, 70))
    with page.expect_download() as download:
        page.click("#save-picture")
    assert download.value.suggested_filename == "noise.why.png"
    with Image.open(download.value.path()) as image:
        assert image.size == (9 * 72, 9 * 56)  # enlarged, so that its lines are fine


def test_a_token_that_is_wrong_is_asked_for_again(browser: Any, network: BagNet, tmp_path: Path) -> None:
    network.save(tmp_path / "small.safetensors")
    words = ["serve", "--model", str(tmp_path / "small.safetensors"), "--port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "BAGNET_TOKEN": "secret"}
    answers, asked = ["wr€ng", "wrong", "secret"], []

    def answer(dialog: Any) -> None:
        asked.append(dialog.message)
        dialog.accept(answers[len(asked) - 1])

    with (
        subprocess.Popen([sys.executable, "-m", "bagnet", *words], stderr=subprocess.PIPE, text=True, env=environment) as process,
        browser.new_context() as context,
    ):
        assert process.stderr is not None
        page = context.new_page()
        page.on("dialog", answer)
        page.goto(process.stderr.readline().split()[-1])
        page.wait_for_selector("body[data-ready]")
        upload(page, picture())
        assert_same(saved(page), bagnet.explain(network, picture()))
        page.reload()
        page.wait_for_selector("body[data-ready]")
        process.kill()
    assert [message.split()[1] for message in asked] == ["service", "service", "service"]
    assert "does not know" in asked[1]
