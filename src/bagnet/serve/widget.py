"""The viewer in a notebook's cell: the page, with the evidence in it and the kernel behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..data.transforms import Preprocessing
from ..engine.classifier import Classifier, check_loaded
from ..evidence import Evidence
from ..evidence.explain import explain_batch, take
from ..figures.colours import ANCHORS
from ..figures.page import render
from ..geometry import Axis, Placement
from ..missing import needs
from .limits import Limits
from .web import PAGE, STYLE, height_first

_HOST = Path(__file__).parent / "widget.js"
_NOT_IN_A_CELL = ("worker.js", "isolate.js")  # the network is not in the page
_FILTERS = {1: "bilinear", 2: "bicubic", 3: "lanczos"}  # by their radius


def widget(evidence: Evidence, model: Classifier | None = None, height: int = 900) -> Any:
    """An `anywidget` that shows the viewer page with some evidence.

    Args:
        evidence: to show.
        model: whose evidence it is, for looking again at what a visitor erases and for other photographs; without it the page
            only shows.
        height: of the cell, in pixels of the screen.

    Raises:
        ImportError: anywidget is missing; the message has the pip command.
        ValueError: the evidence is not of this model, or of an image that this model prepares otherwise.
        TypeError: the model is the name of one.
    """
    anywidget, traitlets = needs("anywidget", "notebook"), needs("traitlets", "notebook")
    if model is not None:
        check_loaded(model)
        _check(evidence, model)

    class Viewer(anywidget.AnyWidget):  # type: ignore[misc, name-defined]  # the base class is known where it is installed
        """The page's text and what it shows; `answer` is asked by the page."""

        _esm = _HOST.read_text(encoding="utf-8")
        page = traitlets.Unicode(_page()).tag(sync=True)
        files = traitlets.Dict(_modules()).tag(sync=True)
        about = traitlets.Dict(_about(evidence, model)).tag(sync=True)
        pixels = traitlets.Bytes(_pixels(evidence, model).tobytes()).tag(sync=True)
        values = traitlets.Bytes(np.ascontiguousarray(evidence.values, "<f4").tobytes()).tag(sync=True)
        height = traitlets.Int(900).tag(sync=True)

        def answer(self, _: Any, content: dict[str, Any], buffers: Sequence[Any]) -> None:
            """Look at pixels that the page sends."""
            said = _answer(evidence, model, content, buffers)
            self.send(*said)

    viewer = Viewer(height=height)
    viewer.on_msg(viewer.answer)
    return viewer


def _check(evidence: Evidence, model: Classifier) -> None:
    """Refuse a model whose windows on this image would be others."""
    if model.geometry != evidence.geometry or not evidence.indices_among(model.classes):
        raise ValueError(f"the evidence is of {evidence.model}, whose windows or classes are not those of this model")
    seen = model.transform.placement(evidence.image.size)
    if (seen.horizontal, seen.vertical) != (evidence.placement.horizontal, evidence.placement.vertical):
        raise ValueError("the evidence is of an image prepared otherwise than this model prepares it: show it without the model")


def _page() -> str:
    """The page without its script, its styles inside."""
    styles = [render("bagnet.figures", STYLE), (PAGE / "style.css").read_text(encoding="utf-8")]
    text = (PAGE / "index.html").read_text(encoding="utf-8")
    for line in ('<link rel="stylesheet" href="base.css">\n', '<script type="module" src="main.js"></script>\n'):
        text = text.replace(line, "")
    return text.replace('<link rel="stylesheet" href="style.css">', "<style>" + "\n".join(styles) + "</style>")


def _modules() -> dict[str, str]:
    return {file.name: file.read_text(encoding="utf-8") for file in PAGE.glob("*.js") if file.name not in _NOT_IN_A_CELL}


def _about(evidence: Evidence, model: Classifier | None) -> dict[str, Any]:
    """What the page has to know, as `web.configuration` has it, and what it shows first."""
    rows, columns = evidence.values.shape[1:]
    height, width = evidence.placement.input_size
    transform = model.transform if model else _like(evidence.placement)
    return {
        "engine": "kernel",
        "network": model is not None,
        "model_name": evidence.model,
        "classes": [str(name) for name in evidence.classes],
        "multilabel": evidence.multilabel,
        "temperature": evidence.temperature,
        "geometry": asdict(evidence.geometry),
        "preprocessing": {**transform.to_dict(), "height_first": height_first()},
        "mean": [round(255 * mean) for mean in transform.mean],
        "colours": list(ANCHORS),
        "largest": Limits().pixels,
        "largest_input": Limits().input_pixels,
        "asks_token": False,
        "samples": [],
        "shown": {
            "name": Path(evidence.source).name or "your photograph",
            "sample": None,
            "width": width,
            "height": height,
            "rows": rows,
            "columns": columns,
            "classes": len(evidence.classes),
            "placement": {name: _axis(getattr(evidence.placement, name)) for name in ("horizontal", "vertical")},
        },
    }


def _axis(axis: Axis) -> dict[str, int]:
    return {name: getattr(axis, name) for name in ("source", "resized", "start", "length")}


def _like(placement: Placement) -> Preprocessing:
    """The filter by which an image was prepared, for all that a page without a network needs to know of it."""
    return Preprocessing(None, None, _FILTERS.get(round(placement.horizontal.filter_radius), "bilinear"))


def _pixels(evidence: Evidence, model: Classifier | None) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(H, W, 3) of the network's input: to the last bit with a model, else as the placement and its filter say."""
    if model is not None:
        return np.asarray(model.transform.picture(model.transform.of_picture(evidence.image)))
    across, down = evidence.placement.horizontal, evidence.placement.vertical
    image = evidence.image
    if image.size != (across.resized, down.resized):
        kind = Image.Resampling[_like(evidence.placement).interpolation.upper()]
        image = image.resize((across.resized, down.resized), kind)
    box = (across.start, down.start, across.start + across.length, down.start + down.length)
    return np.asarray(image.crop(box).convert("RGB"))


def _answer(
    evidence: Evidence, model: Classifier | None, content: dict[str, Any], buffers: Sequence[Any]
) -> tuple[dict[str, Any], list[bytes]]:
    """What the network says of pixels: of the classes that the evidence has."""
    try:
        if model is None:
            raise ValueError("there is no network in this cell: ev.widget(model) brings it")
        shape = (int(content["height"]), int(content["width"]), 3)
        pixels = np.frombuffer(bytes(buffers[0]), np.uint8).reshape(shape)
        (seen,) = explain_batch(model, [take(model, pixels, replace(model.transform, resize=None, crop=None))])
        if list(seen.classes) != list(evidence.classes):
            kept = evidence.indices_among(seen.classes)
            seen = replace(seen, values=seen.values[kept], logits=seen.logits[kept], classes=evidence.classes)
    except (ValueError, KeyError, IndexError) as error:
        return {"id": content.get("id"), "error": " ".join(str(error).split())}, []
    parts = [np.ascontiguousarray(part, "<f4").tobytes() for part in (seen.values, seen.logits)]
    return {"id": content["id"], "shape": list(seen.values.shape)}, parts
