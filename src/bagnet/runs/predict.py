"""Predictions for many images, at the speed of the network: decoding happens beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from torch import Tensor

from ..data.sources import ImageSource, open_images
from ..data.transforms import Preprocessing
from ..engine.classifier import Classifier, model_name
from ..files import naming
from ..progress import Listener
from .maps import MapWriter
from .store import OtherRun, Store, claim
from .sweep import Batch, check_input, sweep
from .table import Row, check_table, write_table


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
    source: ImageSource,
    out: str | PathLike[str],
    *,
    top: int = 5,
    maps: str | PathLike[str] | None = None,
    batch_size: int = 16,
    workers: int | None = None,
    transform: Preprocessing | None = None,
    calibration: str = "",
    overwrite: bool = False,
    progress: Listener | None = None,
) -> Summary:
    """Classify a folder of images, a Parquet table or image files into a table with a row for each.

    A run that was interrupted goes on where it stopped when it is called again with the same images, model and settings; the
    images are the same if none was moved, added or written anew. What is known is kept beside the table, in a folder called
    TABLE.unfinished, until the table is there. A finished table is not written again unless that is asked for. Runs in eval
    mode and with TF32 off, as `explain` does.

    Args:
        model: a BagNet or a prepared one.
        source: as for `open_images`: a folder, searched with all folders inside it, a Parquet table, a .txt list of image files,
            or a list of them.
        out: the table, .csv, .jsonl or .parquet: image, error, and index, name, logit and probability of the best classes. In
            Parquet the schema's metadata has the model's name as `bagnet.model` and all that the rows depend on (weights,
            runtime, precision, preprocessing, ...) as JSON in `bagnet.settings`.
        top: how many classes.
        maps: a folder for the evidence of these classes, which `open_maps` opens again; the table's column `map` names the file
            of each image. It holds the maps of one table only.
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
    check_table(table)
    check_input(model, transform)
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
    with ExitStack() as claims:
        store = claims.enter_context(claim(table.with_name(f"{table.name}.unfinished"), settings, overwrite=overwrite))
        if not store.resumed and table.exists() and not overwrite:
            raise FileExistsError(f"{table}: is there already; choose another output, or replace it (--overwrite)")
        writer = None
        if folder is not None:
            writer = MapWriter(_claim_maps(claims, folder, table), model, transform, source)
        rows = store.rows("predictions")
        resumed = len(rows.done)
        todo = [row for row, name in enumerate(names) if name not in rows.done]
        for batch in sweep(
            model,
            images,
            todo,
            transform=transform,
            batch_size=batch_size,
            workers=workers,
            progress=progress,
            stage="predicting",
        ):
            predictions = _classified(model, batch, top, writer, names) if batch.rows else ()
            rows.append((names[row], prediction) for row, prediction in predictions)
            rows.append((names[row], {"error": reason}) for row, reason in batch.bad)
        bad = tuple((name, row["error"]) for name, row in rows.of(names) if row.get("error"))
        columns = [f"{word}_{rank}" for rank in range(1, top + 1) for word in ("index", "name", "logit", "probability")]
        every = ({"image": name, **row} for name, row in rows.of(names))
        about = {"model": settings["model"], "settings": settings}
        write_table(table, ["image", "error", *(["map"] if maps else []), *columns], every, about)
        store.discard()
    return Summary(len(names), len(names) - len(bad), bad, resumed)


def _claim_maps(claims: ExitStack, folder: Path, table: Path) -> Store:
    """Make a folder hold the maps of a table alone, as long as its run lasts.

    Raises:
        OtherRun: it holds those of another table, or another run is writing it.
        OSError: it cannot be written.
    """
    store = claims.enter_context(claim(folder, {"maps of": os.fsdecode(table.resolve())}, overwrite=None))
    if not store.resumed and any(folder.glob("*.npz")):
        raise OtherRun(f"{folder}: holds files of another run; choose another folder for the maps")
    with naming(folder):
        store.begin()
    return store


def _classified(
    model: Classifier, batch: Batch, top: int, writer: MapWriter | None, names: Sequence[str]
) -> Iterator[tuple[int, Row]]:
    """The table's row for each image of a batch."""
    evidence: Tensor | None = None
    if writer is None:
        logits = model(batch.x).cpu().double()
    else:
        pooled, values = model.logits_and_evidence(batch.x)
        logits, evidence = pooled.cpu().double(), values.cpu()
    multilabel = model.card is not None and model.card.multilabel
    probabilities = logits.sigmoid() if multilabel else logits.softmax(1)
    for index_in_batch, number in enumerate(batch.rows):
        best = logits[index_in_batch].topk(top).indices
        row: dict[str, Any] = {}
        for rank, index in enumerate(best.tolist(), 1):
            row[f"index_{rank}"] = index
            row[f"name_{rank}"] = str(model.classes[index])
            row[f"logit_{rank}"] = round(float(logits[index_in_batch, index]), 6)
            row[f"probability_{rank}"] = round(float(probabilities[index_in_batch, index]), 8)
        if writer is not None and evidence is not None:
            row["map"] = writer.write(number, names[number], logits[index_in_batch], evidence[index_in_batch], best)
        yield number, row
