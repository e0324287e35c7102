"""Predictions for many images, at the speed of the network: decoding happens beside it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..card import digest
from ..data.sources import Images, open_images
from ..data.transforms import Preprocessing
from ..engine.classifier import Classifier
from ..engine.prepare import Prepared
from ..files import replacing
from ..model import BagNet
from .journal import Journal, Row

Progress = Callable[[int, int], None]  # images done, images in all


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run over many images went.

    Args:
        images: in all.
        predicted: how many have a prediction, earlier runs included.
        bad: (image, reason) of those that have none.
        resumed: how many were already done when this run began.
    """

    images: int
    predicted: int
    bad: tuple[tuple[str, str], ...]
    resumed: int


def predict(
    model: BagNet | Prepared,
    source: str | PathLike[str] | Sequence[str | PathLike[str]],
    out: str | PathLike[str],
    *,
    top: int = 5,
    maps: str | PathLike[str] | None = None,
    batch_size: int = 16,
    workers: int | None = None,
    transform: Preprocessing | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Classify a folder of images, a Parquet table or a list of image files into a table with a row for each.

    A run that was interrupted goes on where it stopped when it is called again with the same images, model and settings.

    Args:
        model: a BagNet or a prepared one.
        source: as for `open_images`: a folder, searched with all folders inside it, a Parquet table, or image files.
        out: the table, .csv or .parquet: image, error, and index, name, logit and probability of the best classes.
        top: how many classes.
        maps: a folder for the evidence of these classes: one .npz an image, named in the table's column `map`, with `values`
            (top, h, w) and `classes` (top,).
        batch_size: images at a time.
        workers: processes that decode; one per core but one, where None.
        transform: instead of the card's preprocessing.
        progress: told after every batch.

    Raises:
        FileNotFoundError: the source does not exist.
        ValueError: it holds no images, the output's name ends in something else, or images of different input sizes.
        OtherRun: the output is the beginning of another run.
        OSError: the output cannot be written.
    """
    images = open_images(source)
    transform = transform or model.transform
    top = min(top, len(model.classes))
    names = images.names
    settings = {
        "model": model.card.name if model.card else "",
        "weights": _weights_digest(model),
        "precision": model.precision if isinstance(model, Prepared) else "float32",
        "images": sha256("\n".join(names).encode()).hexdigest(),
        "transform": transform.to_dict(),
        "top": top,
        "maps": maps is not None,
    }
    folder = None if maps is None else Path(fspath(maps))
    numbers = {name: number for number, name in enumerate(names)}
    with Journal(Path(fspath(out)), settings) as journal:
        resumed = len(journal.done)
        todo = [row for row, name in enumerate(names) if name not in journal.done]
        for keys, tensors, errors in _decoded(images, names, todo, transform, batch_size, workers):
            rows = dict(_classified(model, keys, tensors, top, folder, numbers)) if keys else {}
            rows.update((name, {"error": reason}) for name, reason in errors)
            journal.write("image", rows.items())
            if progress is not None:
                progress(len(journal.done), len(names))
        bad = tuple((row["image"], row["error"]) for row in journal.rows() if row.get("error"))
        columns = [f"{word}_{place}" for place in range(1, top + 1) for word in ("index", "name", "logit", "probability")]
        journal.finish(["image", "error", *(["map"] if maps else []), *columns])
    return Summary(len(names), len(names) - len(bad), bad, resumed)


def _weights_digest(model: BagNet | Prepared) -> str:
    network = model if isinstance(model, BagNet) else model.exact
    return digest(network.state_dict())


class _Prepared(Dataset[tuple[str, Tensor | str]]):
    """Decoded and prepared images, or the reason why not, under their names."""

    def __init__(self, images: Images, names: Sequence[str], rows: Sequence[int], transform: Preprocessing) -> None:
        self.images, self.names, self.rows, self.transform = images, names, rows, transform

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> tuple[str, Tensor | str]:
        row = self.rows[place]
        try:
            return self.names[row], self.transform(self.images.photo(row).image)
        except (OSError, ValueError) as error:
            return self.names[row], " ".join(str(error).split())


def _decoded(
    images: Images, names: Sequence[str], rows: Sequence[int], transform: Preprocessing, batch_size: int, workers: int | None
) -> Iterator[tuple[list[str], list[Tensor], list[tuple[str, str]]]]:
    """Batches of (names, images, bad ones with reasons) in order."""
    count = max(0, (os.cpu_count() or 1) - 1) if workers is None else workers
    count = 0 if len(rows) < 4 * batch_size else count  # starting a process takes longer than a few images
    loader: DataLoader[Any] = DataLoader(
        _Prepared(images, names, rows, transform),
        batch_size,
        num_workers=count,
        collate_fn=list,
        multiprocessing_context="spawn" if count else None,  # forking a process that runs threads may hang it
        persistent_workers=False,
    )
    for batch in loader:
        good = [(name, found) for name, found in batch if isinstance(found, Tensor)]
        yield [name for name, _ in good], [x for _, x in good], [(n, why) for n, why in batch if isinstance(why, str)]


def _classified(
    model: Classifier,
    names: Sequence[str],
    images: Sequence[Tensor],
    top: int,
    maps: Path | None,
    numbers: Mapping[str, int],
) -> Iterator[tuple[str, Row]]:
    """A row for each image; those of one size run together."""
    by_size: dict[tuple[int, ...], list[int]] = {}
    for place, x in enumerate(images):
        by_size.setdefault(tuple(x.shape), []).append(place)
    found: dict[int, Tensor] = {}
    evidence: dict[int, Tensor] = {}
    with torch.inference_mode():
        for places in by_size.values():
            x = torch.stack([images[place] for place in places])
            if maps is None:
                found.update(zip(places, model(x).cpu(), strict=True))
            else:
                logits, values = model.logits_and_evidence(x)
                found.update(zip(places, logits.cpu(), strict=True))
                evidence.update(zip(places, values.cpu(), strict=True))
    for place, name in enumerate(names):
        logits = found[place].double()
        probabilities = logits.softmax(0)
        best = logits.topk(top).indices
        row: dict[str, Any] = {}
        for rank, index in enumerate(best.tolist(), 1):
            row[f"index_{rank}"] = index
            row[f"name_{rank}"] = str(model.classes[index])
            row[f"logit_{rank}"] = round(float(logits[index]), 6)
            row[f"probability_{rank}"] = round(float(probabilities[index]), 8)
        if maps is not None:
            row["map"] = f"{numbers[name]:08d}.npz"
            with replacing(maps / row["map"]) as part, part.open("wb") as file:
                np.savez(file, values=evidence[place][best].numpy(), classes=best.numpy())
        yield name, row
