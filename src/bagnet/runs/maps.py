"""The evidence of many images in a folder: written by `predict`, opened again as `Evidence`."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any, overload

import numpy as np
from torch import Tensor

from ..data.names import ClassNames
from ..data.sources import Images, ImageSource, open_images
from ..data.transforms import Preprocessing
from ..engine.classifier import Classifier, model_name, temperature_of
from ..evidence import Evidence
from ..evidence.explain import left_out
from ..files import replacing
from ..geometry import Geometry
from .store import Store

ABOUT = "maps.json"
_ROWS = "maps"
_FORMAT = 1


class MapWriter:
    """Writes the evidence of some classes of each image, one .npz each, and once what all have in common.

    Args:
        store: of the folder, which holds nothing else.
        model: whose evidence it is.
        transform: that prepares the images.
        source: of the images, as for `open_images`.
    """

    def __init__(self, store: Store, model: Classifier, transform: Preprocessing, source: ImageSource) -> None:
        self.folder, self.temperature = store.folder, temperature_of(model)
        store.begin()
        about = {
            "format": _FORMAT,
            "model": model_name(model),
            "multilabel": model.card is not None and model.card.multilabel,
            "temperature": temperature_of(model),
            "geometry": asdict(model.geometry),
            "transform": transform.to_dict(),
            "classes": [{"names": list(entry.names), "wnid": entry.wnid} for entry in model.classes],
            "source": _absolute(source),
        }
        with replacing(self.folder / ABOUT) as part:
            part.write_text(json.dumps(about), encoding="utf-8")
        self._rows = store.rows(_ROWS)

    def write(self, row: int, name: str, logits: Tensor, values: Tensor, chosen: Tensor) -> str:
        """Keep the maps of an image.

        Args:
            row: of the image in its collection.
            name: of the image.
            logits: (K,) of all classes.
            values: (K, h, w) evidence.
            chosen: (T,) indices of the classes to keep.

        Returns:
            The name of the file.
        """
        file = f"{row:08d}.npz"
        with replacing(self.folder / file) as part, part.open("wb") as opened:
            np.savez(
                opened,
                allow_pickle=False,
                values=values[chosen].numpy(),
                logits=logits[chosen].to(values.dtype).numpy(),
                classes=chosen.numpy(),
                left_out=left_out(logits, chosen.tolist(), self.temperature),
            )
        if name not in self._rows.done:
            self._rows.append([(name, {"file": file, "row": row})])
        return file


@dataclass(frozen=True)
class Maps(Sequence[Evidence]):
    """The evidence that a folder holds, image by image, in the order of their collection. Made by `open_maps`.

    Args:
        folder: where.
        names: of the images.
        files: of their maps.
        rows: of the images in their collection.
        images: the collection.
        about: what all have in common.
    """

    folder: Path
    names: tuple[str, ...]
    files: tuple[str, ...]
    rows: tuple[int, ...]
    images: Images
    about: dict[str, Any]

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int | str) -> Evidence: ...
    @overload
    def __getitem__(self, index: slice) -> list[Evidence]: ...
    def __getitem__(self, index: int | str | slice) -> Evidence | list[Evidence]:
        """The evidence of an image, by its number here or its name: of the classes that were kept, with their probabilities.

        Raises:
            IndexError, KeyError: there is no such image here.
            FileNotFoundError, BadImage: the image cannot be read any more; `open_maps(folder, images=...)` says where it is.
            ValueError: the file is broken.
        """
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if isinstance(index, str):
            if index not in self.names:
                raise KeyError(f"{self.folder}: has no maps of {index!r}")
            index = self.names.index(index)
        path = self.folder / self.files[index]
        photo = self.images.photo(self.rows[index])
        try:
            with np.load(path, allow_pickle=False) as arrays:
                kept = {name: arrays[name] for name in ("values", "logits", "classes", "left_out")}
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path}: not a file of maps, or a broken one ({type(error).__name__})") from None
        classes = ClassNames.from_words(self.about["classes"])
        transform = Preprocessing(**self.about["transform"])
        return Evidence(
            values=kept["values"],
            logits=kept["logits"],
            geometry=Geometry(**self.about["geometry"]),
            placement=transform.placement(photo.size, photo.orientation),
            classes=ClassNames(classes[int(label)] for label in kept["classes"]),
            image=transform.shown(photo),
            model=self.about["model"],
            source=photo.name or self.names[index],
            multilabel=self.about["multilabel"],
            left_out=float(kept["left_out"]),
            temperature=self.about.get("temperature", 1.0),
        )


def open_maps(folder: str | PathLike[str], images: ImageSource | None = None) -> Maps:
    """Open the maps that `predict(..., maps=folder)` wrote.

    Args:
        folder: of the maps.
        images: where the images are now, as for `open_images`, if they are not where they were.

    Raises:
        FileNotFoundError: the folder holds no maps, or the images are not there any more.
        ValueError: what it holds is broken, or the images are others.
    """
    path = Path(fspath(folder))
    try:
        about = json.loads((path / ABOUT).read_text(encoding="utf-8"))
        lines = [json.loads(line) for line in (path / f"{_ROWS}.jsonl").read_text(encoding="utf-8").splitlines()]
        if about["format"] != _FORMAT:
            raise ValueError(f"format {about['format']}")
        entries = sorted((int(line["row"]), str(line["key"]), str(line["file"])) for line in lines)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"{path}: holds no maps; `predict` writes them (--maps)") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: its maps are broken ({type(error).__name__})") from None
    try:
        collection = open_images(about["source"] if images is None else images)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; say where the images are now, open_maps(folder, images=...)") from None
    names = collection.names
    for row, name, _ in entries:
        if row >= len(names) or names[row] != name:
            raise ValueError(f"{path}: its maps are of other images than these: {name} is not number {row} of them")
    rows, named, files = zip(*entries, strict=True) if entries else ((), (), ())
    return Maps(path, tuple(named), tuple(files), tuple(rows), collection, about)


def _absolute(source: ImageSource) -> str | list[str]:
    if isinstance(source, (str, PathLike)):
        return str(Path(fspath(source)).absolute())
    return [str(Path(fspath(path)).absolute()) for path in source]
