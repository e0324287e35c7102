"""The Lightning trainer on labelled images: batches in, a trained network out, resumed where it was interrupted."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..bag import BagOfFeatures
from ..data.augment import Augmentation, Mixing, Views, WindowSampling
from ..data.decode import BadImage
from ..data.inputs import NetworkInputs
from ..data.labels import LabelledImages
from ..data.order import Order
from ..data.pixels import Pixels
from ..data.samples import BadTile, Batch, Samples
from ..data.transforms import Preprocessing
from ..geometry import Geometry
from ..runs.loader import belong_to, interrupts_held_back
from .captured import captured
from .checkpoints import BEST, LAST, Best, Checkpoints, Log, WholeFiles
from .folding import folded
from .loggers import logger_kind
from .losses import balanced, drawing_weights
from .memory import freed_memory_kept
from .module import Diverged, Training, check_unreadable
from .processes import rank, ranks, trainer_options
from .recipe import Recipe
from .teacher import ConsistentTeachers

_PRECISIONS = {"float32": "32-true", "bf16": "bf16-mixed", "float64": "64-true"}
_SELECT_BATCH = 250
_SELECT_KEPT = 1 << 30  # bytes of inputs, which each epoch asks for again
_WINDOWS = 8  # of an image in a step
CHECKPOINT_STEPS = 500  # between checkpoints, for long epochs; the end of each epoch has one, too
LOG_STEPS = 50  # between two that loggers are told


@dataclass(frozen=True, slots=True)
class Fitted:
    """What came of it.

    Args:
        network: the result: the moving average of the weights, or the best, where the recipe has that.
        unreadable: row of the training images -> why it was skipped.
        unreadable_select: the same of the images to select on.
        bad_tiles: of the training slides, for which others stood in, by slide and place.
    """

    network: nn.Module
    unreadable: dict[int, str]
    unreadable_select: dict[int, str]
    bad_tiles: list[BadTile]


def fit(
    network: nn.Module,
    training: LabelledImages,
    select: LabelledImages,
    preprocessing: Preprocessing,
    recipe: Recipe,
    folder: Path,
    *,
    teacher: Tensor | ConsistentTeachers | None = None,
    workers: int = 0,
    stream: bool = False,
    begin: Callable[[], None] | None = None,
    logger: str = "",
) -> Fitted:
    """Train a network; a run that was interrupted goes on from `last.ckpt` in its folder.

    Args:
        network: (B, C, H, W) -> (B, K) logits; changed.
        training: images to train on.
        select: images that each epoch is measured on.
        preprocessing: what the network will be used with.
        recipe: how.
        folder: for checkpoints and logs.
        teacher: (N, K) logits of a teacher for the training images, where the recipe distils; or whom to ask about each view.
        workers: processes that prepare images.
        stream: the images are read in groups, and none is kept.
        begin: called before the first checkpoint is written.
        logger: who is told, as for `logger_kind`.

    Raises:
        ValueError: the images do not fit the recipe, or too many cannot be read; there is no such logger.
        ImportError: the logger's package is missing.
        Diverged: the loss is not finite any more; the last checkpoint is good.
        OSError: a checkpoint cannot be written; the one before is intact.
    """
    layout, geometry = memory_format(network), windows_of(network)
    batches = _Batches(training, select, preprocessing, recipe, teacher, workers, stream, layout, geometry)
    check_unreadable(batches.pixels.unreadable, len(training), recipe)
    weights = None
    if recipe.balance == "loss":
        weights = balanced(training.counts, len(training), training.multilabel)
    module = Training(
        network.to(memory_format=layout),
        recipe,
        batches.order,
        len(training),
        multilabel=training.multilabel,
        class_weights=weights,
    )
    callbacks = [Log(folder, module.steps), Checkpoints(folder, CHECKPOINT_STEPS, recipe.steady_epochs, begin)]
    if recipe.patience:
        callbacks.insert(0, Best(folder, recipe.patience))
    last = folder / LAST
    with _quiet():
        trainer = Trainer(
            max_epochs=recipe.epochs,
            precision=_PRECISIONS[recipe.precision],  # type: ignore[arg-type]
            accumulate_grad_batches=recipe.parts,
            gradient_clip_val=recipe.clip or None,
            callbacks=callbacks,
            logger=logger_kind(logger).build(folder, _reached(last), recipe),
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=sys.stderr.isatty(),
            log_every_n_steps=LOG_STEPS,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            plugins=[WholeFiles()],
            **trainer_options(),
        )
        try:
            with _interruptible(), folded(network), captured(network), freed_memory_kept():
                trainer.fit(module, datamodule=batches, ckpt_path=last if last.exists() else None, weights_only=False)
            module.check_weights()
        except Diverged as error:
            kept = f"the last good checkpoint is {last}" if last.exists() else "it had no checkpoint yet"
            raise Diverged(f"{error}; {kept}") from None
    unreadable = batches.pixels.unreadable | module.unreadable
    check_unreadable(unreadable, len(training), recipe)
    if recipe.patience and (folder / BEST).exists():
        module.result.load_state_dict(torch.load(folder / BEST, weights_only=True))
    return Fitted(module.result.eval(), unreadable, batches.unreadable, sorted(module.bad_tiles))


class _Batches(LightningDataModule):
    """Training batches as the recipe says, and selection batches as the network will be used."""

    def __init__(
        self,
        training: LabelledImages,
        select: LabelledImages,
        preprocessing: Preprocessing,
        recipe: Recipe,
        teacher: Tensor | ConsistentTeachers | None,
        workers: int,
        stream: bool,
        layout: torch.memory_format,
        geometry: Geometry | None,
    ) -> None:
        super().__init__()
        self.select, self.preprocessing, self.workers, self.layout = select, preprocessing, workers, layout
        self.teachers = teacher if isinstance(teacher, ConsistentTeachers) else None
        self.compared = partial(_taught, recipe=recipe, multilabel=training.multilabel)
        self.unreadable: dict[int, str] = {}  # row of `select` -> reason
        views = _views(recipe, preprocessing, geometry)
        shorter = None if recipe.scale and isinstance(views.early, Augmentation) else preprocessing.resize
        self.pixels = Pixels(
            training.images, len(preprocessing.mean), preprocessing.grey, shorter, **({"keep": 0} if stream else {})
        )
        starts = training.images.starts if stream else None
        self.order = Order(
            len(training),
            recipe.batch_size,
            recipe.seed,
            rank=rank(),
            ranks=ranks(),
            parts=recipe.parts,
            weights=drawing_weights(training.targets) if recipe.balance == "sampler" else None,
            starts=starts,
        )
        self.samples = Samples(
            training,
            self.pixels,
            views,
            Mixing(recipe.mixup, recipe.cutmix),
            recipe.seed,
            self.compared(teacher).half() if isinstance(teacher, Tensor) else None,
            starts or (0,),
        )

    def train_dataloader(self) -> DataLoader[Batch]:
        return _Loader(
            self.samples,
            batch_size=None,
            sampler=self.order,
            num_workers=self.workers,
            multiprocessing_context="spawn" if self.workers else None,  # forking a process that runs threads may hang it
            worker_init_fn=partial(belong_to, os.getpid()),
            persistent_workers=self.workers > 0,  # without pinned memory: the thread that pins may break into a capture
        )

    def on_after_batch_transfer(self, batch: Any, _: int) -> Any:
        """What is trained on is shown to teachers and normalised where the network is; what is selected on came so."""
        if not isinstance(batch, Batch):
            return batch
        if self.teachers is not None:
            batch = batch._replace(teacher=self.compared(self.teachers(batch.images)))
        pictures = batch.images.flatten(0, -4).contiguous(memory_format=self.layout)
        images = self.preprocessing.normalise(pictures).to(batch.targets.dtype)  # float64 where the run is
        return batch._replace(images=torch.unflatten(images, 0, batch.images.shape[:-3]))

    def val_dataloader(self) -> DataLoader[Any]:
        prepared = NetworkInputs(self.select.images, self.preprocessing, keep=_SELECT_KEPT)
        batch = _SELECT_BATCH if self.preprocessing.crop else 1  # whole photographs are of many sizes, and large
        return DataLoader(prepared, batch, collate_fn=self._targets)

    def _targets(self, batch: Sequence[tuple[int, Tensor | str]]) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) images and (B, K) shares of those that can be read."""
        good = [(row, x) for row, x in batch if isinstance(x, Tensor)]
        self.unreadable.update((row, x) for row, x in batch if isinstance(x, str))
        if not good:
            raise BadImage(f"none of {len(batch)} images to select on can be read: {batch[0][1]}")
        return torch.stack([x for _, x in good]), torch.stack([self.select.shares(row) for row, _ in good])


