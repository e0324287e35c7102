"""Does a network go by shape or by texture? Its answers to images that have the shape of one thing and the texture of another.

Geirhos et al. ("ImageNet-trained CNNs are biased towards texture", ICLR 2019) made 1,280 such images by style transfer, of 16
categories that people name things by: `cat1-elephant2.png` has a cat's shape and an elephant's skin. An answer is the category
whose classes have the highest probability on average, as in their study and in the model-vs-human toolbox. Which of ImageNet's
classes are in which category is what they published (`entry_level.csv`).

The share of shape is that of the answers that are either of the two. An image of which both are the same is left out, as theirs
are, and so is one of a category that the network has no class of.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data.names import ClassNames
from ..data.sources import ImageSource, open_images
from ..engine.classifier import Predictor, names_apart, probabilities_of
from ..progress import Listener
from ..runs.store import claim
from ..runs.sweep import check_some, sweep
from ..runs.table import write_table
from ..statistics import Estimate, shares

TABLE, ANSWERS, UNFINISHED = "cue_conflict.csv", "answers.csv", "unfinished"
_CUES = re.compile(r"([a-z]+)\d+-([a-z]+)\d+\.\w+$")  # at the end of a name, whatever a toolbox wrote before it


@dataclass(frozen=True, slots=True)
class CueConflict:
    """What one network goes by.

    Args:
        network: name of its card.
        images: with two different cues, both of categories that the network knows.
        by_shape: of them, answered with the shape's category.
        by_texture: answered with the texture's.
        shape: share of the former among both; undefined where there is neither.
    """

    network: str
    images: int
    by_shape: int
    by_texture: int
    shape: Estimate

    def to_dict(self) -> dict[str, Any]:
        """As JSON and a table can hold it."""
        counts = {"images": self.images, "by_shape": self.by_shape, "by_texture": self.by_texture}
        return {"network": self.network, **counts, **{f"shape_{key}": value for key, value in self.shape.to_dict().items()}}


def cue_conflict(
    networks: Predictor | Sequence[Predictor],
    source: ImageSource,
    out: str | PathLike[str] = "cue-conflict",
    *,
    batch_size: int = 16,
    workers: int | None = None,
    overwrite: bool = False,
    progress: Listener | None = None,
) -> list[CueConflict]:
    """Count answers by shape and by texture; a table goes to `out/cue_conflict.csv`, every answer beside it.

    Goes on where it was cut short.

    Args:
        networks: with classes of ImageNet, by their WordNet ids.
        source: as for `open_images`: stimuli named `SHAPE1-TEXTURE2.png`, those of `rgeirhos/texture-vs-shape` or of
            `bethgelab/model-vs-human`.
        out: a folder.
        batch_size: images at a time.
        workers: processes that read images.
        overwrite: begin anew where the folder holds other work.
        progress: told after every batch.

    Raises:
        ValueError: there is no network, or a name is there twice; an image's name says no two cues; a network knows none of the
            categories, or of no image both.
        OtherRun: the folder holds work with other settings.
        BadImage, FileNotFoundError: as `predict`.
    """
    chosen = list(networks) if isinstance(networks, Sequence) else [networks]
    names = names_apart(chosen)
    images, folder = open_images(source), Path(fspath(out))
    cues = [cues_of(name) for name in images.names]
    columns = {name: _columns(name, network) for name, network in zip(names, chosen, strict=True)}
    settings = {
        "images": images.fingerprint,
        "networks": [f"{name} {network.weights_digest}" for name, network in zip(names, chosen, strict=True)],
    }
    with claim(folder / UNFINISHED, settings, overwrite=overwrite) as store:
        kept = store.rows("answers")
        for name, network in zip(names, chosen, strict=True):
            asked = [
                row for row, (shape, texture) in enumerate(cues) if shape != texture and {shape, texture} <= columns[name].keys()
            ]
            if not asked:
                raise ValueError(f"{name}: of no image does it know the categories of both shape and texture")
            todo = [row for row in asked if f"{name}:{row}" not in kept.done]
            for batch in sweep(network, images, todo, batch_size=batch_size, workers=workers, progress=progress):
                rows: list[tuple[int, dict[str, Any]]] = [(row, {"error": reason}) for row, reason in batch.bad]
                if batch.rows:
                    answers = _categories(probabilities_of(network, network(batch.x)), columns[name])
                    rows += [(row, {"answer": answer}) for row, answer in zip(batch.rows, answers, strict=True)]
                kept.append([(f"{name}:{row}", _line(name, images.names[row], cues[row]) | line) for row, line in rows])
        lines = [dict(row) for _, row in kept]
        failed = [(line["image"], line["error"]) for line in lines if "error" in line]
        check_some([line for line in lines if "answer" in line], failed)
        results = [_counted(name, [line for line in lines if line["network"] == name and "answer" in line]) for name in names]
        write_table(folder / ANSWERS, ["network", "image", "shape", "texture", "answer", "error"], lines)
        write_table(folder / TABLE, list(results[0].to_dict()), [each.to_dict() for each in results])
        store.discard()
    return results


@cache
def entry_level() -> Mapping[str, str]:
    """The category of each WordNet id that has one of the 16; there are 207 of ImageNet's 1000."""
    table = (resources.files(__package__) / "entry_level.csv").read_text(encoding="utf-8")
    return {row["wnid"]: row["category"] for row in csv.DictReader(table.splitlines())}


def cues_of(name: str) -> tuple[str, str]:
    """Categories of the shape and the texture that an image's name says. ValueError: it says none."""
    said = _CUES.search(name)
    categories = sorted(set(entry_level().values()))
    if said is None or not set(said.groups()) <= set(categories):
        raise ValueError(
            f"{name}: does not say its shape and its texture, as cat1-elephant2.png does, of {', '.join(categories)}"
        )
    return said[1], said[2]


def columns_of(classes: ClassNames) -> dict[str, list[int]]:
    """The logits of each category that there are classes of."""
    columns: dict[str, list[int]] = {}
    for column, entry in enumerate(classes):
        if category := entry_level().get(entry.wnid or ""):
            columns.setdefault(category, []).append(column)
    return dict(sorted(columns.items()))


def _columns(name: str, network: Predictor) -> dict[str, list[int]]:
    columns = columns_of(network.classes)
    if not columns:
        raise ValueError(f"{name}: knows none of the categories: its classes would have to be of ImageNet, by their WordNet ids")
    return columns


def _categories(probabilities: Tensor, columns: Mapping[str, Sequence[int]]) -> list[str]:
    """(B, K) probabilities -> the category of each image; of equal ones the first."""
    means = torch.stack([probabilities[:, list(each)].double().mean(1) for each in columns.values()], 1)
    return [list(columns)[index] for index in means.argmax(1).tolist()]


def _line(network: str, image: str, cues: tuple[str, str]) -> dict[str, Any]:
    return {"network": network, "image": image, "shape": cues[0], "texture": cues[1]}


def _counted(name: str, lines: Sequence[Mapping[str, Any]]) -> CueConflict:
    by_shape, by_texture = (sum(line["answer"] == line[cue] for line in lines) for cue in ("shape", "texture"))
    return CueConflict(name, len(lines), by_shape, by_texture, shares([by_shape], [by_shape + by_texture])[0])
