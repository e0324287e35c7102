"""The viewer in a notebook's cell: what the kernel's side holds and answers; and both sides together, in a browser."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bagnet
from bagnet.data.transforms import Preprocessing
from bagnet.model import BagNet

from .browser import launched, needs_browser, visitor
from .conftest import picture

pytest.importorskip("anywidget")


def ask(viewer: Any, pixels: np.ndarray[Any, Any]) -> tuple[dict[str, Any], list[bytes]]:
    """What the kernel answers to pixels of the page."""
    sent: list[Any] = []
    viewer.send = lambda content, buffers=None: sent.append((content, buffers))
    height, width = pixels.shape[:2]
    viewer.answer(viewer, {"id": "7", "width": width, "height": height}, [memoryview(pixels.tobytes())])
    return sent[0]  # type: ignore[no-any-return]


def test_the_page_is_given_the_evidence_and_the_networks_pixels(model: BagNet) -> None:
    evidence = bagnet.explain(model, picture())
    viewer = evidence.widget(model)
    np.testing.assert_array_equal(np.frombuffer(viewer.values, "<f4").reshape(evidence.values.shape), evidence.values)
    pixels = np.frombuffer(viewer.pixels, np.uint8).reshape(*evidence.placement.input_size, 3)
    np.testing.assert_array_equal(pixels, np.asarray(model.transform._resized_and_cropped(evidence.image)))
    shown = viewer.about["shown"]
    assert (shown["rows"], shown["columns"], shown["classes"]) == evidence.values.shape[1:] + evidence.values.shape[:1]
    assert viewer.about["classes"] == ["ape", "bee", "cow", "dog", "elk"]
    assert "<script" not in viewer.page
    assert "--ink" in viewer.page
    assert json.dumps([viewer.about, viewer.files])


def test_without_the_model_the_pixels_are_the_same(model: BagNet) -> None:
    evidence = bagnet.explain(model, picture(90, 70))
    assert evidence.widget().pixels == evidence.widget(model).pixels


def test_the_kernel_looks_at_pixels(model: BagNet) -> None:
    evidence = bagnet.explain(model, picture())
    edited = np.random.default_rng(3).integers(0, 256, (25, 33, 3), dtype=np.uint8)
    content, buffers = ask(evidence.widget(model), edited)
    as_it_is = replace(model.card, preprocessing=Preprocessing(None, None)) if model.card else None
    model.card = as_it_is
    expected = bagnet.explain(model, edited)
    assert content == {"id": "7", "shape": list(expected.values.shape)}
    np.testing.assert_array_equal(np.frombuffer(buffers[0], "<f4"), expected.values.ravel())
    np.testing.assert_array_equal(np.frombuffer(buffers[1], "<f4"), expected.logits)


def test_what_cannot_be_looked_at_is_told(model: BagNet) -> None:
    evidence = bagnet.explain(model, picture())
    small = np.zeros((4, 4, 3), np.uint8)
    assert "ev.widget(model)" in ask(evidence.widget(), small)[0]["error"]
    content, buffers = ask(evidence.widget(model), small)
    assert content["id"] == "7"
    assert "\n" not in content["error"]
    assert buffers == []


def test_a_model_that_it_is_not_of_is_refused(model: BagNet) -> None:
    evidence = bagnet.explain(model, picture())
    with pytest.raises(ValueError, match="windows or classes are not those"):
        evidence.widget(bagnet.load("bagnet9s4.tiny_in200"))
    assert model.card is not None
    model.card = replace(model.card, preprocessing=Preprocessing(60, 48))
    with pytest.raises(ValueError, match="prepared otherwise"):
        evidence.widget(model)


def test_a_missing_package_is_named(model: BagNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(ImportError, match=r"pip install 'bagnet\[notebook\]'"):
        bagnet.explain(model, picture()).widget()


def test_it_needs_no_service(model: BagNet) -> None:
    code = (
        "import sys, bagnet.serve.widget, bagnet.serve.web; assert not {'fastapi', 'starlette', 'anywidget'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


HOST = """<!doctype html><title>cell</title><div id="cell"></div><script type="module">
const floats = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
const state = await window.state();
const heard = [];
const model = {
  get: (name) => (['pixels', 'values'].includes(name) ? floats(state[name]) : state[name]),
  on: (_, listener) => heard.push(listener),
  off() {},
  async send(content, _, [buffer]) {
    const [answer, buffers] = await window.kernel(content, btoa(String.fromCharCode(...new Uint8Array(buffer))));
    heard.forEach((listener) => listener(answer, buffers.map(floats)));
  },
};
const { default: widget } = await import(URL.createObjectURL(new Blob([state._esm], { type: 'text/javascript' })));
widget.render({ model, el: document.getElementById('cell') });
</script>"""


@pytest.fixture
def frame(model: BagNet, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The page in a cell, its kernel the test's own process."""
    viewer = bagnet.explain(model, picture(40, 40)).widget(model if request.param else None)

    def kernel(content: dict[str, Any], pixels: str) -> Any:
        sent: list[Any] = []
        viewer.send = lambda answer, buffers=None: sent.append((answer, [b64encode(part).decode() for part in buffers or ()]))
        viewer.answer(viewer, content, [b64decode(pixels)])
        return sent[0]

    def state() -> dict[str, Any]:
        state = {key: value for key, value in viewer.get_state().items() if isinstance(value, str | int | dict)}
        return {**state, **{name: b64encode(getattr(viewer, name)).decode() for name in ("pixels", "values")}}

    with launched() as browser, visitor(browser, 1100, 950) as page:
        page.expose_function("kernel", kernel)
        page.expose_function("state", state)
        page.route("http://cell.test/", lambda route: route.fulfill(body=HOST, content_type="text/html"))
        page.goto("http://cell.test/")
        page.wait_for_selector("iframe")
        opened = page.frames[1]
        opened.wait_for_selector("body[data-ready]")
        yield opened


