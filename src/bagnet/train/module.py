"""The Lightning module: one step of training, one step of validation, the optimiser."""

from __future__ import annotations

from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.functional import accuracy

from ..model import BagNet
from .recipe import Recipe


class Training(LightningModule):
    """Cross-entropy on the mean of the windows' logits, as the paper trains.

    Args:
        model: the network, changed in place.
        recipe: how.
        steps: optimiser steps of the whole run, for the learning-rate cycle.
    """

    def __init__(self, model: BagNet, recipe: Recipe, steps: int) -> None:
        super().__init__()
        self.model, self.recipe, self.steps = model, recipe, steps
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = recipe.batchnorm_momentum

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        images, labels = batch
        loss = F.cross_entropy(self.model(images), labels, label_smoothing=self.recipe.label_smoothing)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        images, labels = batch
        logits = self.model(images)
        size, classes = len(labels), logits.shape[1]
        for k in (1, 5):
            top = accuracy(logits, labels, task="multiclass", num_classes=classes, average="micro", top_k=min(k, classes))
            self.log(f"select/top{k}", top, prog_bar=k == 1, batch_size=size)
        self.log("select/loss", F.cross_entropy(logits, labels), batch_size=size)

    def configure_optimizers(self) -> Any:
        decayed = [p for p in self.model.parameters() if p.ndim > 1]
        others = [p for p in self.model.parameters() if p.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": self.recipe.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        optimiser = torch.optim.AdamW(groups, lr=self.recipe.learning_rate)
        cycle = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, self.recipe.learning_rate, total_steps=self.steps, pct_start=self.recipe.warm_up
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}
