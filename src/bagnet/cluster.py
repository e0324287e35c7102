"""The same work on a Ray cluster: its nodes do parts of it, as `--shard` would, and the parts are joined.

All nodes see the same files under the same paths, and have this package. A worker builds the model once. Where a worker or
node is killed, Ray does its part again elsewhere, which goes on from what the part's folder holds. The parts lie beside the
output, in a folder called OUTPUT.parts, until they are joined: where the caller itself is killed, the same call goes on there.
"""

from __future__ import annotations

import pickle
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from .data.labels import LabelledImages
from .data.sources import ImageSource, open_images
from .data.tables import HUB
from .data.transforms import Preprocessing
from .engine.classifier import Classifier, Predictor
from .evaluation.evaluate import Evaluation, check_specificity, group_names, matched
from .evaluation.shards import evaluate_part, merge_evaluations
from .missing import needs
from .progress import Listener, Progress, unheard
from .runs.predict import Summary, check_output, merge_predictions, predict
from .runs.shards import Shard
from .runs.store import Busy, alone
from .slides.run import Slide, merge_slides, slide, tile_rows
from .slides.tiles import scale_of

IMAGES = 256  # of a part, about
MOST = 128  # parts
PATIENCE = 120.0  # seconds until a worker that is dead has given up the lock of its part
_ANSWER = 10.0  # seconds until somebody who listens has answered
_PAUSE = 1.0  # seconds between two looks at a lock, or at the cluster

Prepare = Callable[[Predictor], Preprocessing]
SeenBy = Callable[[Predictor], Callable[[LabelledImages], LabelledImages]]


class NoCluster(OSError):
    """No cluster answers. The message says where."""


def slide_on(
    address: str,
    build: Callable[[], Classifier],
    image: str | PathLike[str],
    classes: Sequence[int | str],
    out: str | PathLike[str],
    *,
    level: int | None = None,
    microns: float | None = None,
    skip_white: bool = False,
    overwrite: bool = False,
    cpus: float = 1,
    progress: Listener = unheard,
) -> Slide:
    """`bagnet.slide` on a cluster: a part is a row of tiles.

    Args:
        address: of the cluster, as `ray.init` takes it; "auto" where this machine belongs to one.
        build: makes the model on a worker; to be sent there, such as `functools.partial(bagnet.load, NAME)`.
        image: as for `bagnet.slide`.
        classes: as for `bagnet.slide`.
        out: as for `bagnet.slide`.
        level: as for `bagnet.slide`.
        microns: as for `bagnet.slide`.
        skip_white: as for `bagnet.slide`.
        overwrite: begin anew where the output holds another run.
        cpus: cores of a worker.
        progress: told after every part.

    Raises:
        NoCluster: no cluster answers there.
        As `bagnet.slide`; ImportError: ray is missing.
    """
    source, target = Path(fspath(image)).absolute(), Path(fspath(out)).absolute()
    model = build()
    wanted = [model.classes.find(name) for name in classes]
    level, microns = scale_of(model, level, microns)  # said here, as nobody hears the workers
    count = min(MOST, tile_rows(model, source, level, microns))
    options = {"level": level, "microns": microns, "skip_white": skip_white, "overwrite": overwrite}
    work = partial(_slide_part, image=source, classes=wanted, options=options)
    with _parts_of(target) as home:
        folders = _on_cluster(address, build, work, count, home, cpus, progress)
        result = merge_slides(folders, target, overwrite=overwrite)
        shutil.rmtree(home)
    return result


def predict_on(
    address: str,
    build: Callable[[], Classifier],
    source: ImageSource,
    out: str | PathLike[str],
    *,
    prepare: Prepare | None = None,
    overwrite: bool = False,
    cpus: float = 1,
    progress: Listener = unheard,
    **options: Any,
) -> Summary:
    """`bagnet.predict` on a cluster, in parts of some hundred images.

    Args:
        address: as for `slide_on`.
        build: as for `slide_on`.
        source: as for `bagnet.predict`.
        out: as for `bagnet.predict`.
        prepare: the preprocessing of a model, to be sent to the workers; the card's where None.
        overwrite: replace a table that is there already.
        cpus: cores of a worker.
        progress: told after every part.
        **options: `top`, `batch_size`, `workers` and `calibration` of `bagnet.predict`.

    Raises:
        NoCluster: no cluster answers there.
        As `bagnet.predict`; ImportError: ray is missing.
    """
    images, table = _absolute(source), Path(fspath(out)).absolute()
    check_output(table, overwrite)
    count = _count(len(open_images(images).names))
    work = partial(_predict_part, source=images, prepare=prepare, options={**options, "overwrite": overwrite})
    with _parts_of(table) as home:
        folders = _on_cluster(address, build, work, count, home, cpus, progress)
        summary = merge_predictions(folders, table, overwrite=overwrite)
        shutil.rmtree(home)
    return summary


