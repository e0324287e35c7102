"""audit: what a BagNet relies on, and what its mistakes are made of, from its own evidence."""

from __future__ import annotations

import time
from hashlib import sha256
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from ...data.decode import BadImage
from ...data.labels import BadLabels, LabelledImages
from ...data.transforms import Preprocessing
from ...engine.classifier import Classifier, Predictor, has_evidence, model_name
from ...evaluation.evaluate import matched
from ...progress import Listener
from ...runs.store import Store, claim
from .decisive import Task, find_decisive
from .findings import Audit
from .masking import mask_all
from .page import EXAMPLES
from .patterns import find_patterns
from .report import MEASURES, write
from .tally import find_confused, numbered, rank_patterns, tally_confusions

UNFINISHED = "unfinished"  # folder for what an audit that is not complete has done


def audit(
    model: Classifier,
    source: str | PathLike[str] | LabelledImages,
    out: str | PathLike[str],
    split: str = "val",
    *,
    windows: int = 3,
    confusions: int = 10,
    seed: int = 0,
    batch_size: int = 32,
    workers: int | None = None,
    transform: Preprocessing | None = None,
    calibration: str = "",
    overwrite: bool = False,
    progress: Listener | None = None,
) -> Audit:
    """Find the causes of a BagNet's mistakes, and the patterns that its predictions depend on: shortcuts, perhaps.

    For each image the windows that decide are noted: the strongest for the predicted class and, where that is wrong, the
    strongest for it against the true class. Those of one class, or of one kind of mistake, are clustered by the network's own
    features; then they are masked, and the logits recomputed exactly. So "a third of the predictions depend on this pattern" is
    measured, not inferred. A shortcut in the sense of Geirhos et al. (2020) is such a pattern that people would not accept as
    a reason; the report ranks, shows and counts them, and leaves the judgement to its reader.

    Writes `audit.html` (a page that needs nothing beside it), `audit.json` (all measures) and `windows.csv` (every decisive
    window) into a folder. A run that was interrupted goes on where it stopped when it is called again with the same images,
    model and settings. Runs in eval mode and with TF32 off, as `explain` does.

    Args:
        model: a BagNet or a prepared one.
        source: as for `open_labelled`, or what that returned.
        out: the folder.
        split: of the source.
        windows: how many decide an image, at most; they lie half a window apart at least.
        confusions: how many of the most common kinds of mistake.
        seed: of everything that is drawn at random.
        batch_size: images at a time.
        workers: processes that read images, as for `read_batches`.
        transform: instead of the card's preprocessing.
        calibration: what a model in int8 was calibrated on, in any words: a run with other words is another run.
        overwrite: replace an audit that the folder holds already.
        progress: told after every batch.

    Raises:
        ValueError: the model has no evidence, `out` is a file, or a number is out of range.
        FileNotFoundError, BadLabels: as `open_labelled`; the images have several labels each.
        UnknownClass, AmbiguousClass: the model lacks a class of the images, or several answer to its name.
        BadImage: no image can be used.
        NotANumber: a logit is not finite.
        OtherRun: the folder holds the beginning of another run, or another run is writing it.
        OSError: the folder cannot be written, or holds an audit already (FileExistsError).
    """
    folder = Path(fspath(out))
    _check(model, folder, windows, confusions)
    data, images, columns = matched(model, source, split)
    if images.multilabel:
        raise BadLabels(f"{data}: its images have several labels each; an audit needs the one right answer of each")
    task = Task(model, images, columns, transform or model.transform, windows, seed, batch_size, workers)
    settings = {**_settings(task, data), "calibration": calibration, "confusions": confusions}
    with claim(folder / UNFINISHED, settings, overwrite=overwrite) as store:
        if (folder / MEASURES).exists() and not store.resumed and not overwrite:
            raise FileExistsError(f"{folder}: holds an audit already; choose another output, or replace it (--overwrite)")
        try:
            result = _audit(task, data, folder, confusions, store, progress)
        except BadImage:  # no image can be used, and so there is nothing to go on with
            store.discard()
            raise
        store.discard()
    return result


def _audit(task: Task, data: str, folder: Path, confusions: int, store: Store, progress: Listener | None) -> Audit:
    """All of it, with what is done so far in a store."""
    start = time.perf_counter()
    model, images = task.model, task.images
    names, targets = images.images.names, images.targets.numpy()
    decisive = find_decisive(task, store, progress)
    patterns = find_patterns(decisive, len(images.classes), task.seed)
    confused = find_confused(decisive, targets, confusions, task.seed)
    outcomes = mask_all(task, decisive, patterns, confused, store, progress)
    ranked = rank_patterns(patterns, decisive, outcomes, targets, EXAMPLES)
    good = decisive.predicted >= 0
    result = Audit(
        model=model_name(model),
        data=data,
        classes=images.classes,
        geometry=model.geometry,
        windows=task.windows,
        images=int(good.sum()),
        correct=int((decisive.predicted == targets)[good].sum()),
        predictions=np.bincount(decisive.predicted[good], minlength=len(images.classes)),
        bad=tuple((names[row], reason) for row, reason in decisive.bad),
        confusions=tally_confusions(confused, decisive, outcomes, targets, EXAMPLES),
        patterns=ranked,
        clusters=numbered(decisive, confused, patterns, ranked),
        seconds=time.perf_counter() - start,
        runtime=model.runtime,
        precision=model.precision,
    )
    write(result, task, decisive, folder, progress)
    return result


def _check(model: Predictor, folder: Path, windows: int, confusions: int) -> None:
    name = model_name(model)
    if not has_evidence(model):
        raise ValueError(f"{name}: is not a bag of windows, and has none to hold responsible: name a BagNet, say")
    if model.card is not None and model.card.multilabel:
        raise BadLabels(f"{name}: says yes or no to each class by itself; an audit needs a model that chooses one")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: is a file; name a folder for the report")
    if windows < 1 or confusions < 0:
        raise ValueError(f"an audit needs at least 1 window and 0 confusions, got {windows} and {confusions}")


def _settings(task: Task, data: str) -> dict[str, Any]:
    """What the results depend on."""
    return {
        "weights": task.model.weights_digest,
        "runtime": task.model.runtime,
        "precision": task.model.precision,
        "data": data,
        "images": task.images.images.fingerprint,
        "labels": sha256(task.images.targets.numpy().tobytes()).hexdigest(),
        "columns": list(task.columns),
        "transform": task.transform.to_dict(),
        "windows": task.windows,
        "seed": task.seed,
    }
