"""A training run, from a folder of images to a file of weights with a card that says what they reach."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.utils.data import DataLoader

from ..card import Card, Score
from ..data.labelled import Augmented, LabelledImages, Shuffled, read_parquet
from ..data.transforms import Preprocessing
from ..geometry import Box, ceil_div
from ..model import Architecture, BagNet
from ..zoo.checkpoint import write
from ..zoo.convert import converted
from ..zoo.load import load
from .module import Training
from .recipe import Recipe


class Batches(LightningDataModule):
    """Training batches whose crop follows the recipe, and validation batches of centre crops."""

    trainer: Trainer

    def __init__(self, fit: LabelledImages, select: LabelledImages, preprocessing: Preprocessing, recipe: Recipe) -> None:
        super().__init__()
        self.fit, self.select, self.preprocessing, self.recipe = fit, select, preprocessing, recipe

    def train_dataloader(self) -> DataLoader[Any]:
        """Built anew for every epoch, since the last epochs use larger crops."""
        epoch = self.trainer.current_epoch
        final = epoch >= self.recipe.epochs - self.recipe.final_epochs
        crop = min(self.preprocessing.crop or _side(self.fit), _side(self.fit)) if final else self.recipe.crop
        images = Augmented(self.fit, self.preprocessing, self.recipe.seed, crop)
        order = Shuffled(len(self.fit), self.recipe.seed)
        order.set_epoch(epoch)
        return DataLoader(images, self.recipe.batch_size, sampler=order, drop_last=True, collate_fn=_as_it_is)

    def val_dataloader(self) -> CentreCrops:
        return CentreCrops(self.select, self.preprocessing)


@dataclass(frozen=True, slots=True)
class CentreCrops:
    """Centre crops of the images in their order, as normalised batches of (B, C, H, W) and (B,) labels."""

    images: LabelledImages
    preprocessing: Preprocessing
    batch_size: int = 250

    def __len__(self) -> int:
        return ceil_div(len(self.images), self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        height, width = self.images.pixels.shape[2:]
        placement = replace(self.preprocessing, resize=None).placement((width, height))
        crop = placement.display_box(Box(0, 0, *placement.input_size[::-1])).slices
        for start in range(0, len(self.images), self.batch_size):
            rows = slice(start, start + self.batch_size)
            pixels = self.preprocessing.normalise(self.images.pixels[rows, :, *crop])
            yield pixels.contiguous(memory_format=torch.channels_last), self.images.labels[rows]


def _side(images: LabelledImages) -> int:
    return min(images.pixels.shape[2:])


def _as_it_is(batch: Any) -> Any:
    return batch


def fit(architecture: Architecture, images: LabelledImages, preprocessing: Preprocessing, recipe: Recipe, out: Path) -> BagNet:
    """Train from random weights on all but a fixed 5 % of the images, on which each epoch is scored.

    Args:
        architecture: of the network.
        images: training images, all of one size.
        preprocessing: what the trained network will be used with; its crop is the input size of the final epochs.
        recipe: how.
        out: folder for checkpoints and logs. A run that was cut short goes on from `last.ckpt` there.

    Raises:
        ValueError: `out` holds a run of another recipe or architecture.
    """
    out.mkdir(parents=True, exist_ok=True)
    record = {"recipe": recipe.to_dict(), "architecture": architecture.to_dict(), "images": len(images)}
    _claim(out / "run.json", record)
    seed_everything(recipe.seed, verbose=False)
    model = BagNet(architecture)
    training, select = images.hold_out()
    steps = recipe.epochs * (len(training) // recipe.batch_size)
    module = Training(model.to(memory_format=torch.channels_last), recipe, steps)
    trainer = Trainer(
        max_epochs=recipe.epochs,
        precision=recipe.precision,  # type: ignore[arg-type]
        callbacks=[ModelCheckpoint(out, "last", save_top_k=1, enable_version_counter=False)],
        logger=CSVLogger(out, name="", version="log"),
        reload_dataloaders_every_n_epochs=1,
        gradient_clip_val=1.0,
        log_every_n_steps=50,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    last = out / "last.ckpt"
    batches = Batches(training, select, preprocessing, recipe)
    trainer.fit(module, datamodule=batches, ckpt_path=last if last.exists() else None)
    return model


def train(
    folder: Path,
    out: Path,
    name: str,
    architecture: Architecture,
    preprocessing: Preprocessing,
    recipe: Recipe,
    *,
    command: str = "",
    licence: str = "unknown",
    trained_on: str = "",
    notes: str = "",
) -> Card:
    """Train on the folder's `train` split, measure once on its `val` split, and write `<out>/<name>.safetensors`.

    Convolutions are stored in float16. The accuracy on the card is that of the file read back.

    Args:
        folder: Parquet files, see `read_parquet`.
        out: folder for checkpoints, logs and the result; a run that was cut short goes on from there.
        name: tag of the card; the architecture's name goes before it.
        architecture: of the network; its number of classes is taken from the data.
        preprocessing: what the network will be used with.
        recipe: how to train.
        command: for the card: what a person types to repeat the run.
        licence: for the card.
        trained_on: for the card.
        notes: for the card.

    Raises:
        FileNotFoundError, ValueError: as `read_parquet` and `fit`.
    """
    images = read_parquet(folder, "train")
    if preprocessing.resize != _side(images):
        raise ValueError(f"the images of {folder} are {_side(images)} pixels on the shorter side, not {preprocessing.resize}")
    architecture = replace(architecture, num_classes=len(images.classes))
    model = fit(architecture, images, preprocessing, recipe, out).eval()
    model.card = Card(
        name=f"{architecture.name}.{name}",
        architecture=architecture,
        classes=images.classes,
        preprocessing=preprocessing,
        licence=licence,
        trained_on=trained_on,
        command=command,
        notes=notes,
        more={"recipe": recipe.to_dict()},
    )
    path = out / f"{model.card.name}.safetensors"
    state, card = converted(model, half_convolutions=True)
    write(path, state, card)
    validation = read_parquet(folder, "val")
    top1, top5 = score(load(path), validation)
    measured = "measured here on these weights as stored, once, after training"
    card = replace(card, scores=(Score(f"{folder.name} val", round(top1, 2), round(top5, 2), measured, len(validation)),))
    write(path, state, card)
    return card


@torch.inference_mode()
def score(model: BagNet, images: LabelledImages) -> tuple[float, float]:
    """(top-1, top-5) accuracy in percent on images of the size that the model's preprocessing resizes to."""
    right = torch.zeros(2)
    for pixels, labels in CentreCrops(images, model.transform):
        best = model(pixels).topk(min(5, model.architecture.num_classes)).indices == labels[:, None]
        right += torch.stack([best[:, 0].sum(), best.sum()])
    top1, top5 = (100 * right / len(images)).tolist()
    return top1, top5


def _claim(path: Path, record: dict[str, Any]) -> None:
    """Write what the folder's run is, or see that it is the same run."""
    if not path.exists():
        path.write_text(json.dumps(record, indent=1))
        return
    there = json.loads(path.read_text())
    differing = [key for key in record if there.get(key) != record[key]]
    if differing:
        raise ValueError(f"{path.parent} holds a run with another {' and '.join(differing)}: choose another folder")
