"""Images with their labels: a folder for each class, Parquet tables, tar shards, or a data set of the hub."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..missing import needs
from .decode import BadImage, Photo, decode, decode_bytes
from .names import ClassNames
from .sources import IMAGE_ENDINGS, TABLE_ENDING, ImageFiles, Images, ParquetImages, opened

HUB = "hub:"  # before the name of a data set on the hub
ARRAY_ENDING = ".npz"
_TABLES = {TABLE_ENDING: "parquet", ".tar": "webdataset"}  # ending -> what `datasets` calls the kind
_SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation", "test")}
_PICTURES = (1, 3, 4)  # channels of grey, RGB and RGBA
_IMAGES = ("image", "jpg", "jpeg", "png", "webp", "img")  # what columns of images are called
_LABELS = ("label", "labels", "cls", "json", "fine_label")
STREAMED_GROUPS = 16  # groups of rows that a stream holds, and mixes
_IN_MEMORY = 2 << 30  # bytes of tables that are read whole rather than mapped from a cache on the disk


class BadLabels(ValueError):
    """Images without the labels that training or evaluation needs. The message names them and says what to do."""


@dataclass(frozen=True)
class LabelledImages:
    """Images and what they show.

    Args:
        images: in the order of the targets.
        targets: (N,) int64 indices into `classes`, or (N, K) bool where an image may show several classes or none.
        classes: what the targets stand for.
    """

    images: Images
    targets: Tensor
    classes: ClassNames

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def multilabel(self) -> bool:
        """Whether an image may show several classes, or none."""
        return self.targets.ndim == 2

    @property
    def counts(self) -> Tensor:
        """(K,) images that show each class."""
        return self.targets.sum(0) if self.multilabel else torch.bincount(self.targets, minlength=len(self.classes))

    def shares(self, row: int) -> Tensor:
        """(K,) float32: 1 for each class that an image shows."""
        if self.multilabel:
            return self.targets[row].float()
        shares = torch.zeros(len(self.classes))
        shares[self.targets[row]] = 1
        return shares

    def questions(self) -> LabelledImages:
        """The same with a yes or no to each class by itself; of two classes only the second is asked for."""
        if self.multilabel:
            return self
        targets = torch.nn.functional.one_hot(self.targets, len(self.classes)).bool()
        first = 1 if len(self.classes) == 2 else 0
        return replace(self, targets=targets[:, first:], classes=self.classes[first:])

    def take(self, rows: Sequence[int] | np.ndarray[Any, Any]) -> LabelledImages:
        """Those rows alone."""
        index = [int(row) for row in rows]
        return replace(self, images=Subset(self.images, index), targets=self.targets[index])

    def hold_out(self, share: float = 0.05) -> tuple[LabelledImages, LabelledImages]:
        """(the rest, a fixed share for selection, at least one image): the same rows every time, whatever the seed of a run."""
        order = np.random.default_rng(0).permutation(len(self))
        held = max(1, round(share * len(self)))
        return self.take(np.sort(order[held:])), self.take(np.sort(order[:held]))


@dataclass(frozen=True)
class Subset(Images):
    """Some rows of a collection of images."""

    images: Images
    rows: Sequence[int]

    @property
    def names(self) -> Sequence[str]:
        every = self.images.names
        return [every[row] for row in self.rows]

    @property
    def starts(self) -> Sequence[int]:
        """Of the whole collection's groups, as far as these rows, in rising order, have a part in them."""
        return sorted({bisect_left(self.rows, start) for start in self.images.starts} - {len(self.rows)})

    def photo(self, row: int) -> Photo:
        return self.images.photo(self.rows[row])

    def pixels(self, row: int, channels: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        return self.images.pixels(self.rows[row], channels)


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


@dataclass(frozen=True)
class ArrayImages(Images):
    """Images of one size as one array.

    Args:
        values: (N, H, W, C) uint8.
        name: of the whole, for the names of the rows.
    """

    values: np.ndarray[Any, np.dtype[np.uint8]]
    name: str

    @property
    def names(self) -> Sequence[str]:
        return [f"{self.name}:{row}" for row in range(len(self.values))]

    def photo(self, row: int) -> Photo:
        name = f"{self.name}:{row}"
        if self.values.shape[3] not in _PICTURES:
            raise BadImage(f"{name}: {self.values.shape[3]} channels are no picture: ask for its pixels")
        return replace(decode(self.values[row]), name=name)

    def pixels(self, row: int, channels: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        there = self.values.shape[3]
        if channels == there:
            found: np.ndarray[Any, np.dtype[np.uint8]] = self.values[row]
            return found
        if there not in _PICTURES or channels not in (1, 3):
            raise BadImage(f"{self.name}:{row}: has {there} channels, where {channels} are expected")
        return super().pixels(row, channels)


def open_labelled(source: str | PathLike[str], split: str = "train", stream: bool = False) -> LabelledImages:
    """Labelled images from wherever they are kept.

    Args:
        source: a folder with a folder of images for each class; or one with `train` and `val` folders of that kind; a folder
            with Parquet tables (`train.parquet`, `train-0.parquet`, ...) or tar shards (`train-000.tar`, ...) in the
            WebDataset form (`name.jpg` beside `name.cls` or `name.json`); or a .npz file with `train_images` (N, H, W) or
            (N, H, W, C) uint8 and `train_labels` (N,) or (N, K) as MedMNIST has them, for any number of channels; or
            "hub:NAME", a data set of the hub. Tables have a column `image` and a column `label` (a class: number or name) or
            `labels` (a list of classes).
        split: "train" or "val"; a folder without splits is all "train".
        stream: leave Parquet tables where they are, also those of the hub, and read them in groups of rows while they are
            used; otherwise `datasets` keeps a copy from which any row is read at once.

    Raises:
        FileNotFoundError: there is no such folder or split.
        BadLabels: labels are missing or out of range, there is only one class, or a class has an empty folder.
        ValueError: a table, a data set of the hub or a .npz file cannot be read.
        ImportError: `datasets` is missing, for all but folders of images.
    """
    text = fspath(source)
    if text.startswith(HUB):
        return (_streamed_from_hub if stream else _from_hub)(text.removeprefix(HUB), split)
    root = Path(text)
    if stream:
        found = _files_of(root, split, TABLE_ENDING) if root.is_dir() else []
        if not found:
            raise ValueError(f"{root}: only Parquet tables can be streamed, and there is no {split}{TABLE_ENDING}, {split}-0...")
        return _streamed(found, f"{root.name} {split}")
    if root.suffix == ARRAY_ENDING and root.is_file():
        return _from_arrays(root, split)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: there is no such folder, nor a {ARRAY_ENDING} file")
    for ending, kind in _TABLES.items():
        if found := _files_of(root, split, ending):
            return _from_tables(found, kind, f"{root.name} {split}")
    folder = _folder_of(root, split)
    if folder is not None:
        return _from_folders(folder)
    for ending in _TABLES:
        if any(root.glob(f"*{ending}")):
            raise FileNotFoundError(f"{root}: has no {split}{ending} and no {split}-0{ending}, ...")
    raise FileNotFoundError(f"{root}: has no folder called {' or '.join(_words(split))}")


def has_split(source: str | PathLike[str], split: str) -> bool:
    """Whether a source has that split; of the hub this is asked over the network."""
    text = fspath(source)
    if text.startswith(HUB):
        return _hub_split(text.removeprefix(HUB), split) is not None
    root = Path(text)
    if root.suffix == ARRAY_ENDING and root.is_file():
        return _array_split(root, split) is not None
    return any(_files_of(root, split, ending) for ending in _TABLES) or _folder_of(root, split) is not None


def _words(split: str) -> Sequence[str]:
    """What people call a split; where a source has several of them, the first counts."""
    return _SPLITS.get(split, (split,))


def _files_of(root: Path, split: str, ending: str) -> list[Path]:
    for word in _words(split):
        if found := sorted([*root.glob(f"{word}{ending}"), *root.glob(f"{word}-*{ending}")]):
            return found
    return []


def _folder_of(root: Path, split: str) -> Path | None:
    """The folder that holds the class folders of a split."""
    folders = {path.name.lower(): path for path in _folders_in(root)}
    called = {word: folders[word] for words in (*_SPLITS.values(), (split,)) for word in words if word in folders}
    # "train" may be a vehicle and "test" a class: they are splits where one holds folders, or nothing else is there.
    if called and (len(called) == len(folders) or any(_folders_in(path) for path in called.values())):
        return next((called[word] for word in _words(split) if word in called), None)
    only_tables = not folders and any(True for ending in _TABLES for _ in root.glob(f"*{ending}"))
    return root if split == "train" and not only_tables else None


def _folders_in(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _from_folders(root: Path) -> LabelledImages:
    folders = _folders_in(root)
    if not folders:
        raise BadLabels(f"{root}: has no folders of classes; a classifier needs two or more")
    paths: list[Path] = []
    targets: list[int] = []
    for label, folder in enumerate(folders):
        found = sorted(
            path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_ENDINGS and not path.name.startswith(".")
        )
        if not found:
            raise BadLabels(f"{folder}: holds no images, but its name is that of a class; fill it or take it away")
        paths += found
        targets += [label] * len(found)
    classes = ClassNames.from_words([folder.name for folder in folders])
    return _checked(LabelledImages(ImageFiles(tuple(paths), root), torch.tensor(targets, dtype=torch.int64), classes), str(root))


def _from_arrays(path: Path, split: str) -> LabelledImages:
    word = _array_split(path, split)
    if word is None:
        raise FileNotFoundError(f"{path}: has no {split}_images")
    with _arrays(path) as arrays:
        if f"{word}_labels" not in arrays:
            raise BadLabels(f"{path}: has {word}_images but no {word}_labels")
        values, labels = arrays[f"{word}_images"], arrays[f"{word}_labels"]
    if values.dtype != np.uint8 or values.ndim not in (3, 4):
        raise ValueError(f"{path}: {word}_images must be uint8 of (N, H, W) or (N, H, W, C), got {values.dtype} {values.shape}")
    if labels.ndim not in (1, 2) or labels.shape[1:] == (0,):
        raise BadLabels(f"{path}: {word}_labels must be of shape (N,) or (N, K), got {labels.shape}")
    if len(values) != len(labels):
        raise BadLabels(f"{path}: holds {len(values)} {word}_images, but {len(labels)} {word}_labels")
    images = ArrayImages(values[..., None] if values.ndim == 3 else values, f"{path.name} {word}")
    if labels.ndim == 2 and labels.shape[1] > 1:
        if not np.isin(labels, (0, 1)).all():
            raise BadLabels(f"{path}: {word}_labels of shape {labels.shape} must be 0 or 1 for each class")
        targets, classes = torch.from_numpy(labels.astype(bool)), ClassNames.numbered(labels.shape[1])
    else:
        targets, classes = _targets(labels.reshape(-1).tolist(), False, None, str(path))
    return _checked(LabelledImages(images, targets, classes), str(path))


def _array_split(path: Path, split: str) -> str | None:
    with _arrays(path) as arrays:
        return next((word for word in _words(split) if f"{word}_images" in arrays), None)


@contextmanager
def _arrays(path: Path) -> Iterator[Any]:
    """The arrays of a .npz file, each read when it is asked for."""
    try:
        with np.load(path) as arrays:
            yield arrays
    except BadLabels:
        raise
    except Exception as error:  # numpy, zipfile and zlib raise whatever they stumble over in a broken file
        raise ValueError(f"{path}: is no .npz file, or a broken one ({_reason(error)})") from None


def _from_tables(paths: Sequence[Path], kind: str, name: str) -> LabelledImages:
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
        raise ValueError(f"{paths[0]}: cannot be read as {kind} ({_reason(error)})") from None
    return _labelled(table, name, str(paths[0]))


def _from_hub(name: str, split: str) -> LabelledImages:
    datasets = needs("datasets", "train")
    found = _hub_split(name, split)
    if found is None:
        raise FileNotFoundError(f"{HUB}{name}: has no split called {' or '.join(_words(split))}")
    try:
        table = datasets.load_dataset(name, split=found)
    except Exception as error:  # of the network, the hub and the data set's own files
        raise ValueError(f"{HUB}{name}: cannot be read ({_reason(error)})") from None
    return _labelled(table, f"{name} {found}", f"{HUB}{name}")


def _streamed_from_hub(name: str, split: str) -> LabelledImages:
    """Of a data set whose files are Parquet tables: each is read where it lies."""
    found = _hub_split(name, split)
    if found is None:
        raise FileNotFoundError(f"{HUB}{name}: has no split called {' or '.join(_words(split))}")
    files = needs("datasets", "train").load_dataset_builder(name).config.data_files[found]
    if not all(str(file).endswith(TABLE_ENDING) for file in files):
        raise ValueError(f"{HUB}{name}: its files are no Parquet tables; take it without streaming")
    return _streamed([str(file) for file in files], f"{name} {found}")


def _streamed(paths: Sequence[Path | str], name: str) -> LabelledImages:
    """The labels of all rows are read now, the images when they are asked for."""
    arrow, datasets = needs("pyarrow", "train"), needs("datasets", "train")
    parquet = needs("pyarrow.parquet", "train")
    values: list[Any] = []
    for path in paths:
        try:
            with opened(path) as file:
                table = parquet.ParquetFile(file)
                features = datasets.Features.from_arrow_schema(table.schema_arrow)
                label = _column(features, _LABELS, str(path))
                image = _column(features, _IMAGES, str(path))
                values += table.read(columns=[label])[label].to_pylist()
        except (OSError, arrow.ArrowException) as error:
            raise ValueError(f"{path}: cannot be read as parquet ({_reason(error)})") from None
    several = any(isinstance(value, (list, tuple)) for value in values)
    targets, classes = _targets(values, several, _names_of(features[label]), str(paths[0]))
    images = ParquetImages(tuple(paths), column=image, keep=STREAMED_GROUPS)
    return _checked(LabelledImages(images, targets, classes), name)


def _hub_split(name: str, split: str) -> str | None:
    datasets = needs("datasets", "train")
    try:
        there = datasets.get_dataset_split_names(name)
    except Exception as error:  # of the network, the hub and the data set's own files
        raise FileNotFoundError(f"{HUB}{name}: cannot be found ({_reason(error)})") from None
    return next((word for word in _words(split) if word in there), None)


def _reason(error: Exception) -> str:
    """On one line; the cause says more than what wraps it."""
    return (" ".join(str(error.__cause__ or error).split()) or type(error).__name__)[:200]


def _labelled(table: Any, name: str, where: str) -> LabelledImages:
    """Of a `datasets` table, whichever of the usual names its columns have."""
    datasets = needs("datasets", "train")
    image, label = _column(table.features, _IMAGES, where), _column(table.features, _LABELS, where)
    feature, values = table.features[label], table[label][:]
    if label == "json":
        values = [value.get("label", value.get("labels")) if isinstance(value, dict) else value for value in values]
        feature = None
    try:
        table = table.select_columns([image]).cast_column(image, datasets.Image(decode=False))
    except Exception as error:  # pyarrow's, and TypeError
        raise ValueError(f"{where}: its column {image!r} holds no images ({_reason(error)})") from None
    if image != "image":
        table = table.rename_column(image, "image")
    several = any(isinstance(value, (list, tuple)) for value in values)
    targets, classes = _targets(values, several, _names_of(feature), where)
    return _checked(LabelledImages(TableImages(table, name), targets, classes), where)


def _column(features: Mapping[str, Any], names: Sequence[str], where: str) -> str:
    for name in names:
        if name in features:
            return name
    raise BadLabels(f"{where}: has no column {' or '.join(map(repr, names[:2]))}, but {', '.join(features)}")


def _names_of(feature: Any) -> Sequence[str] | None:
    """Of the classes of a column, or of the lists in it."""
    return getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None)


def _targets(values: Sequence[Any], several: bool, names: Sequence[str] | None, where: str) -> tuple[Tensor, ClassNames]:
    """Class numbers or names, one or several a row, as targets."""
    rows = [value if several else (value,) for value in values]
    for row, labels in enumerate(rows):
        if labels is None or None in labels:
            raise BadLabels(f"{where}: row {row} has no label")
    if any(isinstance(label, str) for labels in rows for label in labels):
        names = sorted({str(label) for labels in rows for label in labels})
        number = {name: place for place, name in enumerate(names)}
        rows = [[number[str(label)] for label in labels] for labels in rows]
    for row, labels in enumerate(rows):
        for label in labels:
            if not isinstance(label, (int, float)) or not float(label).is_integer():
                raise BadLabels(f"{where}: row {row} has label {label!r}, which is neither the number of a class nor its name")
    numbers = [[int(label) for label in labels] for labels in rows]
    flat = [label for labels in numbers for label in labels]
    count = len(names) if names is not None else max(flat, default=-1) + 1
    for row, labels in enumerate(numbers):
        for label in labels:
            if not 0 <= label < count:
                raise BadLabels(f"{where}: row {row} has label {label}, but the classes are numbered 0 to {count - 1}")
    classes = ClassNames.from_words(names) if names is not None else ClassNames.numbered(count)
    if not several:
        if names is None and len(set(flat)) == 1:
            raise BadLabels(f"{where}: has only one class ({classes[flat[0]]}); a classifier needs two or more")
        return torch.tensor(flat, dtype=torch.int64), classes
    targets = torch.zeros(len(rows), count, dtype=torch.bool)
    for row, labels in enumerate(numbers):
        targets[row, labels] = True
    return targets, classes


def _checked(images: LabelledImages, where: str) -> LabelledImages:
    if not len(images):
        raise BadLabels(f"{where}: holds no images")
    if not len(images.classes):
        raise BadLabels(f"{where}: not one of its images has a label")
    if len(images.classes) < 2 and not images.multilabel:
        raise BadLabels(f"{where}: has only one class ({images.classes[0]}); a classifier needs two or more")
    return images
