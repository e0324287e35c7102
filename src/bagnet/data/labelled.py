"""Labelled images from wherever they are kept: a folder for each class, lists, tables, shards, arrays, or the hub."""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path

import torch

from ..files import missing_hint
from .arrays import array_split, from_arrays
from .folders import Walk
from .labels import SPLITS, BadLabels, LabelledImages, checked, words_of
from .listed import LIST_ENDING, csv_rows, from_list, rows_of_split
from .names import ClassNames
from .sources import IMAGE_ENDINGS, TABLE_ENDING, ImageFiles
from .tables import HUB, from_hub, from_tables, hub_split, streamed, streamed_from_hub

ARRAY_ENDING = ".npz"
_TABLES = {TABLE_ENDING: "parquet", ".tar": "webdataset"}  # ending -> what `datasets` calls the kind


def open_labelled(source: str | PathLike[str], split: str = "train", stream: bool = False) -> LabelledImages:
    """Labelled images from wherever they are kept.

    Args:
        source: a folder with a folder of images for each class; or one with `train` and `val` folders of that kind; a folder
            with Parquet tables (`train.parquet`, `train-0.parquet`, ...) or tar shards (`train-000.tar`, ...) in the
            WebDataset form (`name.jpg` beside `name.cls` or `name.json`); or a .npz file with `train_images` (N, H, W) or
            (N, H, W, C) uint8 and `train_labels` (N,) or (N, K) as MedMNIST has them, for any number of channels; or a .csv
            file with a row an image: `image` (or `slide`), its path from the file's folder, `label`, and `split` (train or val)
            where there are several; or "hub:NAME", a data set of the hub. Tables have a column `image` and a column `label` (a
            class: number or name) or `labels` (a list of classes).
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
        return (streamed_from_hub if stream else from_hub)(text.removeprefix(HUB), split)
    root = Path(text)
    if stream:
        files = table_files(root, split) if root.is_dir() else []
        if not files:
            raise ValueError(f"{root}: only Parquet tables can be streamed, and there is no {split}{TABLE_ENDING}, {split}-0...")
        return streamed(files, f"{root.name} {split}")
    if root.suffix == ARRAY_ENDING and root.is_file():
        return from_arrays(root, split)
    if root.suffix == LIST_ENDING and root.is_file():
        return from_list(root, split)
    if not root.is_dir():
        raise FileNotFoundError(
            f"{root}: there is no such folder, nor a {ARRAY_ENDING} or {LIST_ENDING} file; {missing_hint(str(root))}"
        )
    for ending, kind in _TABLES.items():
        if files := _files_of(root, split, ending):
            return from_tables(files, kind, f"{root.name} {split}")
    folder = _folder_of(root, split)
    if folder is not None:
        return _from_folders(folder)
    if (tables := _loose_tables(root)) is not None:
        raise FileNotFoundError(f"{root}: has no {split}{tables} and no {split}-0{tables}, ...")
    missing = f"{root}: has no folder called {' or '.join(words_of(split))}"
    raise FileNotFoundError(f"{missing}: ask for its images as split train" if split == "val" and _folders_in(root) else missing)


def has_split(source: str | PathLike[str], split: str) -> bool:
    """Whether a source has that split; of the hub this is asked over the network."""
    text = fspath(source)
    if text.startswith(HUB):
        return hub_split(text.removeprefix(HUB), split) is not None
    root = Path(text)
    if root.suffix == ARRAY_ENDING and root.is_file():
        return array_split(root, split) is not None
    if root.suffix == LIST_ENDING and root.is_file():
        return bool(rows_of_split(root, *csv_rows(root), split))
    return any(_files_of(root, split, ending) for ending in _TABLES) or _folder_of(root, split) is not None


def table_files(root: Path, split: str) -> list[Path]:
    """The Parquet tables of a split, in the order of its rows; none where its images are kept otherwise."""
    return _files_of(root, split, TABLE_ENDING)


def _files_of(root: Path, split: str, ending: str) -> list[Path]:
    """`train.parquet`, or `train-0.parquet` and so on."""
    files = Walk([ending]).files(root)
    for word in words_of(split):
        if chosen := [path for path in files if path.stem == word or path.stem.startswith(f"{word}-")]:
            return chosen
    return []


def _loose_tables(root: Path) -> str | None:
    """The ending of tables or shards that lie in a folder, whatever they are called; None where there are none."""
    return next((ending for ending in _TABLES if Walk([ending]).files(root)), None)


def _folder_of(root: Path, split: str) -> Path | None:
    """The folder that holds the class folders of a split."""
    folders = {path.name.lower(): path for path in _folders_in(root)}
    called = {word: folders[word] for words in (*SPLITS.values(), (split,)) for word in words if word in folders}
    # "train" may be a vehicle and "test" a class: they are splits where one holds folders, or nothing else is there.
    if called and (len(called) == len(folders) or any(_folders_in(path) for path in called.values())):
        return next((called[word] for word in words_of(split) if word in called), None)
    only_tables = not folders and _loose_tables(root) is not None
    return root if split == "train" and not only_tables else None


def _folders_in(root: Path) -> list[Path]:
    return Walk().folders(root)


def _from_folders(root: Path) -> LabelledImages:
    walk = Walk(IMAGE_ENDINGS)
    folders = walk.folders(root)
    if not folders:
        raise BadLabels(f"{root}: has no folders of classes; a classifier needs two or more")
    paths: list[Path] = []
    targets: list[int] = []
    for label, folder in enumerate(folders):
        if not folder.name.isprintable():
            raise BadLabels(f"{str(folder)!r}: the name of this class is no text; rename the folder")
        files = walk.all_files(folder)
        if not files:
            raise BadLabels(f"{folder}: holds no images, but its name is that of a class; fill it or take it away")
        paths += files
        targets += [label] * len(files)
    walk.tell(root)
    classes = ClassNames.from_words([folder.name for folder in folders])
    return checked(LabelledImages(ImageFiles(tuple(paths), root), torch.tensor(targets, dtype=torch.int64), classes), str(root))
