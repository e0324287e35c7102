"""Images and their labels listed in a CSV: a row an image, with its path, what it shows, and of which split it is."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from .decode import printable
from .labels import SPLITS, BadLabels, LabelledImages, checked, targets_of, words_of
from .sources import ImageFiles
from .tables import column_named

LIST_ENDING = ".csv"
_PATHS = ("image", "slide", "path", "file")  # what columns of paths are called
_LABEL, _SPLIT = "label", "split"

Row = dict[str, str]


def from_list(path: Path, split: str) -> LabelledImages:
    """The images of a split, whose classes are those of the whole list; paths are relative to the list's folder.

    Raises:
        FileNotFoundError: no row is of that split.
        BadLabels: a column is missing, a row has no path, label or split, or an image is there twice.
    """
    rows, names = csv_rows(path)
    column = column_named(names, _PATHS, str(path))
    label = column_named(names, (_LABEL,), str(path))
    files = [_value(path, rows, number, column) for number in range(len(rows))]
    name, times = next(iter(Counter(files).most_common(1)), ("", 0))
    if times > 1:
        raise BadLabels(f"{path}: has {printable(name)} more than once: leave it there once")
    values = [_value(path, rows, number, label) for number in range(len(rows))]
    numbered = all(value.isdecimal() for value in values)
    targets, classes = targets_of([int(value) if numbered else value for value in values], False, None, str(path))
    members = rows_of_split(path, rows, names, split)
    if not members:
        raise FileNotFoundError(f"{path}: has no rows of split {' or '.join(words_of(split))}")
    paths = tuple(path.parent / files[number] for number in members)
    root = path.parent if all(file.is_relative_to(path.parent) for file in paths) else None
    return checked(LabelledImages(ImageFiles(paths, root), targets[members], classes), str(path))


def csv_rows(path: Path) -> tuple[list[Row], list[str]]:
    """(rows, names of the columns). BadLabels: it cannot be read."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            return list(reader), list(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadLabels(f"{path}: cannot be read as CSV ({error})") from None


def rows_of_split(path: Path, rows: Sequence[Row], names: Sequence[str], split: str) -> list[int]:
    """Which rows of a list are of a split; all are "train" where it has no column that says so.

    Raises:
        BadLabels: a row says no split, or one that nobody knows.
    """
    if _SPLIT not in names:
        return list(range(len(rows))) if split == "train" else []
    said = [_value(path, rows, number, _SPLIT).lower() for number in range(len(rows))]
    every = [word for words in SPLITS.values() for word in words]
    for number, word in enumerate(said):
        if word not in (*every, split):
            raise BadLabels(f"{path}: row {number} is of split {printable(word)}, which is none of {', '.join(every)}")
    chosen = next((word for word in words_of(split) if word in said), None)
    return [number for number, word in enumerate(said) if word == chosen]


def column_of_list(path: Path, split: str, column: str) -> list[str]:
    """What a column says of the images of a split, in their order. BadLabels: there is no such column."""
    rows, names = csv_rows(path)
    if column not in names:
        raise BadLabels(f"{path}: has no column {column!r}, but {', '.join(names)}")
    return [rows[number][column] or "" for number in rows_of_split(path, rows, names, split)]


def _value(path: Path, rows: Sequence[Row], number: int, column: str) -> str:
    """Of a row, what has to be there."""
    value = (rows[number][column] or "").strip()
    if not value:
        raise BadLabels(f"{path}: row {number} has no {column}")
    return value
