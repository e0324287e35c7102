"""What does a bag of windows see in an image? Sheets of class evidence for BagNets of several windows (Fig. 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...evidence import Evidence, explain
from ...evidence.dense import finer
from ...figures.charts import MARGIN
from ...figures.colours import SOFT
from ...figures.evidence_picture import Style, heat_map, limit_of, photograph
from ...figures.picture import Picture
from ...figures.sheet import Sheet
from ...figures.words import percent, short, signed
from ...files import file_stem, replacing
from ...geometry import Geometry
from .experiment import Experiment, Findings, Workplace
from .measured import Columns, Measurements, measured
from .needs import Needs
from .subjects import Material, Subject

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
_APART = "Of networks that are shown windows one at a time: the mean of the windows that hold the pixel."


@dataclass(frozen=True)
class ImageMap(Columns):
    """What a model says of one image: of its true class, or of the answer where that is not known, and which the answer is."""

    class_: str
    wnid: str
    class_index: int
    logit: float
    probability: float
    mean: float  # over the map of the class
    largest: float  # logit of a window
    smallest: float
    answer: str
    answer_index: int
    answer_probability: float
    map: str  # file of the full-resolution map


@dataclass(frozen=True)
class Measures:
    """All that was measured of the images that are shown."""

    images: int
    maps: int
    largest_difference: float  # of the mean of a map from its logit
    largest_logit: float  # of a map
    right: Mapping[str, int] | None  # name of each model -> right answers; None where the true classes are not known


@dataclass(frozen=True)
class Heatmaps(Experiment):
    """See `question`. Where the images have no labels, the evidence is that for the class which each model answers.

    Args:
        count: images that are shown, drawn by the seed, of as many classes as there are.
    """

    title = "Where the evidence lies"
    question = "Which places of an image speak for its class, and which against it, as the windows grow?"
    paper = (
        "Fig. 2: full-resolution maps of BagNet-9, -17 and -33 for the true class; the evidence lies on the shape and the edges "
        "of the object, little on the background (recalled, and told alike by others)."
    )
    differs = (
        "The images are drawn at random. Each map is drawn twice: as the official code draws it, and as signed logits of which "
        "none is cut off. Of a network shown windows one at a time, a pixel has the mean of the windows that hold it."
    )
    needs = Needs(bagnets=True, pictures=True)

    count: int = 6

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count={self.count}: at least one image is to be shown")

    def find(self, material: Material, work: Workplace) -> Findings:
        """As `Experiment.find`. BadImage: no image can be shown."""
        shown = material.sample(self.count)

        def measure(subject: Subject, row: int, _: Tensor) -> Mapping[str, ImageMap]:
            return {_PART: _measure(shown, work.folder, subject, row)}

        maps = measured(work, shown, shown.bagnets, lambda _: [_PART], measure, ImageMap.of_row)
        measures = _measures(shown, maps)
        pictures = {
            self.name: self._picture(shown, maps, work.folder, "evidence"),
            f"{self.name}_official": self._picture(shown, maps, work.folder, "paper"),
        }
        return Findings(measures, _sentences(measures), pictures)

    def _picture(self, shown: Material, maps: Measurements[ImageMap], folder: Path, style: Style) -> Picture:
        by_image = {(measurement.image, measurement.model): measurement.value for measurement in maps.rows}
        names, bagnets = shown.images.names, shown.bagnets
        rows = [row for row, name in enumerate(names) if any((name, bagnet.name) in by_image for bagnet in bagnets)]
        apart = style == "paper" and any(bagnet.classifier.windows_apart for bagnet in bagnets)
        across, down = _SIDE + _GAP, _SIDE + _CAPTION
        sheet = Sheet(
            2 * MARGIN + across * (1 + len(bagnets)) - _GAP,
            _TITLES + down * len(rows) + 0.1,
            self.title,
            " ".join([f"{shown.data}.", _HOW[style], *([_APART] if apart else [])]),
        )
        for column, bagnet in enumerate(bagnets, 1):
            sheet.text(MARGIN + column * across, sheet.top, short(bagnet.name, 25), 9, fontweight="bold")
            sheet.text(MARGIN + column * across, sheet.top + 0.18, f"windows of {bagnet.window} px", color=SOFT)
        for line, row in enumerate(rows):
            y = sheet.top + _TITLES + line * down
            photographed = False
            for column, bagnet in enumerate(bagnets, 1):
                x = MARGIN + column * across
                measurement = by_image.get((names[row], bagnet.name))
                if measurement is None:
                    sheet.text(x, y, "cannot be shown:\nthe table says why", color=SOFT)
                    continue
                evidence = _evidence(shown, bagnet, row)
                if not photographed:
                    photograph(sheet.panel(MARGIN, y, _SIDE, _SIDE), evidence, [])
                    photographed = True
                values, geometry = _map(evidence, bagnet, measurement, folder, style)
                limit = limit_of(values, style)
                heat_map(sheet.panel(x, y, _SIDE, _SIDE), evidence, values, geometry, limit, style, [])
                _caption(sheet, x, y + _SIDE + 0.07, measurement, limit, shown.targets is not None)
            below = y + _SIDE + 0.07
            if shown.targets is not None:
                sheet.text(MARGIN, below, short(str(shown.classes[int(shown.targets[row])]), 25), 9, fontweight="bold")
                below += 0.19
            sheet.text(MARGIN, below, short(names[row], 40), 7, color=SOFT)
        return Picture(sheet.figure)


def _measure(shown: Material, folder: Path, subject: Subject, row: int) -> ImageMap:
    """What a model says of an image; the full-resolution map goes to a file of its own."""
    evidence = _evidence(shown, subject, row)
    logits = torch.from_numpy(evidence.logits[list(subject.columns)].astype(np.float64))
    probabilities = logits.softmax(0)
    answer = int(logits.argmax())
    index = answer if shown.targets is None else int(shown.targets[row])
    values = evidence.map(subject.columns[index])
    if subject.classifier.windows_apart:  # as in `pixel_map`
        full = torch.from_numpy(evidence.heatmap(subject.columns[index], size="input", spread="windows"))
    else:
        full = finer(subject.classifier, evidence, subject.transform, [subject.columns[index]], padded=True).values[0, 0]
    file = f"maps/{file_stem(subject.name)}-{row}.npy"
    with replacing(folder / file) as part, part.open("wb") as opened:
        np.save(opened, full.float().numpy())
    return ImageMap(
        str(shown.classes[index]),
        shown.classes[index].wnid or "",
        index,
        float(logits[index]),
        float(probabilities[index]),
        float(values.mean(dtype=np.float64)),
        float(values.max()),
        float(values.min()),
        str(shown.classes[answer]),
        answer,
        float(probabilities[answer]),
        file,
    )


def _measures(shown: Material, maps: Measurements[ImageMap]) -> Measures:
    values = [measurement.value for measurement in maps.rows]
    right = {
        bagnet.name: sum(value.answer_index == value.class_index for value in maps.of(bagnet, _PART)) for bagnet in shown.bagnets
    }
    return Measures(
        len({measurement.image for measurement in maps.rows}),
        len(values),
        max(abs(value.mean - value.logit) for value in values),
        max(abs(value.logit) for value in values),
        None if shown.targets is None else right,
    )


def _evidence(shown: Material, subject: Subject, row: int) -> Evidence:
    return explain(subject.classifier, shown.images.photo(row))


def _map(
    evidence: Evidence, subject: Subject, measurement: ImageMap, folder: Path, style: Style
) -> tuple[NDArray[np.float32], Geometry]:
    """What is drawn, and of which windows it is."""
    if style == "evidence":
        return evidence.map(subject.columns[measurement.class_index]), evidence.geometry
    # The official map has its windows centred on the pixels, whether the image was padded for it or by the network itself.
    size = evidence.geometry.size
    return np.load(folder / measurement.map), Geometry(size, 1, -((size - 1) // 2))


def _caption(sheet: Sheet, x: float, y: float, measurement: ImageMap, limit: float, labelled: bool) -> None:
    if not labelled:
        answer = measurement.class_
    elif measurement.answer_index == measurement.class_index:
        answer = "its answer"
    else:
        answer = f"it answers {short(measurement.answer, 22)}, {percent(measurement.answer_probability)}"
    words = f"logit {signed(measurement.logit)}, probability {percent(measurement.probability)}"
    sheet.text(x, y, words, 8.5, fontweight="bold")
    sheet.text(x, y + 0.19, short(answer, 40))
    sheet.text(x, y + 0.36, f"colours from {signed(-limit)} to {signed(limit)}", 7, color=SOFT)


def _sentences(measures: Measures) -> list[str]:
    sentences = [
        f"The mean of each of {measures.maps} maps of {measures.images} images is the logit of its class: the largest difference "
        f"is {measures.largest_difference:.1g}, of logits up to {measures.largest_logit:.1f}."
    ]
    if measures.right is not None:
        counted = ", ".join(f"{name} {right} of {measures.images}" for name, right in measures.right.items())
        sentences.append(f"Right answers among the images shown: {counted}.")
    return sentences
