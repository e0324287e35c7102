"""Evaluations as files: all figures as JSON, accuracy by class side by side, and charts."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files import file_stem, replacing
from .charts import chart, compare
from .evaluate import Evaluation
from .sparseness import Sparseness
from .suspicious import suspicious_labels, write_suspicious


def record(evaluation: Evaluation, sparseness: Sparseness | None = None) -> dict[str, Any]:
    """All measures of a model, as JSON can hold them."""
    measures = evaluation.to_dict()
    if names_suspicious(evaluation):
        measures["suspicious_labels"] = len(suspicious_labels(evaluation))
    return measures if sparseness is None else {**measures, "sparseness": sparseness.to_dict()}


def names_suspicious(evaluation: Evaluation) -> bool:
    """Whether `write_model` writes a table of labels that look wrong."""
    return not evaluation.multilabel and bool(evaluation.names)


def suspicious_table(folder: Path, evaluation: Evaluation) -> Path:
    """Where it lies."""
    return folder / f"{file_stem(evaluation.model)}.suspicious_labels.csv"


def write_model(folder: Path, evaluation: Evaluation, sparseness: Sparseness | None = None) -> list[Path]:
    """`MODEL.json`, `MODEL.png` and, of images with one label each, `MODEL.suspicious_labels.csv` in a folder.

    The folder is made where there is none.

    Raises:
        OSError: they cannot be written.
    """
    stem = file_stem(evaluation.model)
    figures, picture = folder / f"{stem}.json", folder / f"{stem}.png"
    with replacing(figures) as part:
        part.write_text(json.dumps(record(evaluation, sparseness), indent=1), encoding="utf-8")
    chart(evaluation).save(picture)
    if not names_suspicious(evaluation):
        return [figures, picture]
    table = suspicious_table(folder, evaluation)
    write_suspicious(table, suspicious_labels(evaluation))
    return [figures, picture, table]


def write_comparison(folder: Path, evaluations: Sequence[Evaluation]) -> list[Path]:
    """`by_class.csv`, a row a class and a column a model, and of several models `compare.png`. Raises as `write_model`.

    The models have names of their own and were measured on the same images; an empty cell is a class without images.
    """
    table = folder / "by_class.csv"
    columns = [evaluation.by_class for evaluation in evaluations]
    with replacing(table) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["class", "wnid", "images", *(evaluation.model for evaluation in evaluations)])
        for label, entry in enumerate(evaluations[0].classes):
            cells = ["" if np.isnan(column[label]) else f"{column[label]:.6f}" for column in columns]
            writer.writerow([entry, entry.wnid or "", evaluations[0].counts[label], *cells])
    if len(evaluations) == 1:
        return [table]
    picture = folder / "compare.png"
    compare(evaluations).save(picture)
    return [table, picture]
