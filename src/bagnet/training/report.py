"""A page at the end of a run: how it went, what is confused, the evidence for some answers, and the recipe."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..card import Card
from ..data.decode import BadImage
from ..data.labels import LabelledImages
from ..evaluation.charts import chart
from ..evaluation.evaluate import Evaluation
from ..evidence import explain
from ..figures.colours import BLUE, RED, SOFT
from ..figures.overlay import overlay
from ..files import replacing
from ..model import BagNet
from .checkpoints import LOG, read_log

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REPORT = "report.html"
_SAMPLES = 12
_SIDE = 160  # pixels of a sample on the page
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2433; max-width: 1080px; margin: 2.5em auto; padding: 0 1em }
h1 { font-size: 1.5em; margin: 0 } h2 { font-size: 1.1em; margin: 2.2em 0 .6em }
p, figcaption, td { color: #6b7385 } td { padding: 0 1.5em 0 0; vertical-align: top } td + td { color: #1d2433 }
img { max-width: 100% } .samples { display: flex; flex-wrap: wrap; gap: 14px } figure { margin: 0 }
.samples img { display: block; image-rendering: pixelated } .wrong { color: #cf4a41 } code { overflow-wrap: anywhere }
"""


def report(folder: Path, model: BagNet | object, card: Card, evaluation: Evaluation | None, images: LabelledImages) -> Path:
    """Write `report.html` in a run's folder; it needs no other file.

    Args:
        folder: of the run, with its log.
        model: the result; of a BagNet the evidence is shown.
        card: of the result.
        evaluation: on the `val` split, where there is one; else the confusions are left out.
        images: of which some are explained.

    Raises:
        OSError: it cannot be written.
    """
    parts = [
        f"<h1>{escape(card.name)}</h1><p>{escape(_in_words(card, evaluation))}</p>",
        f"<h2>How it went</h2>{_image(_png(_curves(folder)), 'curves')}",
    ]
    if evaluation is not None:
        parts.append(f"<h2>What it is right and wrong about</h2>{_image(chart(evaluation)._repr_png_(), 'evaluation')}")
    if isinstance(model, BagNet) and len(model.transform.mean) in (1, 3):
        same = images.classes == model.classes
        columns = list(range(len(images.classes))) if same else images.classes.among(model.classes)
        samples = (_sample(model, images, columns, int(row)) for row in np.linspace(0, len(images) - 1, _SAMPLES))
        title = "Why: the evidence of some images for their best class (red for, blue against)"
        parts.append(f"<h2>{title}</h2><div class=samples>{''.join(samples)}</div>")
    rows = {"command": card.command, "trained on": card.trained_on, **card.more.get("recipe", {})}
    table = "".join(f"<tr><td>{escape(name)}<td><code>{escape(str(value))}</code>" for name, value in rows.items())
    parts.append(f"<h2>Recipe</h2><table>{table}</table>")
    page = f"<!doctype html><meta charset=utf-8><title>{escape(card.name)}</title><style>{_STYLE}</style>{''.join(parts)}\n"
    path = folder / REPORT
    with replacing(path) as part:
        part.write_text(page, encoding="utf-8", errors="replace")
    return path


def _in_words(card: Card, evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return "There was no val split to measure it on."
    if evaluation.multilabel:
        return f"Mean average precision {np.nanmean(evaluation.by_class):.3f} on {evaluation.data}."
    best = card.scores[0]
    return f"{best.top1:.2f} % top-1, {best.top5:.2f} % top-5 on {best.data} ({evaluation.images:,} images)."


def _curves(folder: Path) -> Figure:
    """The loss of steps, smoothed, and of the selection images; the share of these that is right."""
    from matplotlib.figure import Figure

    rows = read_log(folder / LOG)
    steps = [(int(row["step"]), float(row["loss"])) for row in rows if row["loss"]]
    epochs = [row for row in rows if row["select_loss"]]
    figure = Figure(figsize=(9.5, 3.4), layout="constrained")
    axes = figure.subplots()
    width = max(1, len(steps) // 100)
    losses = np.convolve([loss for _, loss in steps], np.ones(width) / width, "valid")
    axes.plot([step for step, _ in steps][width - 1 :], losses, color=BLUE, lw=1, label="training")
    at = [int(row["step"]) for row in epochs]
    axes.plot(at, [float(row["select_loss"]) for row in epochs], color=BLUE, lw=1.6, ls="--", marker=".", label="selection")
    axes.set_xlabel("step", color=SOFT)
    axes.set_ylabel("loss", color=BLUE)
    axes.legend(frameon=False, fontsize=8, loc="center right")
    other = axes.twinx()
    name = "select_top1" if epochs and epochs[0]["select_top1"] else "select_right"
    other.plot(at, [100 * float(row[name]) for row in epochs], color=RED, lw=1.6, marker=".")
    other.set_ylabel("right on the selection images, %", color=RED)
    other.set_ylim(0, min(100, 1.2 * max((100 * float(row[name]) for row in epochs), default=100) + 1))
    for each in (axes, other):
        each.spines["top"].set_visible(False)
    return figure


def _sample(model: BagNet, images: LabelledImages, columns: Sequence[int], row: int) -> str:
    """One image beside its evidence for the class that it is taken for; a wrong answer in red."""
    try:
        evidence = explain(model, images.images.photo(row).image)
    except BadImage:
        return ""
    best = evidence.top(1)[0]
    pictures = (evidence.image, overlay(evidence))
    shown = "".join(_image(_saved(picture.resize(_fitting(picture.size), Image.Resampling.NEAREST)), "") for picture in pictures)
    shown_classes = {column for column, share in zip(columns, images.shares(row), strict=True) if share}
    wrong = "" if best.index in shown_classes else " class=wrong"
    pair = f"<div style='display:flex;gap:2px'>{shown}</div>"
    return f"<figure>{pair}<figcaption{wrong}>{escape(best.name)} {best.logit:+.1f}</figcaption></figure>"


def _fitting(size: tuple[int, int]) -> tuple[int, int]:
    scale = _SIDE / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _image(content: bytes, title: str) -> str:
    return f"<img alt='{title}' src='data:image/png;base64,{b64encode(content).decode()}'>"


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, dpi=120, format="png")
    return file.getvalue()


def _saved(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
