"""Every way of training learns what it should, ends as it should, and says why where it cannot."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bagnet.architecture import ExternalArchitecture
from bagnet.card import Card
from bagnet.data.arrays import ArrayImages
from bagnet.data.decode import BadImage
from bagnet.data.labels import LabelledImages
from bagnet.data.names import ClassNames
from bagnet.data.transforms import Preprocessing
from bagnet.geometry import Geometry
from bagnet.model import BagNet
from bagnet.training import fitting
from bagnet.training.checkpoints import read_log
from bagnet.training.fitting import Fitted, fit, memory_format, pixels_in_step
from bagnet.training.module import Diverged
from bagnet.training.recipe import Recipe, recipe
from bagnet.training.teacher import ConsistentTeachers
from bagnet.zoo.external import ExternalNetwork

from .conftest import PREPROCESSING, SMALL, fitted, fresh, labelled, textures


@torch.inference_mode()
def logits(network: nn.Module, images: np.ndarray[Any, Any], preprocessing: Preprocessing = PREPROCESSING) -> Tensor:
    assert not network.training
    answers: Tensor = network(torch.stack([preprocessing.of_pixels(image) for image in images]))
    return answers


def accuracy(result: Fitted) -> float:
    """On sixty other textures."""
    images, labels = textures(60, 1)
    return float((logits(result.network, images).argmax(1).numpy() == labels).mean())


@pytest.fixture(scope="module")
def images() -> LabelledImages:
    return labelled(*textures(240, 0))


@pytest.mark.parametrize(
    "chosen",
    [
        recipe("paper", epochs=4, batch_size=12, step_epochs=3, learning_rate=0.05, scale=0.5),
        recipe("modern", epochs=4, batch_size=24, learning_rate=0.02, augment="none", mixup=0.2, cutmix=1.0),
    ],
    ids=["paper", "mixed"],
)
def test_recipes(chosen: Recipe, images: LabelledImages, tmp_path: Path) -> None:
    assert accuracy(fitted(images, chosen, tmp_path)) > 0.95


def test_sparse_evidence(images: LabelledImages, tmp_path: Path, quick: Recipe) -> None:
    """With the L1 term the maps hold far less evidence for as many right answers."""
    plain = fitted(images, quick, tmp_path / "plain")
    sparse = fitted(images, quick.changed(sparsity=1e-2, epochs=6), tmp_path / "sparse")
    assert accuracy(sparse) > 0.95
    x = torch.stack([PREPROCESSING.of_pixels(image) for image in textures(30, 3)[0]])
    with torch.inference_mode():
        most, least = (float(result.network.evidence(x).abs().mean()) for result in (plain, sparse))  # type: ignore[operator]
    assert least < most / 2


def test_several_labels_an_image(tmp_path: Path, quick: Recipe) -> None:
    """Stripes above, a grid below, both or neither."""
    random = np.random.default_rng(0)
    images = random.integers(60, 120, (300, 20, 20, 3))
    labels = random.integers(0, 2, (300, 2))
    images[labels[:, 0] == 1, :9, ::2] += 100
    for image in np.flatnonzero(labels[:, 1]):
        images[image, 9::3, ::3] += 130
    images = images.astype(np.uint8)
    result = fitted(labelled(images[:240], labels[:240]), quick.changed(epochs=6), tmp_path)
    assert ((logits(result.network, images[240:]) > 0).numpy() == labels[240:]).mean() > 0.95


@pytest.mark.parametrize("channels", [1, 5])
def test_other_channels(channels: int, tmp_path: Path, quick: Recipe) -> None:
    images, labels = textures(300, 0)
    images = images[..., [channel % 3 for channel in range(channels)]]
    preprocessing = Preprocessing(None, 17, mean=(0.5,) * channels, std=(0.25,) * channels)
    result = fitted(labelled(images[:240], labels[:240]), quick, tmp_path, preprocessing)
    assert (logits(result.network, images[240:], preprocessing).argmax(1).numpy() == labels[240:]).mean() > 0.95


@pytest.mark.parametrize("balance", ["loss", "sampler"])
def test_rare_classes_count_as_much(balance: str, tmp_path: Path, quick: Recipe) -> None:
    """One image in 21 shows stripes; both classes are found."""
    images, labels = textures(720, 0)
    keep = np.flatnonzero((labels == 0) | ((labels == 1) & (np.arange(720) % 60 == 1)))
    result = fitted(labelled(images[keep], labels[keep]), quick.changed(balance=balance, epochs=4), tmp_path)
    images, labels = textures(60, 1)
    right = logits(result.network, images).argmax(1).numpy() == labels
    assert min(right[labels == label].mean() for label in (0, 1)) > 0.95


class Bright(nn.Module):
    """Tells the textures apart by their share of bright pixels: none, half, a ninth."""

    def forward(self, x: Tensor) -> Tensor:
        share = (x[:, 0] > 0.35).float().mean((1, 2))
        return -40 * (share[:, None] - torch.tensor([0, 1 / 2, 1 / 9])).abs()


@pytest.mark.parametrize("compared", ["probabilities", "logits"])
def test_a_teacher_alone_is_believed(compared: str, tmp_path: Path, quick: Recipe) -> None:
    """Whose labels are others than the images'; it says nothing of some, which are left undecided."""
    values, labels = textures(240, 0)
    images = labelled(values, (labels + 1) % 3)
    rows = torch.tensor([int(name.split(":")[1]) for name in images.hold_out()[0].images.names])
    answers = 5 * torch.eye(3)[torch.from_numpy(labels)[rows]].half()
    answers[::50] = torch.nan
    told = quick.changed(distil=1.0, distil_on=compared, temperature=2.0)
    assert accuracy(fitted(images, told, tmp_path, teacher=answers)) > 0.95


