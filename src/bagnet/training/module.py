"""The Lightning module: one step of training, one step of selection, the optimiser and its learning rates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.lr_scheduler import LambdaLR

from ..bag import BagOfFeatures
from ..data.decode import BadImage
from ..data.order import Order
from ..data.samples import BadTile, Batch
from ..evaluation.measures import Answers, Measure
from .average import MovingAverage
from .blocks import blocks_of
from .losses import classification, distillation, logit_distance, margin_shortfall, sparsity
from .masking import hardest_windows, mean_of, random_windows, touched_cells
from .recipe import Recipe


class Diverged(RuntimeError):
    """The loss is not finite any more. The message has the step, and where the last good checkpoint is."""


def check_unreadable(reasons: Mapping[Any, str], count: int, recipe: Recipe, what: str = "images") -> None:
    """Raise BadImage where more of so many images or tiles are unreadable (row or place -> reason) than the recipe allows."""
    if len(reasons) > recipe.unreadable * count:
        raise BadImage(
            f"{len(reasons)} of {count} {what} cannot be read, more than {recipe.unreadable:.0%} (unreadable in the recipe); "
            f"the first: {next(iter(reasons.values()))}"
        )


class Training(LightningModule):
    """A classifier in training: a BagNet, whose logits are the mean of its windows', or another network.

    Args:
        model: (B, C, H, W) -> (B, K) logits; changed in place.
        recipe: how.
        order: of the training batches, which a resumed run goes on in.
        images: how many there are to train on.
        multilabel: each class is a question of its own (sigmoid and binary cross-entropy), not one of K (softmax).
        class_weights: (K,) how much each class counts; all alike where None.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        order: Order,
        images: int,
        *,
        multilabel: bool = False,
        class_weights: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.model, self.recipe, self.order, self.multilabel = model, recipe, order, multilabel
        self.images = images
        self.steps = recipe.epochs * order.steps
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.averaged = MovingAverage(model, recipe.ema) if recipe.ema else None
        self.unreadable: dict[int, str] = {}
        self.bad_tiles: dict[BadTile, int] = {}  # the epoch in which it was last met
        self.selected: list[Answers] = []
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.momentum = recipe.batchnorm_momentum

    @property
    def result(self) -> nn.Module:
        """What the run is for: the moving average of the weights, where the recipe has one."""
        return self.model if self.averaged is None else self.averaged.module

    def train(self, mode: bool = True) -> Training:
        """Training mode, in which what is frozen keeps its statistics."""
        super().train(mode)
        for module in self.model.modules():
            if self.recipe.freeze or (self.recipe.freeze_norm and isinstance(module, _BatchNorm)):
                module.training = False
        for block in self.frozen:
            block.eval()
        return self

    @property
    def frozen(self) -> list[nn.Module]:
        """Blocks that keep their weights, where the recipe trains the last ones alone."""
        return blocks_of(self.model)[: -self.recipe.blocks] if self.recipe.blocks else []

    def on_train_epoch_start(self) -> None:
        self.train()  # Lightning restores the mode of each module by itself

    def on_train_batch_start(self, batch: Batch, number: int) -> None:
        self._number = number

    def on_before_zero_grad(self, optimizer: torch.optim.Optimizer) -> None:
        """After each optimiser step."""
        if self.averaged is not None and self.global_step > self.averaged.updates:
            self.averaged.update(self.model)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        done = self._number + 1
        checkpoint["position"] = (self.current_epoch + 1, 0) if done == len(self.order) else (self.current_epoch, done)
        checkpoint["unreadable"] = dict(self.unreadable)
        checkpoint["bad_tiles"] = [(*tile, epoch) for tile, epoch in self.bad_tiles.items()]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.order.go_on(*checkpoint["position"])
        self.unreadable.update(checkpoint["unreadable"])
        kept = checkpoint.get("bad_tiles", ())  # of an older version there are none
        self.bad_tiles.update((BadTile(*tile), epoch) for *tile, epoch in kept)

    def on_train_epoch_end(self) -> None:
        """Each process has read a part of the images; all of them decide alike."""
        if torch.distributed.is_initialized():
            every: list[Any] = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(every, (self.unreadable, self.bad_tiles))
            for reasons, tiles in every:
                self.unreadable.update(reasons)
                self.bad_tiles.update(tiles)
            self._check_unreadable()

    def check_weights(self) -> None:
        """Raises Diverged where a weight or a statistic is no finite number."""
        for name, tensor in self.model.state_dict().items():
            if tensor.is_floating_point() and not tensor.isfinite().all():
                raise self._diverged(f"{name} is not finite any more after step {self.global_step}")

    def _diverged(self, what: str) -> Diverged:
        rate = f"a lower learning_rate than {self.recipe.learning_rate:g}"
        return Diverged(f"{what}: try {rate}, or clip, in another folder")

    def training_step(self, batch: Batch, number: int) -> Tensor:
        recipe = self.recipe
        if batch.unreadable or batch.bad_tiles:
            self.unreadable.update(batch.unreadable)
            self.bad_tiles.update(dict.fromkeys(batch.bad_tiles, self.current_epoch))
            self._check_unreadable()
        logits, evidence = self._answers(batch.images, batch.targets)
        loss = classification(logits, batch.targets, self.multilabel, recipe.label_smoothing, self.class_weights)
        if recipe.distil:
            if recipe.distil_on == "logits":
                taught = logit_distance(logits, batch.teacher)
            else:
                taught = distillation(logits, batch.teacher, self.multilabel, recipe.temperature)
            loss = torch.lerp(loss, taught, recipe.distil)
        if evidence is not None and recipe.sparsity:
            absolute = sparsity(evidence)
            self.log("train/evidence", absolute)
            loss = loss + recipe.sparsity * absolute
        if evidence is not None and recipe.margin and isinstance(self.model, BagOfFeatures):
            shape = batch.images.shape
            touched = touched_cells(self.model.geometry, (shape[-2], shape[-1]), recipe.margin_patch)
            shortfall = margin_shortfall(evidence, batch.targets, touched, recipe.margin_goal)
            self.log("train/margin_shortfall", shortfall)
            loss = loss + recipe.margin * shortfall
        if not torch.isfinite(loss):
            raise self._diverged(f"the loss is {float(loss.detach())} at step {self.global_step}")
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def _check_unreadable(self) -> None:
        """BadImage: too many images cannot be read, or too many of the tiles that an epoch asks for."""
        check_unreadable(self.unreadable, self.images, self.recipe)
        bad = {tile: tile.reason for tile, epoch in self.bad_tiles.items() if epoch == self.current_epoch}
        slides = self.images * (2 if self.recipe.mixup else 1)
        check_unreadable(bad, slides * self.recipe.tiles, self.recipe, "tiles of an epoch")

    def _answers(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits of images or of some windows or tiles of each, and the evidence, where the recipe asks something of it."""
        if self.recipe.masked and isinstance(self.model, BagOfFeatures):
            return self._unmasked(self.model, images, targets)
        if images.ndim == 5:
            assert isinstance(self.model, BagOfFeatures)
            features = self.model.features_of(images)
            return self.model.forward_head(features), self.model.head(features) if self._asks_evidence else None
        if self._asks_evidence and isinstance(self.model, BagOfFeatures):
            return self.model.logits_and_evidence(images)
        return self.model(images), None

    @property
    def _asks_evidence(self) -> bool:
        return bool(self.recipe.sparsity or self.recipe.margin)

    def _unmasked(self, model: BagOfFeatures, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        """What is said without the windows that patches touch."""
        recipe, size = self.recipe, (images.shape[-2], images.shape[-1])
        features = model.features(images)
        evidence = model.head(features) if self._asks_evidence else None
        if recipe.masked_at == "hardest":
            with torch.no_grad():
                said = model.head(features) if evidence is None else evidence
                kept = hardest_windows(said, targets.argmax(1), model.geometry, size, recipe.masked)
        else:
            kept = random_windows(len(images), model.geometry, size, recipe.masked, (recipe.seed, self.global_step))
        return model.head(mean_of(features, kept.to(images.device))), evidence

    def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
        images, targets = batch
        logits = self.result(images).float()
        measures = {"loss": classification(logits, targets, self.multilabel)}
        if not torch.isfinite(measures["loss"]):
            raise self._diverged(
                f"the loss on images to select on is {float(measures['loss'].detach())} after step {self.global_step}"
            )
        if self.multilabel:
            measures["right"] = ((logits > 0) == (targets > 0.5)).float().mean()
        else:
            self.selected.append(Answers.of(logits.detach().cpu().numpy(), targets.argmax(1).cpu().numpy()))
        for name, value in measures.items():
            self.log(f"select/{name}", value, prog_bar=name == "right", batch_size=len(images), sync_dist=True)

    def on_validation_epoch_start(self) -> None:
        self.selected = []

    def on_validation_epoch_end(self) -> None:
        for place, measure in enumerate(self.selection_measures()):
            self.log(f"select/{measure.key}", measure.estimate.value, prog_bar=place == 0, sync_dist=True)

    @property
    def selection_means(self) -> tuple[str, ...]:
        """What each batch of images to select on gives, of which the mean is told."""
        return ("loss", "right") if self.multilabel else ("loss",)

    def selection_measures(self) -> list[Measure]:
        """Of the images to select on, each of which every process has seen; none where they have several labels."""
        return Answers.joined(self.selected).measures() if self.selected else []

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """By PyTorch: Lightning's own refuses fused optimisers in mixed precision, though bf16 scales no gradient."""
        if gradient_clip_val:
            nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)

    def configure_optimizers(self) -> Any:
        recipe = self.recipe
        still = {id(parameter) for block in self.frozen for parameter in block.parameters()}
        head = {id(parameter) for parameter in self.model.fc.parameters()} if isinstance(self.model, BagOfFeatures) else set()
        groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for parameter in self.model.parameters():
            parameter.requires_grad_(id(parameter) in head or not (recipe.freeze or id(parameter) in still))
            if parameter.requires_grad:
                key = (id(parameter) in head, recipe.decay_all or parameter.ndim > 1)
                groups.setdefault(key, []).append(parameter)
        parameters = [
            {
                "params": members,
                "lr": recipe.learning_rate * (1.0 if in_head else recipe.backbone_rate),
                "weight_decay": recipe.weight_decay if decayed else 0.0,
            }
            for (in_head, decayed), members in groups.items()
        ]
        optimiser: torch.optim.Optimizer
        if recipe.optimiser == "adamw":
            optimiser = torch.optim.AdamW(parameters, fused=True)
        elif recipe.optimiser == "lamb":
            from timm.optim.lamb import Lamb

            optimiser = Lamb(parameters, lr=recipe.learning_rate)
        else:
            optimiser = torch.optim.SGD(parameters, lr=recipe.learning_rate, momentum=recipe.momentum)
        rates = LambdaLR(optimiser, lambda step: learning_rate(recipe, step, self.steps))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": rates, "interval": "step"}}


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """The learning rate of an optimiser step, as a share of the highest."""
    rising = recipe.warm_up * steps
    if step < rising:
        return (step + 1) / (rising + 1)
    if recipe.schedule == "late":
        return min(1.0, (steps - step) * recipe.epochs / (steps * recipe.fall_epochs))
    if recipe.schedule == "steps":
        return float(0.1 ** (step * recipe.epochs // steps // recipe.step_epochs))
    return 0.5 + 0.5 * math.cos(math.pi * min(1.0, (step - rising) / max(1.0, steps - rising)))
