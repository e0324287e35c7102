"""Many images, wherever they are kept: files in folders, or rows of Parquet tables."""

from __future__ import annotations

import codecs
import os
from bisect import bisect_left, bisect_right
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from itertools import accumulate
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np

from ..files import missing_hint
from ..missing import needs
from .decode import BadImage, Photo, decode, decode_bytes
from .folders import Walk

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".gif", ".bmp", ".dcm", ".dicom")
TABLE_ENDING = ".parquet"
LIST_ENDINGS = (".txt", ".lst")

ImageSource: TypeAlias = "str | PathLike[str] | Sequence[str | PathLike[str]]"  # what `open_images` takes


BadParts = list[tuple[str, str]]  # (which part of an image, why it cannot be read) of each


class Large(Protocol):
    """An image of which only parts are read."""

    def check(self) -> None:
        """See that parts of it can be read. BadImage: they cannot."""

    def sampled(
        self, height: int, width: int, count: int, random: np.random.Generator, bad: BadParts | None = None
    ) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """(count, height, width, 3) pixels of parts of it, at random; `bad` gets those that others stand in for.

        Raises:
            BadImage: none can be read.
        """


class Images(Protocol):
    """A numbered collection of images, each with a name of its own. Can be sent to another process."""

    @property
    def names(self) -> Sequence[str]:
        """One a row, all different."""

    @property
    def starts(self) -> Sequence[int]:
        """The first row of each group of rows that are read together, where reading in groups is cheap."""
        return (0,)

    @property
    def fingerprint(self) -> str:
        """A digest by which the same collection is known again; of files, it changes when one is moved or written anew."""
        return _digest(self.names)

    @property
    def seen(self) -> str:
        """Which parts of each image are all that is ever seen, in words; "" where images are seen whole."""
        return ""

    def photo(self, row: int) -> Photo:
        """The image of a row, decoded.

        Raises:
            FileNotFoundError, BadImage: it cannot be read.
        """

    def pixels(self, row: int, channels: int, grey: tuple[float, float] | None = None) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The same as (H, W, channels) uint8, or of an image larger than memory (N, side, side, channels), some tiles of it.

        Pictures have one channel (grey) or three.

        Args:
            row: of the image.
            channels: of the network.
            grey: as `Preprocessing.grey`.

        Raises:
            FileNotFoundError, BadImage: it cannot be read, or has not so many channels.
        """
        if channels not in (1, 3):
            raise BadImage(f"a picture has no {channels} channels: keep such images as arrays, in a .npz file")
        image = self.photo(row).shown(grey)
        pixels = np.array(image.convert("L") if channels == 1 else image, np.uint8)
        return pixels.reshape(image.height, image.width, channels)

    def large(self, row: int) -> Large | None:  # noqa: ARG002
        """The image of a row where only parts of it are ever read; None where it is read whole."""
        return None

    def take(self, rows: Sequence[int]) -> Images:
        """Those rows alone."""
        return Subset(self, rows)


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

    def pixels(self, row: int, channels: int, grey: tuple[float, float] | None = None) -> np.ndarray[Any, np.dtype[np.uint8]]:
        return self.images.pixels(self.rows[row], channels, grey)


def open_images(source: ImageSource) -> Images:
    """The images of a folder and all folders inside it, of a Parquet table or a folder of them, or files one by one.

    What of a folder counts is for `Walk` to say, and what does not is logged.

    A table has a column `image` of encoded images: bytes, or the structure of `bytes` and `path` that `datasets` writes. A file
    that ends in .txt or .lst is a list of image files, as `listed_paths` reads it.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: a folder or a list holds no images, a list has one twice, or a table has no column of them.
    """
    if not isinstance(source, (str, PathLike)):
        return _image_files(source, "the list of image files")
    root = Path(fspath(source))
    if not root.exists():
        raise FileNotFoundError(f"{root}: there is no such file or folder; {missing_hint(str(root))}")
    if root.is_dir():
        return _folder(root)
    if is_table(root):
        return ParquetImages((root,))
    if root.suffix.lower() in LIST_ENDINGS:
        return _image_files(listed_paths(root.read_bytes()), str(root))
    return ImageFiles((root,))


def is_table(path: Path) -> bool:
    """Whether a file is a Parquet table, by its name."""
    return path.suffix.lower() == TABLE_ENDING


def listed_paths(content: bytes) -> list[Path]:
    """The paths in a list: one a line, or separated by null bytes as `find -print0` writes them.

    They are relative to the current folder, wherever the list lies, as those on a command line are.
    """
    text = os.fsdecode(content.removeprefix(codecs.BOM_UTF8))
    lines = text.split("\0") if "\0" in text else (line.removesuffix("\r") for line in text.split("\n"))
    return [Path(line) for line in lines if line.strip()]


def _image_files(listed: Sequence[str | PathLike[str]], where: str) -> ImageFiles:
    paths = tuple(Path(fspath(path)) for path in listed)
    if not paths:
        raise ValueError(f"{where} is empty: give at least one image")
    path, times = Counter(paths).most_common(1)[0]
    if times > 1:
        raise ValueError(f"{where} has {path} more than once: leave it there once")
    return ImageFiles(paths)


def _folder(root: Path) -> Images:
    """The images of a folder and all folders inside it."""
    walk = Walk((*IMAGE_ENDINGS, TABLE_ENDING))
    files = walk.all_files(root)
    walk.tell(root)
    images = tuple(path for path in files if not is_table(path))
    tables = tuple(path for path in files if is_table(path))
    if images and tables:
        raise ValueError(f"{root}: holds images and tables of images ({tables[0].name}); name the folder of one or the other")
    if not files:
        raise ValueError(f"{root}: holds no images ({', '.join((*IMAGE_ENDINGS, TABLE_ENDING))})")
    return ImageFiles(images, root) if images else ParquetImages(tables, root)


@dataclass(frozen=True)
class ImageFiles(Images):
    """Image files.

    Args:
        paths: of each.
        root: names are relative to it; the paths themselves where None.
    """

    paths: tuple[Path, ...]
    root: Path | None = None

    @property
    def names(self) -> Sequence[str]:
        return [str(path) if self.root is None else path.relative_to(self.root).as_posix() for path in self.paths]

    @property
    def fingerprint(self) -> str:
        return _fingerprint(self.names, self.paths)

    def photo(self, row: int) -> Photo:
        return decode(self.paths[row])


@dataclass
class ParquetImages(Images):
    """The rows of Parquet tables, read in groups as the files have them. Names are `file:row`.

    Args:
        paths: of the tables; or addresses, such as "hf://datasets/...", of which only what is needed is fetched.
        root: names are relative to it; the file's name alone where None.
        column: of the images.
        keep: groups in memory at a time.

    Raises:
        ValueError: a table cannot be read or has no column `image`.
    """

    paths: tuple[Path | str, ...]
    root: Path | None = None
    column: str = "image"
    keep: int = 1
    _starts: list[int] = field(init=False, repr=False)  # first row of each group of each file, and the end
    _groups: list[tuple[int, int]] = field(init=False, repr=False)  # (file, group)
    _held: OrderedDict[int, Any] = field(default_factory=OrderedDict, init=False, repr=False)

    def __post_init__(self) -> None:
        from pyarrow import parquet

        self._groups, counts = [], []
        for file, path in enumerate(self.paths):
            try:
                with opened(path) as file_:
                    table = parquet.ParquetFile(file_)
                    metadata, columns = table.metadata, table.schema_arrow.names
            except (OSError, ValueError) as error:  # pyarrow's own errors are both
                raise ValueError(f"{path}: is no Parquet table, or a broken one ({type(error).__name__})") from None
            if self.column not in columns:
                raise ValueError(f"{path}: has no column {self.column!r}, but {', '.join(columns)}")
            for group in range(metadata.num_row_groups):
                self._groups.append((file, group))
                counts.append(metadata.row_group(group).num_rows)
        self._starts = [0, *accumulate(counts)]
        if not self._starts[-1]:
            raise ValueError(f"{self.paths[0]}: the table has no rows")

    @property
    def names(self) -> Sequence[str]:
        names = []
        numbers = dict.fromkeys(range(len(self.paths)), 0)
        for group, (file, _) in enumerate(self._groups):
            count = self._starts[group + 1] - self._starts[group]
            names += [f"{self._title(file)}:{numbers[file] + row}" for row in range(count)]
            numbers[file] += count
        return names

    @property
    def starts(self) -> Sequence[int]:
        return self._starts[:-1]

    @property
    def fingerprint(self) -> str:
        return _fingerprint([self._title(file) for file in range(len(self.paths))], self.paths)

    def photo(self, row: int) -> Photo:
        from pyarrow import ArrowException, parquet

        held = bisect_right(self._starts, row) - 1
        if held not in self._held:
            number, group = self._groups[held]
            try:
                with opened(self.paths[number]) as file:
                    table = parquet.ParquetFile(file)
                    self._held[held] = table.read_row_group(group, columns=[self.column])[self.column]
            except (OSError, ArrowException) as error:
                raise BadImage(f"{self._name(row)}: its group of rows cannot be read ({' '.join(str(error).split())})") from None
            if len(self._held) > self.keep:
                self._held.popitem(last=False)
        self._held.move_to_end(held)
        value = self._held[held][row - self._starts[held]].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise BadImage(f"{self._name(row)}: the table holds no bytes of an image there")
        return decode_bytes(content, self._name(row))

    def _title(self, file: int) -> str:
        path = Path(self.paths[file])
        return path.name if self.root is None else path.relative_to(self.root).as_posix()

    def _name(self, row: int) -> str:
        """The same as `names[row]`, without those of all the others."""
        file = self._groups[bisect_right(self._starts, row) - 1][0]
        first = next(start for start, (number, _) in zip(self._starts, self._groups, strict=False) if number == file)
        return f"{self._title(file)}:{row - first}"


def opened(path: Path | str) -> Any:
    """A file, or what lies at an address, to read from; a context manager.

    Raises:
        OSError: it cannot be opened.
        ImportError: an address needs `fsspec`, which `datasets` brings.
    """
    return path.open("rb") if isinstance(path, Path) else needs("fsspec", "train").open(path, "rb")


def _fingerprint(names: Sequence[str], paths: Sequence[Path | str]) -> str:
    """A digest of files: their names in the collection, paths, sizes and times of writing; of addresses, only what they say."""
    resolved = cache(Path.resolve)  # a folder once, not once for each file in it

    def seen(path: Path | str) -> str:
        if isinstance(path, str):
            return path
        try:
            status = path.stat()
            return f"{resolved(path.parent)}\0{path.name}\0{status.st_size}\0{status.st_mtime_ns}"
        except (OSError, ValueError, RuntimeError):  # ValueError: a null byte; RuntimeError: links that go round in a circle
            return str(path)

    return _digest([f"{name}\0{seen(path)}" for name, path in zip(names, paths, strict=True)])


def _digest(lines: Sequence[str]) -> str:
    """sha256 of some lines, in which names of files need not be text."""
    return sha256(b"\n".join(line.encode("utf-8", "surrogatepass") for line in lines)).hexdigest()
