"""Predictions for many images, at the speed of the network: decoding happens beside it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.decode import printable
from ..data.sources import open_images
from ..data.transforms import Preprocessing
from ..engine.classifier import Classifier, model_name
from ..engine.inference import exact, like_weights
from ..files import replacing
from .journal import Journal, OtherRun, Row, alone
from .loader import read_batches

Progress = Callable[[int, int], None]  # images done, images in all
_OWNER = ".table"  # in a folder of maps: the table that names them


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
    model: Classifier,
    source: str | PathLike[str] | Sequence[str | PathLike[str]],
    out: str | PathLike[str],
    *,
    top: int = 5,
    maps: str | PathLike[str] | None = None,
    batch_size: int = 16,
    workers: int | None = None,
    transform: Preprocessing | None = None,
    calibration: str = "",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Summary:
    """Classify a folder of images, a Parquet table or a list of image files into a table with a row for each.

    A run that was interrupted goes on where it stopped when it is called again with the same images, model and settings; the
    images are the same if none was moved, added or written anew. A finished table is not written again unless that is asked for.
    Runs in eval mode and with TF32 off, as `explain` does.

    Args:
        model: a BagNet or a prepared one.
        source: as for `open_images`: a folder, searched with all folders inside it, a Parquet table, or image files.
        out: the table, .csv or .parquet: image, error, and index, name, logit and probability of the best classes.
        top: how many classes.
        maps: a folder for the evidence of these classes: one .npz an image, named in the table's column `map`, with `values`
            (top, h, w) and `classes` (top,). It holds the maps of one table only.
        batch_size: images at a time.
        workers: processes that decode; as for `read_batches`.
        transform: instead of the card's preprocessing.
        calibration: what a model in int8 was calibrated on, in any words: a run with other words is another run.
        overwrite: replace a table that is there already, once the new one is complete.
        progress: told after every batch.

    Raises:
        FileNotFoundError: the source does not exist.
        ValueError: it holds no images, the output's name ends in something else, or the input size does not fit the model.
        OtherRun: the output is the beginning of another run or being written by one, or the folder holds another run's maps.
        OSError: the output cannot be written, or the table is there already (FileExistsError).
    """
    images = open_images(source)
    transform = transform or model.transform
    top = min(top, len(model.classes))
    names = images.names
    folder = None if maps is None else Path(fspath(maps)).resolve()
    table = Path(fspath(out))
    _check_input(model, transform)
    settings = {
        "model": model_name(model),
        "weights": model.weights_digest,
        "runtime": model.runtime,
        "precision": model.precision,
        "calibration": calibration,
        "images": images.fingerprint,
        "transform": transform.to_dict(),
        "top": top,
        "maps": None if folder is None else str(folder),
    }
    with Journal(table, settings, overwrite) as journal, _maps_of(table, folder), exact(model):
        resumed = len(journal.done)
        todo = [row for row, name in enumerate(names) if name not in journal.done]
        for batch in read_batches(images, todo, transform, batch_size, workers):
            bad_rows = list(batch.bad)
            rows: dict[int, Row] = {}
            for group, x in batch.groups:
                try:
                    model.check(x)
                except ValueError as error:  # where there is no crop, each image has a size of its own
                    bad_rows += [(row, str(error)) for row in group]
                else:
                    rows.update(_classified(model, group, x, top, folder))
            rows.update((row, {"error": _naming(names[row], reason)}) for row, reason in bad_rows)
            journal.write("image", [(names[row], rows[row]) for row in sorted(rows)])
            if progress is not None:
                progress(len(journal.done), len(names))
        bad = tuple((row["image"], row["error"]) for row in journal.rows() if row.get("error"))
        columns = [f"{word}_{place}" for place in range(1, top + 1) for word in ("index", "name", "logit", "probability")]
        journal.finish(["image", "error", *(["map"] if maps else []), *columns])
    return Summary(len(names), len(names) - len(bad), bad, resumed)


def _check_input(model: Classifier, transform: Preprocessing) -> None:
    """See that the network takes what the preprocessing makes, as far as that is known before there is an image.

    Raises:
        ValueError: it does not.
    """
    side = transform.crop or transform.resize or model.geometry.smallest_input
    model.check(torch.empty(1, len(transform.mean), side, side, device="meta"))


def _naming(name: str, reason: str) -> str:
    """A reason that names the image."""
    name = printable(name)
    return reason if name in reason else f"{name}: {reason}"


@contextmanager
def _maps_of(table: Path, folder: Path | None) -> Iterator[None]:
    """Inside, a folder for maps, if there is to be one, is this table's alone.

    Raises:
        OtherRun: it holds maps of another table, or another run is writing it.
        OSError: it cannot be written.
    """
    if folder is None:
        yield
        return
    with alone(folder):
        mark, own = folder / _OWNER, os.fsencode(table.resolve())
        try:
            folder.mkdir(exist_ok=True)
            owner = mark.read_bytes() if mark.exists() else b""
            if owner != own and any(folder.glob("*.npz")):
                whose = printable(os.fsdecode(owner)) if owner else "another run"
                raise OtherRun(f"{folder}: holds the maps of {whose}; choose another folder for these")
            mark.write_bytes(own)
        except OSError as error:
            raise OSError(f"{folder}: cannot be written ({error.strerror})") from None
        yield


@torch.inference_mode()
def _classified(model: Classifier, rows: Sequence[int], x: Tensor, top: int, maps: Path | None) -> Iterator[tuple[int, Row]]:
    """The table's row for each image of a (B, C, H, W) batch."""
    evidence = None
    x = like_weights(x, model)
    if maps is None:
        logits = model(x).cpu().double()
    else:
        logits, evidence = (found.cpu() for found in model.logits_and_evidence(x))
        logits = logits.double()
    multilabel = model.card is not None and model.card.multilabel
    probabilities = logits.sigmoid() if multilabel else logits.softmax(1)
    for place, number in enumerate(rows):
        best = logits[place].topk(top).indices
        row: dict[str, Any] = {}
        for rank, index in enumerate(best.tolist(), 1):
            row[f"index_{rank}"] = index
            row[f"name_{rank}"] = str(model.classes[index])
            row[f"logit_{rank}"] = round(float(logits[place, index]), 6)
            row[f"probability_{rank}"] = round(float(probabilities[place, index]), 8)
        if maps is not None and evidence is not None:
            row["map"] = f"{number:08d}.npz"
            with replacing(maps / row["map"]) as part, part.open("wb") as file:
                np.savez(file, values=evidence[place][best].numpy(), classes=best.numpy())
        yield number, row