class _Loader(DataLoader[Batch]):
    """Whose processes leave Ctrl-C to the one that trains, from their start on."""

    def __iter__(self) -> Any:
        with interrupts_held_back() if self.num_workers else nullcontext():
            return super().__iter__()


def windows_of(network: nn.Module) -> Geometry | None:
    """Of a network each of whose windows is computed by itself, so that a step may have some of them alone; else None."""
    return network.geometry if isinstance(network, BagOfFeatures) and network.windows_apart else None


def pixels_in_step(recipe: Recipe, preprocessing: Preprocessing, geometry: Geometry | None) -> int:
    """Of each image, those that the network sees in one step; 0 where that is not known before there is an image."""
    if recipe.tiles:
        rows, columns = (1, 1) if geometry is None else geometry.grid(recipe.train_crop, recipe.train_crop)
        return recipe.tiles * rows * columns * (recipe.train_crop if geometry is None else geometry.size) ** 2
    side = preprocessing.crop or recipe.train_crop  # the last epochs may see all of the input
    if not side and geometry is not None:
        return (recipe.windows or _WINDOWS) * geometry.size**2
    return side**2


def _views(recipe: Recipe, preprocessing: Preprocessing, geometry: Geometry | None) -> Views:
    size = preprocessing.crop or 0
    crop = recipe.train_crop or size
    if recipe.tiles:
        sampling = WindowSampling(crop, recipe.tiles, recipe.scale, recipe.mirror, recipe.augment)
        return Views(sampling, sampling, recipe.epochs)
    if not crop and geometry is not None:
        count = recipe.windows or _WINDOWS
        sampling = WindowSampling(geometry.size, count, recipe.scale, recipe.mirror, recipe.augment)
        return Views(sampling, sampling, recipe.epochs)
    if not crop:
        raise ValueError("the preprocessing cuts no square out of images: give the recipe a train_crop")
    early = Augmentation(crop, recipe.scale, recipe.mirror, recipe.augment)
    return Views(early, replace(early, crop=size or crop), recipe.epochs - recipe.final_epochs)


