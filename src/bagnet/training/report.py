"""A page at the end of a run: how it went, what is confused, the evidence for some answers, and the recipe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..card import Card
from ..data.decode import BadImage
from ..data.labels import LabelledImages
from ..engine.classifier import Classifier, Predictor, has_evidence
from ..evaluation.charts import chart
from ..evaluation.evaluate import Evaluation
from ..evidence import explain
from ..figures.colours import BLUE, RED, SOFT
from ..figures.overlay import overlay
from ..figures.page import render
from ..figures.picture import Picture
from ..files import replacing
from .checkpoints import LOG, read_log

REPORT = "report.html"
_SAMPLES = 12
_SIDE = 160  # pixels of a sample on the page


def report(folder: Path, model: Predictor, card: Card, evaluation: Evaluation | None, images: LabelledImages) -> Path:
    """Write `report.html` in a run's folder; it needs no other file.

    Args:
        folder: of the run, with its log.
        model: the result; its evidence is shown, where it has any.
        card: of the result.
        evaluation: on the `val` split, where there is one; else the confusions are left out.
        images: of which some are explained.

    Raises:
        OSError: it cannot be written.
    """
    page = render(
        __package__,
        "report.html",
        title=card.name,
        summary=_in_words(card, evaluation),
        curves=_curves(folder).png(),
        evaluation=None if evaluation is None else chart(evaluation).png(),
        samples=_samples(model, images) if has_evidence(model) and len(model.transform.mean) in (1, 3) else None,
        recipe={"command": card.command, "trained on": card.trained_on, **card.more.get("recipe", {})},
    )
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
    balanced = f"{100 * evaluation.balanced_accuracy:.2f} % balanced accuracy"
    others = f"{best.top5:.2f} % top-5, {balanced}" if len(card.classes) > 5 else balanced
    warning = f" {evaluation.one_answer}." if evaluation.one_answer else ""
    return f"{best.top1:.2f} % top-1, {others} on {best.data} ({evaluation.images:,} images).{warning}"


def _curves(folder: Path) -> Picture:
    """The loss of steps, smoothed, and of the selection images; the share of these that is right."""
    from matplotlib.figure import Figure

    rows = read_log(folder / LOG)
    steps = [(int(row["step"]), float(row["loss"])) for row in rows if row["loss"]]
    epochs = [row for row in rows if row["select_loss"]]
    figure = Figure(figsize=(9.5, 3.4), layout="constrained")
    loss = figure.subplots()
    width = max(1, len(steps) // 100)
    smoothed = np.convolve([value for _, value in steps], np.ones(width) / width, "valid")
    loss.plot([step for step, _ in steps][width - 1 :], smoothed, color=BLUE, lw=1, label="training")
    ends = [int(row["step"]) for row in epochs]
    loss.plot(ends, [float(row["select_loss"]) for row in epochs], color=BLUE, lw=1.6, ls="--", marker=".", label="selection")
    loss.set_xlabel("step", color=SOFT)
    loss.set_ylabel("loss", color=BLUE)
    loss.legend(frameon=False, fontsize=8, loc="center right")
    accuracy = loss.twinx()
    name = "select_top1" if epochs and epochs[0]["select_top1"] else "select_right"
    right = [100 * float(row[name]) for row in epochs]
    accuracy.plot(ends, right, color=RED, lw=1.6, marker=".")
    accuracy.set_ylabel("right on the selection images, %", color=RED)
    accuracy.set_ylim(0, min(100, 1.2 * max(right, default=100) + 1))
    for axes in (loss, accuracy):
        axes.spines["top"].set_visible(False)
    return Picture(figure)


class _Sample(NamedTuple):
    """An image, the same under its evidence for the class that it is classified as, and whether that is wrong."""

    image: Image.Image
    overlay: Image.Image
    answer: str
    logit: float
    wrong: bool


def _samples(model: Classifier, images: LabelledImages) -> Iterator[_Sample]:
    """Some images that can be read, from the first to the last."""
    same = images.classes == model.classes
    columns = list(range(len(images.classes))) if same else images.classes.among(model.classes)
    for row in np.linspace(0, len(images) - 1, _SAMPLES):
        try:
            yield _sample(model, images, columns, int(row))
        except BadImage:
            continue


def _sample(model: Classifier, images: LabelledImages, columns: Sequence[int], row: int) -> _Sample:
    evidence = explain(model, images.images.photo(row).image)
    best = evidence.top(1)[0]
    shown = {column for column, share in zip(columns, images.shares(row), strict=True) if share}
    return _Sample(_fitting(evidence.image), _fitting(overlay(evidence)), best.name, best.logit, best.index not in shown)


def _fitting(picture: Image.Image) -> Image.Image:
    scale = _SIDE / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Image.Resampling.NEAREST)
