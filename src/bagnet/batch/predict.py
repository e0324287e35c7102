"""Predictions for many images, at the speed of the network: decoding happens beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..card import digest
from ..data.sources import open_images
from ..data.transforms import Preprocessing
from ..engine.classifier import Classifier
from ..engine.prepare import Prepared
from ..evidence.explain import exactly, like_weights
from ..files import replacing
from ..model import BagNet
from .batches import read_batches
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
    Runs in eval mode and with TF32 off, as `explain` does.

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
    with Journal(Path(fspath(out)), settings) as journal, exactly(model):
        resumed = len(journal.done)
        todo = [row for row, name in enumerate(names) if name not in journal.done]
        for batch in read_batches(images, todo, transform, batch_size, workers):
            rows: dict[int, Row] = {row: {"error": reason} for row, reason in batch.bad}
            for group, x in batch.groups:
                rows.update(_classified(model, group, x, top, folder))
            journal.write("image", [(names[row], rows[row]) for row in sorted(rows)])
            if progress is not None:
                progress(len(journal.done), len(names))
        bad = tuple((row["image"], row["error"]) for row in journal.rows() if row.get("error"))
        columns = [f"{word}_{place}" for place in range(1, top + 1) for word in ("index", "name", "logit", "probability")]
        journal.finish(["image", "error", *(["map"] if maps else []), *columns])
    return Summary(len(names), len(names) - len(bad), bad, resumed)


def _weights_digest(model: BagNet | Prepared) -> str:
    network = model if isinstance(model, BagNet) else model.exact
    return digest(network.state_dict())


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
