"""A page at the end of a run: how it went, what is confused, the evidence for some answers, and the recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
from ..figures.charts import heading, labels, legend, quiet_frame, side_by_side
from ..figures.colours import BLUE, RED, SOFT, model_colours
from ..figures.overlay import overlay
from ..figures.page import render
from ..figures.picture import Picture
from ..figures.words import windows_in_words
from ..files import replacing
from ..geometry import Geometry
from .log import LOG, read_log
from .logistic import PENALTIES, Floats
from .result import Run

REPORT = "report.html"
_SAMPLES = 12
_TITLES = {"balanced_accuracy": "balanced accuracy", "top1": "top-1", "right": "right"}  # of measures, by their key in the log
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
    rows = read_log(folder / LOG)
    summary = _in_words(evaluation, _epochs(rows), images)
    title = "loss and accuracy over the steps of training"
    return _write(folder, model, card, summary, (_curves(rows), title), evaluation, images)


def probe_report(folder: Path, run: Run, losses: Sequence[tuple[Geometry, Floats]], images: LabelledImages) -> Path:
    """The same page of a probe: what cross-validation says in place of the steps of training.

    Args:
        folder: of the run.
        run: with its cross-validation.
        losses: of every kind of windows: (P,) by penalty.
        images: of which some are explained.

    Raises:
        OSError: it cannot be written.
    """
    assert run.cross_validation is not None
    measured = [evaluation for evaluation in (run.evaluation, run.cross_validation) if evaluation is not None]
    summary = " ".join(_measured(evaluation) for evaluation in measured)
    title = "loss of cross-validation by the penalty on the head's weights"
    return _write(folder, run.model, run.card, summary, (_penalty_curves(losses), title), measured[0], images)


def _write(
    folder: Path,
    model: Predictor,
    card: Card,
    summary: str,
    curves: tuple[Picture, str],
    evaluation: Evaluation | None,
    images: LabelledImages,
) -> Path:
    """The page, of what both have; curves have a title."""
    samples = list(_samples(model, images)) if has_evidence(model) and len(model.transform.mean) in (1, 3) else []
    page = render(
        __package__,
        "report.html",
        title=card.name,
        summary=summary,
        curves=curves[0].png(),
        curves_title=curves[1],
        evaluation=None if evaluation is None else chart(evaluation).png(),
        samples=samples or None,
        recipe={"command": card.command, "trained on": card.trained_on, **card.more.get("recipe", {})},
    )
    path = folder / REPORT
    with replacing(path) as part:
        part.write_text(page, encoding="utf-8", errors="replace")
    return path


def _in_words(evaluation: Evaluation | None, epochs: Sequence[Mapping[str, str]], images: LabelledImages) -> str:
    """The measures, the one to go by first; where there was no val split, those of the selection images after the last epoch."""
    if evaluation is not None:
        return _measured(evaluation)
    after = "".join(
        f" On the {len(images):,} images to select on, after the last epoch: {_selected(row)}." for row in epochs[-1:]
    )
    return f"There was no val split to measure it on.{after}"


def _measured(evaluation: Evaluation) -> str:
    measures = ", ".join(measure.text for measure in evaluation.measures())
    warning = f" {evaluation.one_answer}." if evaluation.one_answer else ""
    told = "; in brackets 95 % intervals over them" if evaluation.measures()[0].interval else ""
    return f"{_capital(measures)} on {evaluation.data} ({evaluation.images:,} images{told}).{warning}"


def _penalty_curves(losses: Sequence[tuple[Geometry, Floats]]) -> Picture:
    """Of every kind of windows, with the lowest marked."""
    figure, panels = side_by_side([9.5], 3.9)
    windows = "Which windows, and how" if len(losses) > 1 else "How"
    heading(figure, f"{windows} strongly is the head held back?", "Loss on images that a head did not learn from")
    axes = figure.add_subplot(panels[0])
    colours = model_colours([geometry.size for geometry, _ in losses])
    for (geometry, of_penalties), colour in zip(losses, colours, strict=True):
        lowest = int(of_penalties.argmin())
        axes.plot(PENALTIES, of_penalties, color=colour, lw=1.6, marker=".", label=windows_in_words(geometry))
        axes.plot(PENALTIES[lowest], of_penalties[lowest], "o", color=colour, ms=8, mfc="none")
    axes.set_xscale("log")
    axes.set_xticks(PENALTIES, [f"{penalty:g}" for penalty in PENALTIES])
    axes.minorticks_off()
    labels(axes, "penalty on squared weights of standardised features (circle: chosen)", "cross-entropy, classes alike")
    quiet_frame(axes, "y")
    legend(axes)
    return Picture(figure)


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _selected(row: Mapping[str, str]) -> str:
    """What an epoch's row of the log says of the selection images."""
    lead = _lead(row)
    interval = f" [{lead.low:.1f}, {lead.high:.1f}]" if np.isfinite(lead.low) else ""
    return f"{lead.title} {lead.value:.1f} %{interval}"


def _curves(rows: Sequence[Mapping[str, str]]) -> Picture:
    """The loss of steps, smoothed, and of the selection images; the share of these that is right, and how sure that is."""
    from matplotlib.figure import Figure

    steps = [(int(row["step"]), float(row["loss"])) for row in rows if row["loss"]]
    epochs = _epochs(rows)
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
    leads = [_lead(row) for row in epochs]
    values, lows, highs = (np.array([getattr(lead, name) for lead in leads]) for name in ("value", "low", "high"))
    accuracy.plot(ends, values, color=RED, lw=1.6, marker=".")
    if np.isfinite(lows).any():
        accuracy.fill_between(ends, lows, highs, color=RED, alpha=0.12, linewidth=0)
    told = "\n(band: 95 % interval)" if np.isfinite(lows).any() else ""
    accuracy.set_ylabel(f"{leads[0].title if leads else 'right'} on\nthe selection images, %{told}", color=RED)
    top = np.nanmax([*values, *highs], initial=0) if len(values) else 100
    accuracy.set_ylim(0, min(102, 1.2 * top + 1))
    for axes in (loss, accuracy):
        axes.spines["top"].set_visible(False)
    return Picture(figure)


def _epochs(rows: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """The rows of a log that end an epoch."""
    return [row for row in rows if row["select_loss"]]


class _Lead(NamedTuple):
    """The measure of the selection images to go by after an epoch, in per cent; NaN where the log has no interval."""

    title: str
    value: float
    low: float
    high: float


def _lead(row: Mapping[str, str]) -> _Lead:
    """From a row of the log; an earlier version's does not say which measure that is."""
    key = row.get("select_lead") or ("top1" if row["select_top1"] else "right")
    value, low, high = (100 * float(row.get(f"select_{name}") or "nan") for name in (key, "low", "high"))
    return _Lead(_TITLES[key], value, low, high)


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
    evidence = explain(model, images.images.photo(row))
    best = evidence.top(1)[0]
    shown = {column for column, share in zip(columns, images.shares(row), strict=True) if share}
    return _Sample(_fitting(evidence.image), _fitting(overlay(evidence)), best.name, best.logit, best.index not in shown)


def _fitting(picture: Image.Image) -> Image.Image:
    scale = _SIDE / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Image.Resampling.NEAREST)