@needs_browser
@pytest.mark.parametrize("frame", [True], indirect=True)
def test_a_visitor_of_the_cell_erases_and_opens_another(frame: Any, model: BagNet) -> None:
    evidence = bagnet.explain(model, picture(40, 40))
    assert frame.inner_text("#answer") == evidence.top(1)[0].name
    frame.click("[data-mode=erase]")
    frame.locator(".stage canvas").click(position={"x": 100, "y": 100})
    frame.wait_for_function("!document.querySelector('#undo').disabled")
    with frame.page.expect_download() as download:
        frame.click("#save-json")
    record = json.loads(Path(download.value.path()).read_text())
    (edit,) = record["edits"]
    edited = np.asarray(Image.open(BytesIO(picture(40, 40))).convert("RGB")).copy()
    hole = edit["box"]
    edited[hole["top"] : hole["bottom"], hole["left"] : hole["right"]] = [round(255 * mean) for mean in model.transform.mean]
    expected = bagnet.explain(model, edited).map(record["shown"]["class"])
    np.testing.assert_allclose(record["map"], expected, atol=1e-4)
    frame.set_input_files("#second", {"name": "two.png", "mimeType": "image/png", "buffer": picture(60, 50)})
    frame.wait_for_function("document.querySelectorAll('.stage').length === 2")
    assert bagnet.explain(model, picture(60, 50)).top(1)[0].name in frame.locator(".stage p").last.inner_text()


@needs_browser
@pytest.mark.parametrize("frame", [False], indirect=True)
def test_without_a_network_the_cell_only_shows(frame: Any) -> None:
    assert frame.locator(".stage").count() == 1
    assert not frame.locator("[data-mode=erase]").is_visible()
    assert not frame.locator("#another").is_visible()
    frame.locator("#classes button").nth(1).click()
    assert frame.inner_text("#answer") == frame.locator("#classes button[aria-pressed=true] span").first.inner_text()
