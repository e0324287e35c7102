"""What a training run does, as one record that is kept with its result."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Recipe:
    """AdamW with one cycle of the learning rate, random crops and mirror images.

    Args:
        epochs: passes over the training images.
        batch_size: images per step.
        learning_rate: peak of the cycle.
        weight_decay: decoupled, on weights of two and more dimensions.
        warm_up: share of the steps in which the learning rate rises.
        label_smoothing: share of the target spread over all classes.
        crop: side of the random crops in pixels, at the image's own scale: a BagNet sees no more than its windows anyway,
            so smaller crops train the same weights for less arithmetic.
        final_epochs: how many of the epochs, at the end, use crops of the input size instead.
        batchnorm_momentum: of all running statistics. The published 0.001 of the stem suits long runs only.
        precision: Lightning's name: "32-true" or "bf16-mixed".
        seed: of the initial weights, the order of images and the augmentation.
    """

    epochs: int = 18
    batch_size: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    warm_up: float = 0.2
    label_smoothing: float = 0.0
    crop: int = 41
    final_epochs: int = 1
    batchnorm_momentum: float = 0.1
    precision: str = "32-true"
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.final_epochs <= self.epochs or self.epochs < 1:
            raise ValueError(f"epochs={self.epochs} and final_epochs={self.final_epochs} do not fit together")

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON can hold them; `Recipe(**fields)` reads them back."""
        return asdict(self)