def test_a_consistent_teacher_sees_what_the_student_sees(tmp_path: Path, quick: Recipe) -> None:
    """Crops, mirrored and mixed; the images' labels are others than what it says."""
    values, labels = textures(240, 0)
    told = quick.changed(distil=1.0, consistent=True, cutmix=1.0, epochs=8)
    classes = ClassNames.numbered(3)
    teacher = ExternalNetwork(Bright(), Card("bright", ExternalArchitecture("tests:bright", 3), classes, PREPROCESSING))
    asked = ConsistentTeachers([teacher], classes, 3, torch.device("cpu"), "float32")
    assert accuracy(fitted(labelled(values, (labels + 1) % 3), told, tmp_path, teacher=asked)) > 0.95


def test_early_stopping_keeps_the_best(images: LabelledImages, tmp_path: Path, quick: Recipe) -> None:
    result = fitted(images, quick.changed(epochs=30, patience=2), tmp_path)
    losses = [float(row["select_loss"]) for row in read_log(tmp_path / "log.csv") if row["select_loss"]]
    assert len(losses) < 30
    assert losses.index(min(losses)) == len(losses) - 3
    best = torch.load(tmp_path / "best.ckpt", weights_only=True)
    assert all(torch.equal(value, best[name]) for name, value in result.network.state_dict().items())


def at_step(network: nn.Module, step: int, act: Callable[[Tensor], Tensor]) -> None:
    """Have something done to the logits of one step of training; selection does not count."""
    steps = 0

    def hook(module: nn.Module, _: object, answers: Tensor) -> Tensor:
        nonlocal steps
        steps += module.training
        return act(answers) if module.training and steps == step else answers

    network.register_forward_hook(hook)


def test_a_loss_that_is_not_finite(few: LabelledImages, tmp_path: Path, short: Recipe) -> None:
    """Stops with the step; the checkpoint before it is there, and a run with what went wrong mended goes on from it."""
    network = fresh(few)
    at_step(network, 2, lambda answers: answers * torch.nan)
    with pytest.raises(Diverged, match=r"the loss is nan at step 1: try a lower .*; it had no checkpoint yet$"):
        fitted(few, short, tmp_path, network=network)
    network = fresh(few)
    at_step(network, 8, lambda answers: answers * torch.nan)
    with pytest.raises(Diverged, match=r"the loss is nan at step 7: try a lower .*; the last good checkpoint is .*last\.ckpt$"):
        fitted(few, short, tmp_path, network=network)
    assert torch.load(tmp_path / "last.ckpt", weights_only=False)["global_step"] == 6
    fitted(few, short, tmp_path)
    assert [int(row["step"]) for row in read_log(tmp_path / "log.csv") if row["loss"]] == list(range(1, 13))


