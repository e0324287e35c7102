"""What does a bag of windows see in an image? Sheets of class evidence for BagNets of several windows (Fig. 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...evidence import Evidence, explain
from ...evidence.dense import finer
from ...figures.evidence_picture import Style, heat_map, percent, photograph, signed
from ...figures.picture import Picture
from ...figures.sheet import Sheet
from ...figures.style import MARGIN, SOFT, short
from ...files import file_stem, replacing
from ...geometry import Geometry
from ...runs.table import Row
from .experiment import Experiment, Findings, Workplace
from .measured import measured
from .subjects import Material, Subject, drawable

_PART = "evidence"
_SIDE, _GAP, _TITLES, _CAPTION = 2.15, 0.22, 0.45, 0.78  # inches
_HOW: dict[Style, str] = {
    "evidence": (
        "The logits of the windows that decide: the mean of a map is the logit under it. Red speaks for the class, blue against "
        "it; the colours end at the largest logit of each map."
    ),
    "paper": (
        "The logit of the window about every pixel, with zeros around the image, as in the paper. Red speaks for the class, blue "
        "against it; the colours end at the 99th percentile of each map."
    ),
}


@dataclass(frozen=True)
class Heatmaps(Experiment):
    """See `question`. Where the images have no labels, the evidence is that for the class which each model answers.

    Args:
        count: images that are shown, drawn by the seed, of as many classes as there are.
    """

    name = "heatmaps"
    title = "Where the evidence lies"
    question = "Which places of an image speak for its class, and which against it, as the windows grow?"
    paper = (
        "Fig. 2: full-resolution maps of BagNet-9, -17 and -33 for the true class; the evidence lies on the shape and the edges "
        "of the object, little on the background (recalled, and told alike by others)."
    )
    differs = (
        "The images are drawn by lot. Each map is drawn twice: as the official code draws it, and as signed logits of which "
        "none is cut off."
    )
    labels = False

    count: int = 6

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count={self.count}: at least one image is to be shown")

    def find(self, material: Material, work: Workplace) -> Findings:
        """As `Experiment.find`. BadImage: no image can be shown."""
        subjects = drawable(material, self.name)
        shown = material.sample(self.count)

        def measure(subject: Subject, place: int, _: Tensor) -> Mapping[str, Row]:
            return {_PART: _measure(shown, work.folder, subject, place)}

        rows = measured(work, shown, subjects, lambda _: [_PART], measure)
        error = max(abs(row["mean"] - row["logit"]) for row in rows)
        largest = max(abs(row["logit"]) for row in rows)
        images = len({row["image"] for row in rows})
        sentences = [
            f"The mean of each of {len(rows)} maps of {images} images is the logit of its class: the largest difference is "
            f"{error:.1g}, of logits up to {largest:.1f}."
        ]
        measures: dict[str, Any] = {
            "images": images,
            "maps": len(rows),
            "largest_difference": error,
            "largest_logit": largest,
        }
        if material.targets is not None:
            measures["right"] = {
                one.name: sum(row["answer_index"] == row["class_index"] for row in rows if row["model"] == one.name)
                for one in subjects
            }
            counted = ", ".join(f"{name} {right} of {images}" for name, right in measures["right"].items())
            sentences.append(f"Right answers among the images shown: {counted}.")
        pictures = {
            self.name: self._picture(shown, subjects, rows, work.folder, "evidence"),
            f"{self.name}_official": self._picture(shown, subjects, rows, work.folder, "paper"),
        }
        return Findings(measures, sentences, pictures)

    def _picture(
        self, shown: Material, subjects: Sequence[Subject], rows: Sequence[Mapping[str, Any]], folder: Path, style: Style
    ) -> Picture:
        found = {(row["image"], row["model"]): row for row in rows}
        names = shown.images.names
        places = [place for place, name in enumerate(names) if any((name, one.name) in found for one in subjects)]
        across, down = _SIDE + _GAP, _SIDE + _CAPTION
        sheet = Sheet(
            2 * MARGIN + across * (1 + len(subjects)) - _GAP,
            _TITLES + down * len(places) + 0.1,
            self.title,
            f"{shown.data}. {_HOW[style]}",
        )
        for column, one in enumerate(subjects, 1):
            sheet.text(MARGIN + column * across, sheet.top, short(one.name, 25), 9, fontweight="bold")
            sheet.text(MARGIN + column * across, sheet.top + 0.18, f"windows of {one.window} px", color=SOFT)
        for line, place in enumerate(places):
            y = sheet.top + _TITLES + line * down
            photographed = False
            for column, one in enumerate(subjects, 1):
                x = MARGIN + column * across
                row = found.get((names[place], one.name))
                if row is None:
                    sheet.text(x, y, "cannot be shown:\nthe table says why", color=SOFT)
                    continue
                evidence = _evidence(shown, one, place)
                if not photographed:
                    photograph(sheet.panel(MARGIN, y, _SIDE, _SIDE), evidence, [])
                    photographed = True
                values, geometry = _map(evidence, one, row, folder, style)
                limit = _limit(values, style)
                heat_map(sheet.panel(x, y, _SIDE, _SIDE), evidence, values, geometry, limit, style, [])
                _caption(sheet, x, y + _SIDE + 0.07, row, limit, shown.targets is not None)
            below = y + _SIDE + 0.07
            if shown.targets is not None:
                sheet.text(MARGIN, below, short(str(shown.classes[int(shown.targets[place])]), 25), 9, fontweight="bold")
                below += 0.19
            sheet.text(MARGIN, below, short(names[place], 40), 7, color=SOFT)
        return Picture(sheet.figure)


def _measure(shown: Material, folder: Path, subject: Subject, place: int) -> Row:
    """What a model says of an image; the full-resolution map goes to a file of its own."""
    evidence = _evidence(shown, subject, place)
    logits = torch.from_numpy(evidence.logits[list(subject.columns)].astype(np.float64))
    probabilities = logits.softmax(0)
    answer = int(logits.argmax())
    index = answer if shown.targets is None else int(shown.targets[place])
    values = evidence.map(subject.columns[index])
    full = finer(subject.model, evidence, subject.transform, [subject.columns[index]], padded=True).values[0, 0]
    file = f"maps/{file_stem(subject.name)}-{place}.npy"
    with replacing(folder / file) as part, part.open("wb") as opened:
        np.save(opened, full.float().numpy())
    return {
        "class": str(shown.classes[index]),
        "wnid": shown.classes[index].wnid or "",
        "class_index": index,
        "logit": float(logits[index]),
        "probability": float(probabilities[index]),
        "mean": float(values.mean(dtype=np.float64)),
        "largest": float(values.max()),
        "smallest": float(values.min()),
        "answer": str(shown.classes[answer]),
        "answer_index": answer,
        "answer_probability": float(probabilities[answer]),
        "map": file,
    }


def _evidence(shown: Material, subject: Subject, place: int) -> Evidence:
    return explain(subject.model, shown.images.photo(place).image)


def _map(evidence: Evidence, subject: Subject, row: Mapping[str, Any], folder: Path, style: Style) -> tuple[Any, Geometry]:
    """What is drawn, and of which windows it is."""
    if style == "evidence":
        return evidence.map(subject.columns[row["class_index"]]), evidence.geometry
    # The official map has its windows centred on the pixels, whether the image was padded for it or by the network itself.
    size = evidence.geometry.size
    return np.load(folder / row["map"]), Geometry(size, 1, -((size - 1) // 2))


def _limit(values: Any, style: Style) -> float:
    size = np.abs(values)
    return float(size.max() if style == "evidence" else np.percentile(size, 99)) or 1.0


def _caption(sheet: Sheet, x: float, y: float, row: Mapping[str, Any], limit: float, labelled: bool) -> None:
    if not labelled:
        answer = str(row["class"])
    elif row["answer_index"] == row["class_index"]:
        answer = "its answer"
    else:
        answer = f"it answers {short(str(row['answer']), 22)}, {percent(row['answer_probability'])}"
    words = f"logit {signed(row['logit'])}, probability {percent(row['probability'])}"
    sheet.text(x, y, words, 8.5, fontweight="bold")
    sheet.text(x, y + 0.19, short(answer, 40))
    sheet.text(x, y + 0.36, f"colours from {signed(-limit)} to {signed(limit)}", 7, color=SOFT)
