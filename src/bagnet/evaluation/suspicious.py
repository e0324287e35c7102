"""Labels that look wrong, by confident learning: Northcutt, Jiang and Chuang, "Confident learning: estimating uncertainty in
dataset labels", Journal of Artificial Intelligence Research 70, 2021.

A class is confidently answered where its probability is at least the mean that it has over the images labelled with it. Where the
best of such classes is another one than the label, the label is suspicious. The mean is the model's own measure of what is usual
for a class, so that neither a class of which it is never sure nor one of which it always is fills the list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from ..data.labels import BadLabels
from ..runs.table import write_table
from .evaluate import Evaluation


@dataclass(frozen=True, slots=True)
class SuspiciousLabel:
    """An image whose label looks wrong; the fields are the columns of its table.

    Args:
        image: its name.
        label: what it is labelled with.
        suggested: the best of the classes that the model is confident of.
        probability_of_label: in [0, 1].
        probability_of_suggested: in [0, 1].
        threshold_of_suggested: the mean probability of that class over the images labelled with it.
    """

    image: str
    label: str
    suggested: str
    probability_of_label: float
    probability_of_suggested: float
    threshold_of_suggested: float


def suspicious_labels(evaluation: Evaluation) -> list[SuspiciousLabel]:
    """Images whose labels are to be looked at, the one that the model contradicts most first.

    The model must not have been trained on the images: of those it repeats their labels.

    Args:
        evaluation: of images with one label each and with their names.

    Raises:
        BadLabels: the images have several labels each.
        ValueError: their names were not kept.
    """
    if evaluation.multilabel:
        raise BadLabels(f"{evaluation.data}: its images have several labels each, of which none alone is right or wrong")
    if len(evaluation.names) != evaluation.images:
        raise ValueError(f"{evaluation.data}: the names of its images were not kept; evaluate them anew")
    probabilities, labels = evaluation.probabilities.double().numpy(), evaluation.labels
    counts = evaluation.counts
    thresholds = np.full(len(counts), np.inf)  # a class that no image shows is suggested for none
    for label in np.flatnonzero(counts):
        thresholds[label] = probabilities[labels == label, label].mean()
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    suggested = confident.argmax(1)
    rows = np.arange(len(labels))
    suspicious = np.flatnonzero((confident[rows, suggested] >= 0) & (suggested != labels))
    lead = probabilities[suspicious, suggested[suspicious]] - probabilities[suspicious, labels[suspicious]]
    names = [str(entry) for entry in evaluation.classes]
    return [
        SuspiciousLabel(
            evaluation.names[row],
            names[labels[row]],
            names[suggested[row]],
            round(float(probabilities[row, labels[row]]), 6),
            round(float(probabilities[row, suggested[row]]), 6),
            round(float(thresholds[suggested[row]]), 6),
        )
        for row in suspicious[np.argsort(-lead, kind="stable")]
    ]


def write_suspicious(path: Path, suspicious: Sequence[SuspiciousLabel]) -> None:
    """A row for each, also where there is none. OSError: it cannot be written."""
    columns = [field.name for field in fields(SuspiciousLabel)]
    write_table(path, columns, ({name: getattr(row, name) for name in columns} for row in suspicious))
