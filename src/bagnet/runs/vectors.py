"""A vector of every image, computed once: kept in a folder named after all it depends on, and resumed there."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.sources import Images, ImageSource, open_images
from ..data.transforms import Preprocessing
from ..engine.classifier import Classifier, Predictor, model_name
from ..progress import Listener
from .store import FINISHED, claim
from .sweep import NotANumber, sweep

_log = logging.getLogger(__name__)

_BATCH = 8  # whole photographs at a time: few, as each may be of many windows


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """Vectors of some images.

    Args:
        values: (N, width); NaN of images that cannot be used.
        bad: row -> why not; each reason names its image.
    """

    values: NDArray[Any]
    bad: dict[int, str]


def vectors_folder(folder: Path, settings: Mapping[str, Any]) -> Path:
    """Where vectors that depend on these settings are kept."""
    return folder / sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def vectors(
    model: Predictor,
    images: Images,
    home: Path,
    settings: Mapping[str, Any],
    width: int,
    compute: Callable[[Tensor], Tensor],
    *,
    transform: Preprocessing | None = None,
    rows: Sequence[int] | None = None,
    dtype: Any = np.float32,
    batch_size: int = 64,
    workers: int | None = None,
    progress: Listener | None = None,
    stage: str = "",
) -> Vectors:
    """A vector of every image; what is kept already is not computed again.

    Args:
        model: whose input the images become.
        images: the collection.
        home: folder for these vectors and nothing else, see `vectors_folder`.
        settings: all that the vectors depend on.
        width: of a vector.
        compute: (B, C, H, W) prepared images -> (B, width), all finite.
        transform: prepares them; the model's where None.
        rows: which images; all where None.
        dtype: of what is kept.
        batch_size: images at a time.
        workers: processes that read images, as for `read_batches`.
        progress: told after every batch.
        stage: what is being done, for those who are told.

    Raises:
        Busy: another run is at work on the folder.
        NotANumber: a vector is not finite.
        OSError: it cannot be written.
    """
    names = images.names
    rows = range(len(names)) if rows is None else rows
    place_of = {row: place for place, row in enumerate(rows)}
    with claim(home, settings, overwrite=True) as store:
        values = store.array("vectors", (len(rows), width), dtype, np.nan)
        unreadable = store.rows("unreadable")
        todo = [row for row in rows if np.isnan(values[place_of[row]]).any() and names[row] not in unreadable.done]
        batches = sweep(
            model,
            images,
            todo,
            batch_size=batch_size,
            workers=workers,
            transform=transform,
            progress=progress,
            stage=stage or model_name(model),
        )
        for batch in batches if todo else ():
            if batch.rows:
                computed = compute(batch.x).float().cpu()
                _check_finite(computed, model, [names[row] for row in batch.rows])
                values[[place_of[row] for row in batch.rows]] = computed.numpy().astype(dtype)
                values.flush()
            unreadable.append((names[row], {"error": reason}) for row, reason in batch.bad)
        store.keep(FINISHED)
        reasons = {name: str(row["error"]) for name, row in unreadable}
    bad = {row: reasons[names[row]] for row in rows if names[row] in reasons}
    return Vectors(np.array(values), bad)


def mean_features(
    model: Classifier,
    images: Images,
    folder: Path,
    *,
    workers: int | None = None,
    progress: Listener | None = None,
    stage: str = "",
) -> Vectors:
    """The mean of the features of all windows of each image: what its logits are a linear function of.

    Args:
        model: any classifier with evidence, on any runtime.
        images: the collection.
        folder: in which to keep them, beside those of other models.
        workers: as for `read_batches`.
        progress: told after every batch.
        stage: what is being done, for those who are told.

    Returns:
        (N, `num_features`) float32.

    Raises:
        As `vectors`.
    """
    settings = {
        "features of": model.weights_digest,
        "window": model.geometry.size,
        "stride": model.geometry.stride,
        "preprocessing": model.transform.to_dict(),
        "runtime": f"{model.runtime} {model.precision}",
        "images": images.fingerprint,
    }

    def pooled(x: Tensor) -> Tensor:
        return model.features(x).mean((2, 3), dtype=torch.float32)

    return vectors(
        model,
        images,
        vectors_folder(folder, settings),
        settings,
        model.num_features,
        pooled,
        batch_size=_BATCH,
        workers=workers,
        progress=progress,
        stage=stage,
    )


def embed(
    model: Classifier,
    images: ImageSource | Images,
    *,
    workers: int | None = None,
    progress: Listener | None = None,
) -> NDArray[np.float32]:
    """The mean of the features of all windows of each image, to fit another classifier on or to compare images by.

    `bagnet.from_linear` makes a model of a linear classifier fitted on them.

    Args:
        model: any classifier with evidence, on any runtime.
        images: as for `open_images`: a folder, a table, a list of paths; or what that returns.
        workers: processes that read images; few images are read by the one that computes.
        progress: told after every batch.

    Returns:
        (N, `num_features`), in the order of the images; NaN for those that cannot be read, which the log names.

    Raises:
        FileNotFoundError, ValueError: there are no such images.
        NotANumber: a feature is not finite.
    """
    with TemporaryDirectory() as folder:
        opened = open_images(images) if isinstance(images, str | PathLike | Sequence) else images
        found = mean_features(model, opened, Path(folder), workers=workers, progress=progress)
    for reason in found.bad.values():
        _log.warning("%s", reason)
    values: NDArray[np.float32] = found.values
    return values


def _check_finite(computed: Tensor, model: Predictor, names: Sequence[str]) -> None:
    finite = torch.isfinite(computed).all(1)
    if not finite.all():
        name = names[int((~finite).nonzero()[0])]
        raise NotANumber(f"{name}: {model_name(model)} makes numbers of it that are not finite; look at its weights")