def evaluate_on(
    address: str,
    build: Callable[[], Predictor],
    source: str | PathLike[str],
    home: str | PathLike[str],
    split: str = "val",
    *,
    prepare: Prepare | None = None,
    seen_by: SeenBy | None = None,
    specificity: float | None = None,
    cpus: float = 1,
    progress: Listener = unheard,
    **options: Any,
) -> Evaluation:
    """`bagnet.evaluate` on a cluster, in parts of some hundred images.

    Args:
        address: as for `slide_on`.
        build: as for `slide_on`.
        source: as for `bagnet.evaluate`.
        home: a folder beside which the parts are kept until they are joined.
        split: of the source.
        prepare: as for `predict_on`.
        seen_by: what a model is to see of the images, as `bagnet.slides.tiles.seen_by` says it; to be sent to the workers.
        specificity: as for `bagnet.evaluate`.
        cpus: cores of a worker.
        progress: told after every part.
        **options: `batch_size`, `workers` and `group` of `bagnet.evaluate`.

    Raises:
        NoCluster: no cluster answers there.
        As `bagnet.evaluate`; ImportError: ray is missing.
    """
    images = _absolute(source)
    if specificity is not None:
        check_specificity(specificity)
    model = build()
    _, labelled, _ = matched(model, images, split)
    seen = labelled if seen_by is None else seen_by(model)(labelled)
    group_names(images, split, seen, options.get("group", ""))  # raises where it is missing, before a cluster is asked
    count = min(MOST, len(seen)) if seen.images.seen else _count(len(seen))  # a slide is as much work as many images
    options = {**options, "overwrite": True}
    work = partial(_evaluate_part, source=images, split=split, prepare=prepare, seen_by=seen_by, options=options)
    with _parts_of(Path(fspath(home)).absolute()) as parts:
        evaluation = merge_evaluations(_on_cluster(address, build, work, count, parts, cpus, progress), specificity)
        shutil.rmtree(parts)
    return evaluation


def _slide_part(
    model: Classifier, shard: Shard, folder: Path, image: Path, classes: Sequence[int], options: dict[str, Any]
) -> None:
    slide(model, image, classes, folder, shard=shard, **options)


def _predict_part(
    model: Classifier, shard: Shard, folder: Path, source: ImageSource, prepare: Prepare | None, options: dict[str, Any]
) -> None:
    predict(model, source, folder, shard=shard, transform=prepare and prepare(model), **options)


def _evaluate_part(
    model: Predictor,
    shard: Shard,
    folder: Path,
    source: str,
    split: str,
    prepare: Prepare | None,
    seen_by: SeenBy | None,
    options: dict[str, Any],
) -> None:
    transform, seen_as = prepare and prepare(model), seen_by and seen_by(model)
    evaluate_part(model, source, shard, folder, split, transform=transform, seen_as=seen_as, **options)


def _on_cluster(
    address: str,
    build: Callable[[], Any],
    work: Callable[[Any, Shard, Path], None],
    count: int,
    home: Path,
    cpus: float,
    progress: Listener,
) -> list[Path]:
    """Do all parts of some work, and where they lie."""
    ray = needs("ray", "cluster")
    _check_answer(address)
    folders = {(number, count): home / f"{number}-of-{count}" for number in range(1, count + 1)}
    joined = not ray.is_initialized()
    if joined:
        try:
            ray.init(address=address, log_to_driver=False, configure_logging=False)
        except (ConnectionError, RuntimeError, TimeoutError) as error:
            reason = " ".join(str(error).split())[:200]
            raise NoCluster(f"{address}: no Ray cluster answers there ({reason}); start it with ray start --head") from None
    try:
        # Tasks, not actors: an actor whose node is gone waits for as much room as it had, a task takes any room there is.
        remote = ray.remote(_do).options(num_cpus=cpus, max_retries=-1)
        model = ray.put(ray.cloudpickle.dumps(build))
        waiting = [remote.remote(model, work, shard, folder) for shard, folder in folders.items()]
        while waiting:
            done, waiting = ray.wait(waiting, timeout=_PAUSE)
            _raise_causes(ray, done)
            progress(Progress("computing on the cluster", count - len(waiting), count, "parts"))
    finally:
        if joined:
            ray.shutdown()
    return list(folders.values())


def _check_answer(address: str) -> None:
    """See that somebody listens there, if it says where: Ray would try for minutes. NoCluster: nobody does."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER).close()
    except OSError as error:
        raise NoCluster(f"{address}: no Ray cluster answers there ({error}); start it with ray start --head") from None


def _raise_causes(ray: Any, done: Sequence[Any]) -> None:
    """What went wrong on a worker goes wrong here."""
    try:
        ray.get(done)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None


def _do(build: bytes, work: Callable[[Any, Shard, Path], None], shard: Shard, folder: Path) -> None:
    """On a worker: a part. A worker that is dead but does not know it yet may still hold the part's lock."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            work(_built(build), shard, folder)
            return
        except Busy:
            if time.monotonic() > end:
                raise
            time.sleep(_PAUSE)


@cache
def _built(build: bytes) -> Any:
    """The model, once in a process."""
    return pickle.loads(build)()


def _count(images: int) -> int:
    """Parts of so many images, whatever the cluster's size: who goes on has other nodes, perhaps, but the same parts."""
    return min(MOST, max(1, images // IMAGES))


def _absolute(source: Any) -> Any:
    """A source of images under a name that means the same on all nodes."""
    if isinstance(source, str) and source.startswith(HUB):
        return source
    if isinstance(source, (str, PathLike)):
        return str(Path(fspath(source)).absolute())
    return [str(Path(fspath(path)).absolute()) for path in source]


@contextmanager
def _parts_of(output: Path) -> Iterator[Path]:
    """Inside, a folder for the parts of an output is this call's alone."""
    home = output.with_name(f"{output.name}.parts")
    with alone(home):
        yield home