def test_weights_that_are_not_finite_are_not_kept(
    few: LabelledImages, tmp_path: Path, short: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step to infinity at the end of the second epoch, after its loss: the checkpoint of the first stays."""
    real = torch.optim.AdamW.step
    steps = 0

    def leaping(self: torch.optim.AdamW, **keywords: Any) -> object:
        nonlocal steps
        steps += 1
        result = real(self, **keywords)
        if steps == 12:
            with torch.no_grad():
                self.param_groups[0]["params"][0].fill_(float("inf"))
        return result

    monkeypatch.setattr(torch.optim.AdamW, "step", leaping)
    with pytest.raises(Diverged, match=r"after step 12: try a lower learning_rate than 0\.02.*the last good checkpoint"):
        fitted(few, short.changed(ema=0.0), tmp_path)
    kept = torch.load(tmp_path / "last.ckpt", weights_only=False)
    assert kept["global_step"] == 6
    assert all(tensor.isfinite().all() for tensor in kept["state_dict"].values())


def test_an_interruption_is_one(few: LabelledImages, tmp_path: Path, short: Recipe) -> None:
    """Ctrl-C, of which Lightning makes an exit with no word."""

    def pressed(_: Tensor) -> Tensor:
        raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    network = fresh(few)
    at_step(network, 3, pressed)
    with pytest.raises(KeyboardInterrupt):
        fitted(few, short, tmp_path, network=network)
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_full_disk_leaves_the_old_checkpoint(
    few: LabelledImages, tmp_path: Path, short: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third checkpoint finds no room: the second is there, whole, and the run goes on from it."""
    monkeypatch.setattr(fitting, "CHECKPOINT_STEPS", 4)
    saved = 0

    def full(_: int) -> None:
        nonlocal saved
        saved += 1
        if saved == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"last\.ckpt: cannot be written \(No space left on device\); the one before is intact"):
        fitted(few, short, tmp_path / "full")
    assert torch.load(tmp_path / "full" / "last.ckpt", weights_only=False)["global_step"] == 6
    after, whole = (fitted(few, short, tmp_path / name).network.state_dict() for name in ("full", "whole"))
    assert all(torch.equal(value, whole[name]) for name, value in after.items())


def test_a_broken_checkpoint_is_named(few: LabelledImages, tmp_path: Path, short: Recipe) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"last\.ckpt: is no checkpoint of a run; take it away"):
        fitted(few, short, tmp_path)


class Broken(ArrayImages):
    """Every third image of these cannot be read."""

    def pixels(self, row: int, channels: int, grey: Any = None) -> np.ndarray[Any, np.dtype[np.uint8]]:
        if row % 3 == 0:
            raise BadImage(f"{self.name}:{row}: is broken")
        return super().pixels(row, channels, grey)


def test_unreadable_images_are_listed(tmp_path: Path, short: Recipe) -> None:
    values, labels = textures(40, 0)
    images = replace(labelled(values, labels), images=Broken(values, "textures"))
    training, select = images.hold_out()
    lenient = short.changed(epochs=1, unreadable=0.5)
    result = fit(fresh(images), training, select, PREPROCESSING, lenient, tmp_path)
    for part, reasons in ((training, result.unreadable), (select, result.unreadable_select)):
        assert set(reasons.values()) == {f"{name}: is broken" for name in part.images.names if int(name.split(":")[1]) % 3 == 0}
        assert all(reason.startswith(f"{part.images.names[row]}:") for row, reason in reasons.items())
    with pytest.raises(BadImage, match=r"of 37 images cannot be read, more than 10%"):
        fitted(images, lenient.changed(unreadable=0.1), tmp_path / "strict")
    nothing = images.take(range(0, 40, 3))
    with pytest.raises(BadImage, match=r"^none of 14 images to select on can be read: textures:0: is broken$"):
        fit(fresh(images), training, nothing, PREPROCESSING, lenient, tmp_path / "blind")


def test_an_image_without_a_square_needs_a_crop(few: LabelledImages, tmp_path: Path, short: Recipe) -> None:
    with pytest.raises(ValueError, match="the preprocessing cuts no square out of images: give the recipe a train_crop"):
        fitted(few, short, tmp_path, replace(PREPROCESSING, crop=None))


def test_narrow_networks_are_trained_channels_first() -> None:
    """There oneDNN's backward pass of maps with channels last writes outside its memory and ends the process."""
    assert memory_format(BagNet(SMALL)) == torch.contiguous_format
    assert memory_format(BagNet(replace(SMALL, width=16))) == torch.channels_last


@pytest.mark.parametrize(
    ("crop", "train_crop", "geometry", "pixels"),
    [
        (61, 49, Geometry(33, 4), 61**2),
        (None, 49, Geometry(33, 4), 49**2),
        (None, 0, Geometry(128, 64), 3 * 128**2),
        (None, 0, None, 0),
    ],
)
def test_pixels_of_an_image_in_a_step(crop: int | None, train_crop: int, geometry: Geometry | None, pixels: int) -> None:
    assert pixels_in_step(Recipe(train_crop=train_crop, windows=3), Preprocessing(64, crop), geometry) == pixels
