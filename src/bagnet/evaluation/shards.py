"""One evaluation by several machines: each asks for the logits of a part of the images and keeps them, and they are joined."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from ..data.labels import LabelledImages
from ..data.names import ClassNames
from ..data.transforms import Preprocessing
from ..engine.classifier import Predictor, model_name, temperature_of
from ..progress import Listener
from ..runs.shards import Shard, all_parts, check_shard, shard_of, shard_settings
from ..runs.store import FINISHED, Rows, claim
from ..runs.sweep import check_finite, check_some, sweep
from .evaluate import Evaluation, as_seen, check_specificity, group_names, matched

WORK = "evaluate"  # what a folder is a part of
_SCORES, _IMAGES = "scores", "images"


def evaluate_part(
    model: Predictor,
    source: str | PathLike[str] | LabelledImages,
    shard: Shard,
    out: str | PathLike[str],
    split: str = "val",
    *,
    batch_size: int = 64,
    workers: int | None = None,
    transform: Preprocessing | None = None,
    group: str = "",
    seen_as: Callable[[LabelledImages], LabelledImages] | None = None,
    overwrite: bool = False,
    progress: Listener | None = None,
) -> int:
    """Ask a classifier for the logits of a part of labelled images, and keep them in a folder; the same call goes on there.

    Args:
        model: as for `evaluate`.
        source: as for `evaluate`.
        shard: which part; (2, 4) is the second of four.
        out: folder for the part.
        split: of the source.
        batch_size: as for `evaluate`.
        workers: processes that read images, as for `read_batches`.
        transform: as for `evaluate`.
        group: as for `evaluate`; a part that is there already gets groups without being asked again.
        seen_as: as for `evaluate`.
        overwrite: begin anew where the folder holds another run.
        progress: told after every batch.

    Returns:
        how many images the part has.

    Raises:
        As `evaluate`; ValueError: there is no such part; OtherRun, Busy: the folder holds another run, or one at work.
    """
    check_shard(shard)
    data, labelled, columns = matched(model, source, split)
    labelled = labelled if seen_as is None else seen_as(labelled)
    transform, batch_size = as_seen(model, labelled, transform, batch_size)
    names = labelled.images.names
    groups = group_names(source, split, labelled, group)
    members = shard_of(len(names), shard)
    part = labelled.take(members)
    settings = {
        "model": model_name(model),
        "weights": model.weights_digest,
        "runtime": model.runtime,
        "precision": model.precision,
        "data": data,
        "classes": [{"names": list(entry.names), "wnid": entry.wnid} for entry in labelled.classes],
        "transform": transform.to_dict(),
        "window": None if model.geometry is None else model.geometry.size,
        **shard_settings(WORK, shard, names),
    }
    if temperature_of(model) != 1:
        settings["temperature"] = temperature_of(model)
    if labelled.images.seen:
        settings["seen"] = labelled.images.seen
    if group:
        settings["group"] = group
    with claim(Path(fspath(out)), settings, overwrite=overwrite, free={"group"}) as store:
        scores = store.array(_SCORES, (len(part), len(columns)), np.float32, np.nan)
        rows = store.rows(_IMAGES)
        todo = [row for row in range(len(part)) if str(row) not in rows.done]
        started = time.perf_counter()
        for batch in sweep(
            model, part.images, todo, transform=transform, batch_size=batch_size, workers=workers, progress=progress
        ):
            if batch.rows:
                logits = model(batch.x).float().cpu()[:, columns]
                check_finite(logits, model_name(model), part.images.names[batch.rows[0]])
                scores[list(batch.rows)] = logits.numpy()
                scores.flush()
            seconds = (time.perf_counter() - started) / max(1, len(batch.rows) + len(batch.bad))
            rows.append((str(row), {"seconds": seconds}) for row in batch.rows)
            rows.append(
                (str(row), {"seconds": seconds, "image": part.images.names[row], "error": reason}) for row, reason in batch.bad
            )
            started = time.perf_counter()
        kept = {"names": part.images.names, "groups": [groups[row] for row in members] if groups else []}
        store.keep(FINISHED, labels=part.targets.numpy(), **{key: np.array(words, np.str_) for key, words in kept.items()})
        store.adopt_settings()
    return len(part)


def merge_evaluations(folders: Sequence[str | PathLike[str]], specificity: float | None = None) -> Evaluation:
    """What `evaluate` would say, of the parts that several calls of `evaluate_part` kept; its seconds are those of all together.

    Args:
        folders: of all parts.
        specificity: as for `evaluate`.

    Raises:
        ValueError: a folder holds no finished part, a part is missing or there twice, they are of different runs, or the
            specificity is none.
        BadImage: no image can be read.
    """
    if specificity is not None:
        check_specificity(specificity)
    labels, scores, good = [], [], []
    names: list[str] = []
    groups: list[str] = []
    bad: list[tuple[str, str]] = []
    seconds = 0.0
    parts = all_parts(folders, WORK)
    for part in parts:
        with np.load(part.folder / f"{FINISHED}.npz", allow_pickle=False) as kept:
            labels.append(kept["labels"])
            names += kept["names"].tolist() if "names" in kept else [""] * len(labels[-1])  # parts of older versions
            groups += kept["groups"].tolist() if "groups" in kept else []
        scores.append(np.load(part.folder / f"{_SCORES}.npy"))
        rows = dict(Rows(part.folder / f"{_IMAGES}.jsonl", lambda: None, resumed=True))
        seconds += sum(row["seconds"] for row in rows.values())
        bad += [(row["image"], row["error"]) for row in rows.values() if "error" in row]
        good.append(np.array(["error" not in rows[str(row)] for row in range(len(labels[-1]))], bool))
    usable = np.concatenate(good)
    check_some(np.flatnonzero(usable).tolist(), bad)
    about: dict[str, Any] = dict(parts[0].settings)
    return Evaluation(
        model=about["model"],
        data=about["data"],
        classes=ClassNames.from_words(about["classes"]),
        labels=np.concatenate(labels)[usable],
        scores=np.concatenate(scores)[usable],
        bad=tuple(bad),
        seconds=seconds,
        window=about["window"],
        runtime=about["runtime"],
        precision=about["precision"],
        temperature=about.get("temperature", 1.0),
        seen=about.get("seen", ""),
        names=tuple(np.array(names)[usable].tolist()) if all(names) else (),
        group=about.get("group", ""),
        groups=tuple(np.array(groups)[usable].tolist()) if groups else (),
        specificity=specificity,
    )


def check_asked(folders: Sequence[str | PathLike[str]], model: Predictor) -> None:
    """See that parts are answers of a model. ValueError: of another, or of it at another temperature; as `merge_evaluations`."""
    for part in all_parts(folders, WORK):
        about = part.settings
        if (about["weights"], about.get("temperature", 1.0)) != (model.weights_digest, temperature_of(model)):
            raise ValueError(
                f"{part.folder}: holds answers of {about['model']}, and {model_name(model)} has other weights or another "
                "temperature: name the model that was asked (--model)"
            )
