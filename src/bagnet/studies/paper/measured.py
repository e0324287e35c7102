"""Measuring image by image, so that an interrupted experiment goes on with the next image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...data.decode import BadImage
from ...engine.inference import exact
from ...runs.journal import Journal, Row
from ...runs.loader import read_batches
from .subjects import Material, Subject

# (subject, row of the image, (1, C, H, W) prepared image) -> a row of the table for each part
Measure = Callable[[Subject, int, Tensor], Mapping[str, Row]]


def measured(
    path: Path,
    settings: Mapping[str, Any],
    material: Material,
    subjects: Iterable[Subject],
    parts: Callable[[Subject], Iterable[str]],
    measure: Measure,
) -> list[dict[str, Any]]:
    """Measure each subject on each image, and keep what is known on the disk.

    Images that cannot be read, or are smaller than a window, have a row that says so in its column `error` and no others, and
    are noted as unusable.

    Args:
        path: of the table of all rows (.csv); the journal beside it stays until the experiment has its result.
        settings: what the rows depend on.
        material: images.
        subjects: models to measure.
        parts: names of the rows that one image gives for a subject.
        measure: does it; called in inference mode, the model in eval mode and full float32.

    Returns:
        All rows, with columns `model`, `image`, `part` and what `measure` gave; those with an `error` are left out.

    Raises:
        BadImage: no image could be measured.
        OtherRun: the journal is of other settings, or another run is at work on the table.
        OSError: the table cannot be written.
    """
    subjects = list(subjects)
    names = material.images.names
    with Journal(path, {**material.settings(), **settings}, overwrite=True) as journal:
        for subject in subjects:
            wanted = list(parts(subject))
            todo = [
                row for row, name in enumerate(names) if any(_key(subject, name, part) not in journal.done for part in wanted)
            ]
            report = material.reporter(subject.name)
            done = len(names) - len(todo)
            with exact(subject.model), torch.inference_mode():
                for batch in read_batches(material.images, todo, subject.transform, material.batch_size, material.workers):
                    for rows, x in batch.groups:
                        for row, one in zip(rows, x, strict=True):
                            journal.write("item", _rows(journal, subject, names[row], wanted, measure, row, one[None]))
                    for row, reason in batch.bad:
                        journal.write("item", _unreadable(subject, names[row], wanted, reason))
                    done += sum(len(rows) for rows, _ in batch.groups) + len(batch.bad)
                    if report is not None:
                        report(done, len(names))
        found = [dict(row) for row in journal.rows()]
        good = [row for row in found if not row.get("error")]
        if not good:
            journal.path.unlink()  # it holds nothing that is worth going on with
            raise BadImage(f"none of {len(names)} images could be measured: {found[0]['error'] if found else 'there are none'}")
        journal.finish(list(dict.fromkeys(column for row in found for column in row if column != "item")), keep=True)
    used = {(row["model"], row["image"]) for row in good}  # what but one part of has an error can be used
    material.unusable.update({row["image"]: row["error"] for row in found if (row["model"], row["image"]) not in used})
    return good


def _rows(
    journal: Journal, subject: Subject, image: str, wanted: list[str], measure: Measure, row: int, x: Tensor
) -> list[tuple[str, Row]]:
    try:
        if subject.window is not None:
            subject.model.check(x)
        found = measure(subject, row, x)
    except ValueError as error:  # smaller than a window, say
        return _unreadable(subject, image, wanted, f"{image}: {error}")
    return [
        (_key(subject, image, part), {"model": subject.name, "image": image, "part": part, **found[part]})
        for part in wanted
        if _key(subject, image, part) not in journal.done
    ]


def _unreadable(subject: Subject, image: str, wanted: list[str], reason: str) -> list[tuple[str, Row]]:
    return [
        (_key(subject, image, part), {"model": subject.name, "image": image, "part": part, "error": reason}) for part in wanted
    ]


def _key(subject: Subject, image: str, part: str) -> str:
    return f"{subject.name}|{image}|{part}"
