"""Predictions for many images, at the speed of the network: decoding happens beside it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..data.sources import ImageSource, Subset, open_images
from ..data.transforms import Preprocessing
from ..engine.classifier import Classifier, check_loaded, model_name, probabilities_of, temperature_of
from ..files import naming
from ..progress import Listener
from .maps import MapWriter
from .shards import Shard, all_parts, check_shard, shard_of, shard_settings
from .store import FINISHED, OtherRun, Rows, Store, alone, claim
from .sweep import Batch, check_input, sweep
from .table import Row, check_table, write_table

WORK = "predict"  # what a folder is a part of
ROWS = "predictions"


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
    shard: Shard | None = None,
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
        shard: (2, 4) classifies the second of four parts of the images, for machines that share the work: `out` is a folder then,
            and `merge_predictions` makes one table of all parts.
        overwrite: replace a table that is there already, once the new one is complete.
        progress: told after every batch.

    Raises:
        FileNotFoundError: the source does not exist.
        ValueError: it holds no images, the output's name ends in something else, the input size does not fit the model, there is
            no such part, or maps of a part are asked for.
        OtherRun: the output is the beginning of another run or being written by one, or the folder holds another run's maps.
        OSError: the output cannot be written, or the table is there already (FileExistsError).
        TypeError: the model is the name of one.
    """
    check_loaded(model)
    images = open_images(source)
    transform = transform or model.transform
    top = min(top, len(model.classes))
    check_shard(shard)
    if shard is not None and maps is not None:
        raise ValueError("maps are of whole runs: leave them out, or classify all images at once")
    folder = None if maps is None else Path(fspath(maps)).resolve()
    table = Path(fspath(out))
    if shard is None:
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
    if temperature_of(model) != 1:
        settings["temperature"] = temperature_of(model)
    home = table if shard is not None else _unfinished(table)
    if shard is not None:
        settings |= shard_settings(WORK, shard, images.names)
    numbers = shard_of(len(images.names), shard)
    images = images if shard is None else Subset(images, numbers)
    names = images.names
    with ExitStack() as claims:
        store = claims.enter_context(claim(home, settings, overwrite=overwrite))
        if shard is None and not store.resumed:
            check_output(table, overwrite)
        writer = None
        if folder is not None:
            writer = MapWriter(_claim_maps(claims, folder, table), model, transform, source)
        rows = store.rows(ROWS)
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
        summary = _summary(rows, names, resumed)
        if shard is not None:
            store.keep(FINISHED, names=np.array(names, np.str_))
        else:
            _write(table, settings, rows.of(names))
            store.discard()
    return summary


def merge_predictions(folders: Sequence[str | PathLike[str]], out: str | PathLike[str], *, overwrite: bool = False) -> Summary:
    """One table of the parts that several calls of `predict` classified, each with another `shard`.

    Args:
        folders: of all parts.
        out: the table, as for `predict`: the one that it would have written.
        overwrite: replace a table that is there already.

    Raises:
        ValueError: a folder holds no finished part, a part is missing or there twice, they are of different runs, or the output's
            name ends in something else.
        OSError: the output cannot be written, or the table is there already (FileExistsError).
    """
    table = Path(fspath(out))
    parts = all_parts(folders, WORK, free={"images"})
    check_output(table, overwrite)
    names: list[str] = []
    kept = []
    for part in parts:
        with np.load(part.folder / f"{FINISHED}.npz", allow_pickle=False) as about:
            of_part = [str(name) for name in about["names"]]
        names += of_part
        kept.append((Rows(part.folder / f"{ROWS}.jsonl", lambda: None, resumed=True), of_part))
    settings = {name: value for name, value in parts[0].settings.items() if name not in shard_settings(WORK, (1, 1), ())}
    with alone(_unfinished(table)):
        _write(table, settings, (row for rows, of_part in kept for row in rows.of(of_part)))
    summaries = [_summary(rows, of_part, 0) for rows, of_part in kept]
    bad = tuple(problem for summary in summaries for problem in summary.bad)
    return Summary(len(names), len(names) - len(bad), bad, 0)


def _unfinished(table: Path) -> Path:
    """Where what is known is kept until there is a table."""
    return table.with_name(f"{table.name}.unfinished")


def check_output(table: Path, overwrite: bool) -> None:
    """See that a table may be written. ValueError: its name ends in something else; FileExistsError: it is there already."""
    check_table(table)
    if table.exists() and not overwrite:
        raise FileExistsError(f"{table}: is there already; choose another output, or replace it (--overwrite)")


def _summary(rows: Rows, names: Sequence[str], resumed: int) -> Summary:
    bad = tuple((name, row["error"]) for name, row in rows.of(names) if row.get("error"))
    return Summary(len(names), len(names) - len(bad), bad, resumed)


def _write(table: Path, settings: Mapping[str, Any], rows: Iterable[tuple[str, Row]]) -> None:
    """The table of (image, row) pairs in their order."""
    best = [f"{word}_{rank}" for rank in range(1, settings["top"] + 1) for word in ("index", "name", "logit", "probability")]
    columns = ["image", "error", *(["map"] if settings["maps"] else []), *best]
    about = {"model": settings["model"], "settings": settings}
    write_table(table, columns, ({"image": name, **row} for name, row in rows), about)


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
    probabilities = probabilities_of(model, logits)
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
