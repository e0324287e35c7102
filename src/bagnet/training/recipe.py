"""What a training run does, as one record that is kept with its result: named recipes, and every field open to change."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from math import gcd, log2
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args, get_type_hints


def _field(default: Any, text: str) -> Any:
    """A field with its explanation, which `bagnet train --help` prints too."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train. Each field says what it is (`bagnet train --help` lists them); the defaults are "modern".

    Raises:
        ValueError: a field is out of range, or two do not fit together.
    """

    epochs: int = _field(0, "Passes over the training images; 0 for what suits their number: 30 to 100, in fine-tuning 10 to 30.")
    batch_size: int = _field(
        0, "Images per optimiser step, over all processes and accumulated parts together; 0 for what suits: 8 to 128."
    )
    select: float = _field(0.0, "Share of images held out, to measure each epoch on; 0 for what suits: 0.05 to 0.2.")
    accumulate: int = _field(
        0,
        "Parts that a step's images are split into, one after the other, as memory is short; 0 for what suits: no part has more "
        "pixels than 64 windows of 128 px, or 20 crops of 224.",
    )
    optimiser: Literal["adamw", "sgd", "lamb"] = _field("adamw", "Optimiser.")
    learning_rate: float = _field(3e-3, "Highest learning rate.")
    momentum: float = _field(0.9, "Of SGD.")
    weight_decay: float = _field(0.05, "Decoupled for AdamW and LAMB, L2 for SGD.")
    decay_all: bool = _field(False, "Decay normalisation and biases too, as torchvision's ImageNet script does.")
    schedule: Literal["cosine", "steps", "late"] = _field(
        "cosine", "How the learning rate falls: to 0, by 10 every few epochs, or constant and to 0 in the last epochs only."
    )
    step_epochs: int = _field(30, "For steps: epochs between them.")
    fall_epochs: int = _field(
        3, "For late: epochs in which it falls. Such a run can be lengthened: the same command with more epochs."
    )
    warm_up: float = _field(0.1, "Share of all steps in which the learning rate rises linearly.")
    clip: float = _field(1.0, "Largest norm of the gradient; 0 for no limit.")
    train_crop: int = _field(0, "Side of training crops in pixels; 0 for the input size.")
    final_epochs: int = _field(0, "Epochs at the end with crops of the input size, where train_crop is smaller.")
    scale: float = _field(0.0, "Smallest area of a random resized crop, as a share of the image; 0 crops without resizing.")
    windows: int = _field(
        0,
        "Of a windowed network that sees whole images: windows of each image in a step, at random places; 0 for what suits: 8. "
        "Their scale is of a window's area.",
    )
    tiles: int = _field(
        0,
        "Of slides: tiles of each in a step, from all over it; the mean over their windows is the answer for the slide. Slides "
        "held out are judged by four times as many. Their side is train_crop, the input size or a window. 0: no slides.",
    )
    level: int = _field(0, "Of slides: the level that is seen, 0 the largest.")
    microns: float = _field(0.0, "Of slides: microns per pixel, of which the nearest level is seen; 0 for the level as said.")
    skip_white: bool = _field(True, "Of slides: other tiles instead of those that are white all over.")
    mirror: float = _field(0.5, "Share of images mirrored.")
    augment: Literal["none", "trivial", "rand"] = _field("trivial", "Colours and shapes changed: TrivialAugment or RandAugment.")
    mixup: float = _field(0.0, "Alpha of mixup; 0 for none.")
    cutmix: float = _field(0.0, "Alpha of cutmix; 0 for none. With mixup, each has half of the images.")
    label_smoothing: float = _field(0.1, "Share of the target spread over all classes.")
    ema: float = _field(0.999, "Decay of the moving average of the weights, which is the result; 0 for none.")
    batchnorm_momentum: float = _field(0.1, "Of all running statistics.")
    head: Literal["softmax", "sigmoid"] = _field(
        "softmax", "One of all classes, or each a yes or no by itself (always so with several labels)."
    )
    balance: Literal["none", "loss", "sampler"] = _field("none", "Rare classes count, or are drawn, as often as common ones.")
    sparsity: float = _field(0.0, "Weight of the sum of absolute evidence over windows and classes (Djoumessi et al. 2023).")
    masked: float = _field(
        0.0,
        "Share of an image that a patch covers: windows that two of them touch are left out of each mean, so that answers "
        "without them agree and have certificates.",
    )
    masked_at: Literal["random", "hardest"] = _field(
        "random",
        "Of masked: at random places, or where the label leads by least without those windows (Saha et al. 2023).",
    )
    margin: float = _field(
        0.0,
        "Weight of the margin loss (Metzen & Yatsura 2021): by how much the lead of the windows' mean probabilities that a patch "
        "cannot take away falls short of margin_goal.",
    )
    margin_patch: float = _field(0.02, "Of the margin loss: share of an image that the patch covers.")
    margin_goal: float = _field(0.1, "Of the margin loss: a lead of mean probabilities that is enough.")
    freeze: bool = _field(False, "Fine-tuning: train the head alone.")
    blocks: int = _field(0, "Fine-tuning: train the head and so many of the last blocks; 0 for all.")
    freeze_norm: bool = _field(False, "Batch normalisation keeps the statistics that it has.")
    backbone_rate: float = _field(1.0, "Fine-tuning: learning rate of all but the head, as a share of the head's.")
    distil: float = _field(0.0, "Share of the loss that asks for the teacher's answers.")
    distil_on: Literal["probabilities", "logits"] = _field(
        "probabilities", "What of the teacher's is compared: soft labels (Hinton et al. 2015) or logits (Ba & Caruana 2014)."
    )
    temperature: float = _field(1.0, "Of both probabilities, where these are compared.")
    consistent: bool = _field(
        False,
        "The teacher is asked about each view that is learnt, its crop and what is mixed into it, anew in each step (Beyer et "
        "al. 2022), and not once about each whole image.",
    )
    patience: int = _field(0, "Stop after so many epochs without a lower selection loss, and keep the best; 0 never stops.")
    unreadable: float = _field(0.01, "Largest share of images, and of the tiles of slides in an epoch, that may be unreadable.")
    precision: Literal["float32", "bf16", "float64"] = _field("float32", "Of the arithmetic; with bf16 the weights are float32.")
    seed: int = _field(0, "Of the first weights, the order of images and everything random done to them.")

    def __post_init__(self) -> None:
        hints = get_type_hints(Recipe)
        for field_ in fields(self):
            value, kind = getattr(self, field_.name), hints[field_.name]
            if choices := get_args(kind):
                if value not in choices:
                    raise ValueError(f"{field_.name} must be one of {', '.join(choices)}, got {value!r}")
                continue
            if kind is float and isinstance(value, int) and not isinstance(value, bool):
                object.__setattr__(self, field_.name, float(value))
            elif type(value) is not kind:
                raise ValueError(f"{field_.name} must be {_WORDS[kind]}, got {value!r}")
            if (
                kind is not bool
                and not _RANGES.get(field_.name, (0, float("inf")))[0] <= value <= _RANGES.get(field_.name, (0, float("inf")))[1]
            ):
                raise ValueError(f"{field_.name} must be {_in_words(field_.name)}, got {value}")
        if self.level and self.microns:
            raise ValueError("level and microns are two answers to one question: give one of them")
        if self.tiles and self.windows:
            raise ValueError("tiles are of slides and windows of whole images: give one of them")
        if not self.tiles and (self.level or self.microns):
            raise ValueError("level and microns are of slides: say how many tiles of each are seen in a step (tiles)")
        if self.consistent and not self.distil:
            raise ValueError("consistent says how a teacher is asked, and nothing is distilled (distil=0): say how much")
        if self.masked_at != "random" and not self.masked:
            raise ValueError(f"masked_at={self.masked_at} says where windows are left out, and masked=0 leaves out none")
        if 0 < self.epochs < self.final_epochs:
            raise ValueError(f"final_epochs={self.final_epochs} are more than epochs={self.epochs}")
        if self.schedule == "late" and 0 < self.epochs < self.fall_epochs:
            raise ValueError(f"fall_epochs={self.fall_epochs} are more than epochs={self.epochs}")
        if self.batch_size % self.parts:
            raise ValueError(f"batch_size={self.batch_size} cannot be split into accumulate={self.accumulate} equal parts")

    @property
    def parts(self) -> int:
        """That a step's images are split into."""
        return self.accumulate or 1

    def fitted(self, images: int, finetuned: bool = False, pixels: int = 0) -> Recipe:
        """The same with what was left open (epochs, batch size, share to select on) as it suits a number of images.

        A small set needs small batches, or an epoch has few steps; many epochs, or the run has; and a larger share to select on,
        or that is a few images. From 8,533 images on it is 30 epochs of batches of 128, with 5 % to select on. Weights that are
        good already need fewer steps: 10 to 30 epochs. Large inputs, of so many pixels each in a step, come in parts that fit
        into memory.
        """
        batch = self.batch_size or 2 ** min(7, max(3, int(log2(max(1, images / _BATCHES)))))
        if not self.batch_size:
            batch *= self.parts // gcd(batch, self.parts)
        steps, fewest, most = _FEW_STEPS if finetuned else _STEPS
        epochs = self.epochs or min(most, max(fewest, round(steps * batch / max(1, images))))
        return replace(
            self,
            epochs=max(epochs, self.final_epochs, self.fall_epochs if self.schedule == "late" else 0),
            batch_size=batch,
            accumulate=self.accumulate or _parts(batch, pixels),
            select=self.select or min(0.2, max(0.05, _SELECTED / max(1, images))),
        )

    @property
    def steady_epochs(self) -> int:
        """Epochs before a late fall of the learning rate, which a longer run has, too; 0 with other schedules."""
        return self.epochs - max(self.fall_epochs, self.final_epochs) if self.schedule == "late" else 0

    def lengthens(self, shorter: Recipe) -> bool:
        """Whether a run by this recipe can go on from the steady epochs of another's."""
        same = {name: getattr(shorter, name) for name in LENGTHS}
        return self.changed(**same) == shorter and 0 < shorter.steady_epochs <= self.steady_epochs

    def changed(self, **values: Any) -> Recipe:
        """The same with other values.

        Raises:
            ValueError: there is no such field, or a value does not fit.
        """
        names = [field_.name for field_ in fields(self)]
        for name in values:
            if name not in names:
                raise ValueError(f"a recipe has no field {name!r}: there are {', '.join(names)}")
        return replace(self, **values)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them; `Recipe(**fields)` reads them back."""
        return {field_.name: getattr(self, field_.name) for field_ in fields(self)}

    def to_toml(self) -> str:
        """As a file that `recipe` reads."""
        return "".join(f"{name} = {json.dumps(value)}\n" for name, value in self.to_dict().items())


LENGTHS = ("epochs", "fall_epochs", "final_epochs")  # fields that say how long a run is
_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_BATCHES, _SELECTED = 16, 100  # of an epoch, images: at least, as far as the limits allow
_STEPS, _FEW_STEPS = (2000, 30, 100), (500, 10, 30)  # of a run at least, within the fewest and the most epochs
_PART = 64 * 128**2  # pixels of a part of a step: with gradients a few GB
_RANGES: dict[str, tuple[float, float]] = {
    "select": (0, 0.9),
    **dict.fromkeys(("step_epochs", "fall_epochs"), (1, float("inf"))),
    **dict.fromkeys(("momentum", "ema", "label_smoothing"), (0, 0.999999)),
    **dict.fromkeys(
        (
            "warm_up",
            "scale",
            "mirror",
            "masked",
            "margin_patch",
            "margin_goal",
            "distil",
            "unreadable",
            "batchnorm_momentum",
            "backbone_rate",
        ),
        (0, 1),
    ),
    **dict.fromkeys(("learning_rate", "temperature"), (1e-12, 1e12)),
    "seed": (0, 2**63 - 1),
}


def _parts(batch: int, pixels: int) -> int:
    """How many equal parts a batch of images of so many pixels is split into."""
    return next(
        parts for parts in range(1, batch + 1) if batch % parts == 0 and (batch * pixels <= parts * _PART or parts == batch)
    )


def _in_words(name: str) -> str:
    low, high = _RANGES.get(name, (0, float("inf")))
    return f"at least {low:g}" if high == float("inf") else f"between {low:g} and {high:g}"


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        # Torchvision's ImageNet script with the paper's learning rate; what of it is known for sure: docs/training.md.
        "paper": Recipe(
            epochs=90,
            batch_size=256,
            select=0.05,
            optimiser="sgd",
            learning_rate=0.01,
            weight_decay=1e-4,
            decay_all=True,
            schedule="steps",
            warm_up=0.0,
            clip=0.0,
            scale=0.08,
            augment="none",
            label_smoothing=0.0,
            ema=0.0,
        ),
        "modern": Recipe(),
        # PatchCURE's for BagNets (Xiang et al. 2024), but for its loss, binary cross-entropy, which here makes each class a
        # question of its own, and with masks from the first epoch on; theirs come in epochs of their own at the end.
        "patchcure": Recipe(
            epochs=300,
            batch_size=512,
            optimiser="lamb",
            learning_rate=1.5e-3,
            weight_decay=0.02,
            warm_up=5 / 300,
            scale=0.08,
            augment="rand",
            mixup=0.1,
            cutmix=1.0,
            label_smoothing=0.0,
            ema=0.0,
            masked=0.02,
        ),
    }
)


def recipe(name: str | PathLike[str] = "modern", **values: Any) -> Recipe:
    """A recipe by name or from a TOML file of its fields, with some values changed.

    A file may name the recipe that it changes: `recipe = "paper"`; else it changes "modern".

    Raises:
        ValueError: there is no such recipe or field, the file is no TOML, or a value does not fit.
        OSError: the file cannot be read.
    """
    if str(name) in RECIPES:
        return RECIPES[str(name)].changed(**values)
    path = Path(name)
    if path.suffix != ".toml":
        raise ValueError(f"there is no recipe {str(name)!r}: there are {', '.join(RECIPES)}, or give a .toml file")
    try:
        values_of_file = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: is no TOML ({error})") from None
    base = values_of_file.pop("recipe", "modern")
    if not isinstance(base, str) or base not in RECIPES:
        raise ValueError(f"{path}: there is no recipe {base!r}: there are {', '.join(RECIPES)}")
    try:
        return RECIPES[base].changed(**{**values_of_file, **values})  # together: two fields may fit only as they are in the end
    except ValueError as error:
        raise ValueError(f"{path}{' and what is changed of it' if values else ''}: {error}") from None


def finetuning(name: str | PathLike[str] = "modern", **values: Any) -> Recipe:
    """The same for weights that are good already: a named recipe with a tenth of its learning rate, unless that is given.

    Raises:
        As `recipe`.
    """
    if str(name) in RECIPES:
        values = {"learning_rate": RECIPES[str(name)].learning_rate / 10, **values}
    return recipe(name, **values)
