"""Labelled images of Parquet tables, tar shards and the hub: copied by `datasets`, or streamed from where they lie."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..missing import needs
from .decode import BadImage, Photo, decode, decode_bytes
from .labels import BadLabels, LabelledImages, checked, reason, targets_of, words_of
from .sources import TABLE_ENDING, Images, ParquetImages, opened

HUB = "hub:"  # before the name of a data set on the hub
_IMAGES = ("image", "jpg", "jpeg", "png", "webp", "img")  # what columns of images are called
_LABELS = ("label", "labels", "cls", "json", "fine_label")
STREAMED_GROUPS = 16  # groups of rows that a stream holds, and mixes
_IN_MEMORY = 2 << 30  # bytes of tables that are read whole rather than mapped from a cache on the disk


@dataclass(frozen=True)
class TableImages(Images):
    """The encoded images of a `datasets` table, in memory or mapped from the disk: any row at any time.

    Args:
        table: with a column `image` that is not decoded.
        name: of the whole, for the names of the rows.
    """

    table: Any
    name: str

    @property
    def names(self) -> Sequence[str]:
        return [f"{self.name}:{row}" for row in range(len(self.table))]

    def photo(self, row: int) -> Photo:
        value = self.table[row]["image"]
        name = f"{self.name}:{row}"
        if value is None or (value["bytes"] is None and value["path"] is None):
            raise BadImage(f"{name}: the table holds no image there")
        if value["bytes"] is None:
            return replace(decode(value["path"]), name=name)
        return decode_bytes(value["bytes"], name)


def from_tables(paths: Sequence[Path], kind: str, name: str) -> LabelledImages:
    datasets = needs("datasets", "train")
    files = [str(path) for path in paths]
    whole = sum(path.stat().st_size for path in paths) < _IN_MEMORY
    datasets.disable_progress_bars()
    try:
        if kind == "parquet":
            table = datasets.Dataset.from_parquet(files, keep_in_memory=whole)
        else:
            table = datasets.load_dataset(kind, data_files=files, split="train", keep_in_memory=whole)
    except Exception as error:  # whatever pyarrow, the tar reader and the cache raise
        raise ValueError(f"{paths[0]}: cannot be read as {kind} ({reason(error)})") from None
    return _labelled(table, name, str(paths[0]))


def from_hub(name: str, split: str) -> LabelledImages:
    datasets = needs("datasets", "train")
    word = hub_split(name, split)
    if word is None:
        raise FileNotFoundError(f"{HUB}{name}: has no split called {' or '.join(words_of(split))}")
    try:
        table = datasets.load_dataset(name, split=word)
    except Exception as error:  # of the network, the hub and the data set's own files
        raise ValueError(f"{HUB}{name}: cannot be read ({reason(error)})") from None
    return _labelled(table, f"{name} {word}", f"{HUB}{name}")


def streamed_from_hub(name: str, split: str) -> LabelledImages:
    """Of a data set whose files are Parquet tables: each is read where it lies."""
    word = hub_split(name, split)
    if word is None:
        raise FileNotFoundError(f"{HUB}{name}: has no split called {' or '.join(words_of(split))}")
    files = needs("datasets", "train").load_dataset_builder(name).config.data_files[word]
    if not all(str(file).endswith(TABLE_ENDING) for file in files):
        raise ValueError(f"{HUB}{name}: its files are no Parquet tables; take it without streaming")
    return streamed([str(file) for file in files], f"{name} {word}")


def streamed(paths: Sequence[Path | str], name: str) -> LabelledImages:
    """The labels of all rows are read now, the images when they are asked for."""
    from pyarrow import ArrowException, parquet

    datasets = needs("datasets", "train")
    values: list[Any] = []
    for path in paths:
        try:
            with opened(path) as file:
                table = parquet.ParquetFile(file)
                features = datasets.Features.from_arrow_schema(table.schema_arrow)
                label = column_named(features, _LABELS, str(path))
                image = column_named(features, _IMAGES, str(path))
                values += table.read(columns=[label])[label].to_pylist()
        except (OSError, ArrowException) as error:
            raise ValueError(f"{path}: cannot be read as parquet ({reason(error)})") from None
    several = any(isinstance(value, (list, tuple)) for value in values)
    targets, classes = targets_of(values, several, _names_of(features[label]), str(paths[0]))
    images = ParquetImages(tuple(paths), column=image, keep=STREAMED_GROUPS)
    return checked(LabelledImages(images, targets, classes), name)


def hub_split(name: str, split: str) -> str | None:
    datasets = needs("datasets", "train")
    try:
        splits = datasets.get_dataset_split_names(name)
    except Exception as error:  # of the network, the hub and the data set's own files
        raise FileNotFoundError(f"{HUB}{name}: cannot be found ({reason(error)})") from None
    return next((word for word in words_of(split) if word in splits), None)


def _labelled(table: Any, name: str, where: str) -> LabelledImages:
    """Of a `datasets` table, whichever of the usual names its columns have."""
    datasets = needs("datasets", "train")
    image, label = column_named(table.features, _IMAGES, where), column_named(table.features, _LABELS, where)
    feature, values = table.features[label], table[label][:]
    if label == "json":
        values = [value.get("label", value.get("labels")) if isinstance(value, dict) else value for value in values]
        feature = None
    try:
        table = table.select_columns([image]).cast_column(image, datasets.Image(decode=False))
    except Exception as error:  # pyarrow's, and TypeError
        raise ValueError(f"{where}: its column {image!r} holds no images ({reason(error)})") from None
    if image != "image":
        table = table.rename_column(image, "image")
    several = any(isinstance(value, (list, tuple)) for value in values)
    targets, classes = targets_of(values, several, _names_of(feature), where)
    return checked(LabelledImages(TableImages(table, name), targets, classes), where)


def column_named(columns: Iterable[str], names: Sequence[str], where: str) -> str:
    """The first of some names that a column has. BadLabels: none has."""
    columns = list(columns)
    for name in names:
        if name in columns:
            return name
    raise BadLabels(f"{where}: has no column {' or '.join(map(repr, names[:2]))}, but {', '.join(columns)}")


def _names_of(feature: Any) -> Sequence[str] | None:
    """Of the classes of a column, or of the lists in it."""
    return getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None)
