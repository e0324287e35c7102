"""One measurement for each model and image, kept as it is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor

from ...runs.store import Rows
from ...runs.sweep import check_some
from ...runs.table import Row, columns_of, write_table
from .experiment import Workplace
from .subjects import Material, Subject

# (subject, row of the image, (1, C, H, W) prepared image) -> a row of the table for each part
Measure = Callable[[Subject, int, Tensor], Mapping[str, Row]]


def measured(
    work: Workplace,
    material: Material,
    subjects: Iterable[Subject],
    parts: Callable[[Subject], Iterable[str]],
    measure: Measure,
) -> list[dict[str, Any]]:
    """Measure each subject on each image, and keep what is known on the disk. The table of all rows is written, too.

    Images that cannot be read, or are smaller than a window, have a row that says so in its column `error` and no others, and
    are noted as unusable.

    Args:
        work: where the experiment works.
        material: images.
        subjects: models to measure.
        parts: names of the rows that one image gives for a subject.
        measure: does it; called in inference mode, the model in eval mode and full float32.

    Returns:
        All rows, with columns `model`, `image`, `part` and what `measure` gave; those with an `error` are left out.

    Raises:
        BadImage: no image could be measured.
        OSError: the table cannot be written.
    """
    names = material.images.names
    rows = work.store.rows("measured")
    for subject in subjects:
        wanted = list(parts(subject))
        todo = [row for row, name in enumerate(names) if any(_key(subject, name, part) not in rows.done for part in wanted)]
        for batch in material.sweep(subject, todo):
            for row, x in zip(batch.rows, batch.x, strict=True):
                rows.append(_rows(rows, subject, names[row], wanted, measure, row, x[None]))
            for row, reason in batch.bad:
                rows.append(_unusable(subject, names[row], wanted, reason))
    found = [dict(row) for _, row in rows]
    good = [row for row in found if not row.get("error")]
    if not good:
        work.store.discard()  # it holds nothing that is worth going on with
    check_some(good, [(row["image"], row["error"]) for row in found if row.get("error")])
    write_table(work.table, columns_of(found), found)
    used = {(row["model"], row["image"]) for row in good}  # what but one part of has an error can be used
    for entry in found:
        if (entry["model"], entry["image"]) not in used:
            work.note_unusable(entry["image"], entry["error"])
    return good


def _rows(
    rows: Rows, subject: Subject, image: str, wanted: list[str], measure: Measure, row: int, x: Tensor
) -> list[tuple[str, Row]]:
    try:
        found = measure(subject, row, x)
    except ValueError as error:
        return _unusable(subject, image, wanted, f"{image}: {error}")
    return [
        (_key(subject, image, part), {"model": subject.name, "image": image, "part": part, **found[part]})
        for part in wanted
        if _key(subject, image, part) not in rows.done
    ]


def _unusable(subject: Subject, image: str, wanted: list[str], reason: str) -> list[tuple[str, Row]]:
    return [
        (_key(subject, image, part), {"model": subject.name, "image": image, "part": part, "error": reason}) for part in wanted
    ]


def _key(subject: Subject, image: str, part: str) -> str:
    return f"{subject.name}|{image}|{part}"
