"""One measurement for each model and image, kept as soon as it is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Generic, Self, TypeVar

from torch import Tensor

from ...runs.store import Rows
from ...runs.sweep import check_some
from ...runs.table import Row, columns_of, write_table
from .experiment import Workplace
from .subjects import Material, Subject


@dataclass(frozen=True)
class Columns:
    """What one part of an image gives: the fields of a subclass, a dataclass, are columns of the table.

    A column may have the name of a keyword of Python: its field has an underscore at the end (`class_`).
    """

    def to_row(self) -> Row:
        """As JSON and tables hold it."""
        return {column.name.rstrip("_"): getattr(self, column.name) for column in fields(self)}

    @classmethod
    def of_row(cls, row: Row) -> Self:
        """What `to_row` made, perhaps in another run."""
        return cls(**{column.name: row[column.name.rstrip("_")] for column in fields(cls)})


@dataclass(frozen=True)
class Failed(Columns):
    """Why one part of an image gives nothing."""

    error: str


T = TypeVar("T", bound=Columns)

# (subject, row of the image, (1, C, H, W) prepared image) -> what each part gives
Measure = Callable[[Subject, int, Tensor], Mapping[str, T | Failed]]


@dataclass(frozen=True, slots=True)
class Measurement(Generic[T]):
    """What one part of an image gives, asked of one model."""

    model: str
    image: str
    part: str
    value: T


@dataclass(frozen=True, slots=True)
class Measurements(Generic[T]):
    """All that was measured, in the order in which it was."""

    rows: Sequence[Measurement[T]]

    def of(self, subject: Subject, part: str) -> list[T]:
        """What a part gives of each image, asked of a model."""
        return [row.value for row in self.rows if row.model == subject.name and row.part == part]


def measured(
    work: Workplace,
    material: Material,
    subjects: Iterable[Subject],
    parts: Callable[[Subject], Iterable[str]],
    measure: Measure[T],
    read: Callable[[Row], T],
) -> Measurements[T]:
    """Measure each subject on each image, and keep the rows on the disk. The table of all rows is written, too.

    Images that cannot be read, or are smaller than a window, have a row that says so in its column `error` and no others, and
    are noted as unusable.

    Args:
        work: where the experiment works.
        material: images.
        subjects: models to measure.
        parts: names of the rows that one image gives for a subject.
        measure: does it; called in inference mode, the model in eval mode and full float32.
        read: makes of a row again what `measure` gave.

    Returns:
        All that was measured; the table has columns `model`, `image`, `part` and those of `measure`.

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
                _append(rows, subject, names[row], wanted, _measured(measure, subject, row, names[row], wanted, x[None]))
            for row, reason in batch.bad:
                _append(rows, subject, names[row], wanted, dict.fromkeys(wanted, Failed(reason)))
    every = [entry for _, entry in rows]
    good = [entry for entry in every if not entry.get("error")]
    if not good:
        work.store.discard()  # it holds nothing that is worth going on with
    check_some(good, [(entry["image"], entry["error"]) for entry in every if entry.get("error")])
    write_table(work.table, columns_of(every), every)
    used = {(row["model"], row["image"]) for row in good}  # an image of which but one part has an error can be used
    for entry in every:
        if (entry["model"], entry["image"]) not in used:
            work.note_unusable(entry["image"], entry["error"])
    return Measurements([Measurement(entry["model"], entry["image"], entry["part"], read(entry)) for entry in good])


def _measured(
    measure: Measure[T], subject: Subject, row: int, image: str, wanted: Iterable[str], x: Tensor
) -> Mapping[str, T | Failed]:
    try:
        return measure(subject, row, x)
    except ValueError as error:
        return dict.fromkeys(wanted, Failed(f"{image}: {error}"))


def _append(rows: Rows, subject: Subject, image: str, wanted: Iterable[str], values: Mapping[str, Columns]) -> None:
    """The rows of one image that are not kept yet."""
    rows.append(
        (key, {"model": subject.name, "image": image, "part": part, **values[part].to_row()})
        for part in wanted
        if (key := _key(subject, image, part)) not in rows.done
    )


def _key(subject: Subject, image: str, part: str) -> str:
    return f"{subject.name}|{image}|{part}"