def _taught(logits: Tensor, recipe: Recipe, multilabel: bool) -> Tensor:
    """(N, K) float32: what of a teacher's logits the recipe compares; of images that it could not read, undecided."""
    if recipe.distil_on == "logits":
        return torch.nan_to_num(logits.float())
    scaled = torch.nan_to_num(logits.float() / recipe.temperature)
    return scaled.sigmoid() if multilabel else scaled.softmax(1)


def _reached(last: Path) -> int:
    """The step from which a run goes on. ValueError: the file is no checkpoint."""
    if not last.exists():
        return 0
    try:
        return int(torch.load(last, map_location="cpu", weights_only=False, mmap=True)["global_step"])
    except (RuntimeError, EOFError, KeyError, pickle.UnpicklingError):
        raise ValueError(f"{last}: is no checkpoint of a run; take it away to begin the run anew") from None


def memory_format(network: nn.Module) -> torch.memory_format:
    """In which layout a network is trained: channels last, which is faster.

    But on CPUs not with fewer than 16 channels: there oneDNN's backward pass writes outside its memory (torch 2.15).
    """
    narrow = any(isinstance(module, nn.Conv2d) and module.out_channels < 16 for module in network.modules())
    return torch.contiguous_format if narrow and not torch.cuda.is_available() else torch.channels_last


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C stays a KeyboardInterrupt, of which Lightning makes an exit, and can be pressed again."""
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt from None
    finally:
        if main:
            signal.signal(signal.SIGINT, handler)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what Lightning says of itself, of idle cores and of how to load checkpoints."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", "The AccumulateGrad node's stream")  # once, where `captured` warms up on another one
        try:
            yield
        finally:
            logger.setLevel(level)
