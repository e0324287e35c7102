"""The logits of every model for every image, asked for once and kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...data.decode import BadImage
from ...engine.inference import exact
from ...evaluation.evaluate import NotANumber
from ...files import file_stem, replacing
from ...runs.journal import alone
from ...runs.loader import read_batches
from .subjects import Material, Subject

FOLDER = "logits"
_UNREADABLE = np.inf


def scores(material: Material, subject: Subject, folder: Path) -> NDArray[np.float32]:
    """A model's logits, from the disk as far as they are known.

    Args:
        material: images.
        subject: the model.
        folder: of an experiment; logits are kept beside it, where the other experiments find them.

    Returns:
        (N, K) logits of the classes of the images; a row of infinities for an image that cannot be used: it cannot be read, or is
        smaller than a window.

    Raises:
        NotANumber: a logit is NaN or infinite.
        BadImage: no image can be used.
        OSError: they cannot be written.
    """
    kept = folder.parent / FOLDER
    path = kept / f"{file_stem(subject.name)}.npy"
    settings = {**material.settings(), "models": subject.fingerprint}
    with alone(path):
        array = _opened(path, settings, (len(material), len(material.classes)))
        todo = np.flatnonzero(~np.isfinite(array[:, 0])).tolist()  # what could not be read is asked again: it has a reason
        report = material.reporter(subject.name)
        with exact(subject.model), torch.inference_mode():
            for batch in read_batches(material.images, todo, subject.transform, material.batch_size, material.workers):
                bad = list(batch.bad)
                for rows, x in batch.groups:
                    try:
                        if subject.window is not None:
                            subject.model.check(x)
                    except ValueError as error:  # smaller than a window
                        bad += [(row, f"{material.images.names[row]}: {error}") for row in rows]
                        continue
                    logits = subject.logits(x).float().numpy()
                    if not np.isfinite(logits).all():
                        raise NotANumber(
                            f"{material.images.names[rows[0]]}: {subject.name} answers with logits that are no numbers"
                        )
                    array[rows] = logits
                for row, reason in bad:
                    array[row] = _UNREADABLE
                    material.note_unusable(row, reason)
                array.flush()
                if report is not None:
                    report(int((~np.isnan(array[:, 0])).sum()), len(array))
        found: NDArray[np.float32] = np.array(array)
    if not np.isfinite(found[:, 0]).any():
        raise BadImage(f"none of {len(found)} images can be used: {next(iter(material.unusable.values()))}")
    return found


def all_scores(material: Material, folder: Path) -> tuple[NDArray[np.bool_], dict[str, NDArray[np.float32]]]:
    """((N,) images that every model could use, name of each model -> (n, K) logits of those). Raises as `scores`."""
    found = {one.name: scores(material, one, folder) for one in material.ordered}
    readable = np.all([np.isfinite(values[:, 0]) for values in found.values()], axis=0)
    return readable, {name: values[readable] for name, values in found.items()}


def _opened(path: Path, settings: dict[str, Any], shape: tuple[int, int]) -> Any:
    """The file, with NaN where nothing is known yet; begun anew where it is of other images or weights."""
    head = path.with_suffix(".json")
    text = json.dumps(settings, sort_keys=True)
    if path.exists() and head.exists() and head.read_text(encoding="utf-8") == text:
        return np.load(path, mmap_mode="r+")
    head.unlink(missing_ok=True)
    with replacing(path) as part:
        array = np.lib.format.open_memmap(part, "w+", np.float32, shape)
        array[:] = np.nan
        array.flush()
    head.write_text(text, encoding="utf-8")  # last: without it the file counts as another run's
    return np.load(path, mmap_mode="r+")
