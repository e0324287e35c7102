"""The logits of every model for every image, asked for once and kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...files import file_stem
from ...runs.store import claim
from ...runs.sweep import check_finite, check_some
from .experiment import Workplace
from .subjects import Material, Subject

_UNUSABLE = np.inf


def scores(material: Material, subject: Subject, work: Workplace, cache: Path | None = None) -> NDArray[np.float32]:
    """A model's logits, from the disk as far as they are known.

    Args:
        material: images.
        subject: the model.
        work: where the experiment works; images that cannot be used are noted there.
        cache: where logits are kept; where None, beside the experiment's folder, where the other experiments find them.

    Returns:
        (N, K) logits of the classes of the images; a row of infinities for an image that cannot be used: it cannot be read, or is
        smaller than a window.

    Raises:
        NotANumber: a logit is NaN or infinite.
        BadImage: no image can be used.
        OSError: they cannot be written.
    """
    names = material.images.names
    settings = {**material.settings(), "models": subject.fingerprint}
    bad: list[tuple[int, str]] = []
    with claim((cache or work.cache) / file_stem(subject.name), settings, overwrite=True) as store:
        kept = store.array("logits", (len(names), len(material.classes)), np.float32, np.nan)
        todo = np.flatnonzero(~np.isfinite(kept).all(1)).tolist()  # what could not be used is asked again: it has a reason
        for batch in material.sweep(subject, todo):
            if batch.rows:
                logits = subject.logits(batch.x).float()
                check_finite(logits, subject.name, names[batch.rows[0]])
                kept[list(batch.rows)] = logits.numpy()
            for row, reason in batch.bad:
                kept[row] = _UNUSABLE
                work.note_unusable(names[row], reason)
            bad += batch.bad
            kept.flush()
        found: NDArray[np.float32] = np.array(kept)
    check_some(np.flatnonzero(np.isfinite(found[:, 0])).tolist(), bad)
    return found


def all_scores(material: Material, work: Workplace) -> tuple[NDArray[np.bool_], dict[str, NDArray[np.float32]]]:
    """((N,) images that every model could use, name of each model -> (n, K) logits of those). Raises as `scores`."""
    found = {one.name: scores(material, one, work) for one in material.ordered}
    readable = np.all([np.isfinite(values[:, 0]) for values in found.values()], axis=0)
    return readable, {name: values[readable] for name, values in found.items()}
