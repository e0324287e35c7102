"""What images belong to (a patient, a part, a place), from a column of a CSV beside the folder or of their table."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike, fspath
from pathlib import Path

from .decode import printable
from .labelled import has_split, open_labelled, table_files
from .labels import BadLabels, LabelledImages
from .listed import LIST_ENDING, column_of_list, csv_rows


def groups_of(source: str | PathLike[str], split: str, images: LabelledImages, column: str) -> list[str]:
    """The group of every image of a split.

    Args:
        source: as for `open_labelled`: a folder of images, with a CSV inside or beside it (`photos.csv` for `photos/`) that has
            a row an image; a folder with Parquet tables; or a CSV that lists the images.
        split: which the images are.
        images: as `open_labelled` reads them.
        column: of the groups. Of a CSV, the images are named by the first column that names them all: by the path inside the
            folder, the file name, or that without its ending.

    Returns:
        (N,) texts.

    Raises:
        BadLabels: there is no such column, no column names all images, or an image has no group.
    """
    root = Path(fspath(source))
    tables = table_files(root, split) if root.is_dir() else []
    if tables:
        groups = _of_tables(tables, column)
    elif root.suffix == LIST_ENDING and root.is_file():
        groups = column_of_list(root, split, column)
    else:
        groups = _of_csv(root, images, column)
    for name, group in zip(images.images.names, groups, strict=True):
        if not group:
            raise BadLabels(f"{printable(name)}: has nothing in column {column!r}, which is to say what it belongs to")
    return groups


def training_groups(source: str | PathLike[str], images: LabelledImages, column: str) -> list[str] | None:
    """The groups of the `train` split, none of which is in `val` too; None where no column is named.

    Raises:
        BadLabels: as `groups_of` and `check_apart`.
    """
    if not column:
        return None
    groups = groups_of(source, "train", images, column)
    if has_split(source, "val"):
        check_apart(groups, groups_of(source, "val", open_labelled(source, "val"), column), column)
    return groups


def check_apart(first: Sequence[str], second: Sequence[str], column: str) -> None:
    """See that no group has images in `train` (first) and in `val` (second). BadLabels: one has; the message names it."""
    common = sorted(set(first) & set(second))
    if common:
        raise BadLabels(
            f"{len(common)} of the {column} values have images in train and in val, {common[0]!r} for one: what a model was "
            "trained on says nothing about how well it does; move them to one side"
        )


def _of_tables(paths: Sequence[Path], column: str) -> list[str]:
    from pyarrow import parquet

    groups: list[str] = []
    for path in paths:
        names = parquet.read_schema(path).names
        if column not in names:
            raise BadLabels(f"{path}: has no column {column!r}, but {', '.join(names)}")
        values = parquet.read_table(path, columns=[column])[column].to_pylist()
        groups += ["" if value is None else str(value) for value in values]
    return groups


def _of_csv(root: Path, images: LabelledImages, column: str) -> list[str]:
    files = [*sorted(root.glob("*.csv")), root.with_name(f"{root.name}.csv")] if root.is_dir() else []
    seen: list[str] = []
    for path in filter(Path.is_file, files):
        rows, names = csv_rows(path)
        if column in names:
            return _matched(path, rows, names, images, column)
        seen.append(f"{path.name} has {', '.join(names)}")
    where = f"; {'; '.join(seen)}" if seen else f", and no CSV lies in it or beside it ({root.name}.csv)"
    raise BadLabels(f"{root}: no CSV says what the images belong to in a column {column!r}{where}")


def _matched(path: Path, rows: Sequence[dict[str, str]], names: Sequence[str], images: LabelledImages, column: str) -> list[str]:
    """By the column that names most of the images, in any of the ways to name them."""
    best: dict[str, str] = {}
    missing: list[str] = list(images.images.names)
    for key in names:
        group_of = {row[key]: row[column] or "" for row in rows if row[key]}
        found = {name: group_of[way] for name in images.images.names for way in _ways(name) if way in group_of}
        without = [name for name in images.images.names if name not in found]
        if len(without) < len(missing):
            best, missing = found, without
    if missing:
        raise BadLabels(
            f"{path}: no column names all {len(images):,} images, {printable(missing[0])} for one; name each by its path inside "
            "the folder or by its file name"
        )
    return [best[name] for name in images.images.names]


def _ways(name: str) -> tuple[str, ...]:
    """What people call an image, the least particular first, as the last that is found counts."""
    path = Path(name)
    return path.stem, path.name, name
