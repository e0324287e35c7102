"""Every way of training learns what it should, and says so on the card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import bagnet
from bagnet.card import Outside
from bagnet.data.transforms import Preprocessing
from bagnet.model import BagNet
from bagnet.train.checkpoints import read_log
from bagnet.train.module import Diverged
from bagnet.train.recipe import Recipe, recipe
from bagnet.train.run import OtherRun, Run, finetune, train
from bagnet.zoo.others import OtherNetwork

from .conftest import PREPROCESSING, SMALL, textures


@pytest.fixture(scope="session")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """By the modern recipe."""
    quick = recipe("modern", epochs=4, batch_size=24, learning_rate=0.02, ema=0.8, augment="none")
    folder = tmp_path_factory.mktemp("trained")
    return train(data, folder, quick, shape=SMALL, preprocessing=PREPROCESSING, tag="textures", command="bagnet train textures")


def accuracy(run: Run) -> float:
    assert run.evaluation is not None
    return run.evaluation.top(1)


def test_the_modern_recipe(trained: Run) -> None:
    assert accuracy(trained) > 0.95
    card = trained.card
    assert card.name == "bagnet9s4.textures"
    assert card.scores[0].top1 == 100 * accuracy(trained)
    assert card.scores[0].images == 60
    assert card.more["recipe"]["ema"] == 0.8
    assert recipe(trained.folder / "recipe.toml") == Recipe(**card.more["recipe"])
    assert bagnet.load(trained.path).card == card
    steps = [int(row["step"]) for row in read_log(trained.folder / "log.csv") if row["loss"]]
    assert steps == list(range(1, 37))  # 228 images in batches of 24, four times


def test_the_paper_recipe(data: Path, tmp_path: Path) -> None:
    paper = recipe("paper", epochs=6, batch_size=12, step_epochs=5, learning_rate=0.05, scale=0.5)
    assert accuracy(train(data, tmp_path, paper, shape=SMALL, preprocessing=PREPROCESSING)) > 0.95


def test_mixed_images(data: Path, tmp_path: Path, quick: Recipe) -> None:
    mixed = quick.changed(mixup=0.2, cutmix=1.0, epochs=6)
    assert accuracy(train(data, tmp_path, mixed, shape=SMALL, preprocessing=PREPROCESSING)) > 0.95


def test_fine_tuning_a_new_head(trained: Run, tmp_path: Path) -> None:
    """Other classes, frozen backbone: the head alone changes."""
    images, labels = textures(120, 2)
    np.savez(tmp_path / "two.npz", train_images=images, train_labels=labels > 0, val_images=images, val_labels=labels > 0)
    assert isinstance(trained.model, BagNet)
    run = finetune(
        trained.model, tmp_path / "two.npz", tmp_path / "run", epochs=6, batch_size=24, learning_rate=0.05, freeze=True
    )
    assert accuracy(run) > 0.95
    assert len(run.model.classes) == 2
    before, after = trained.model.state_dict(), run.model.state_dict()
    changed = {name for name in before if before[name].shape != after[name].shape or not torch.equal(before[name], after[name])}
    assert changed == {"fc.weight", "fc.bias"}


def test_fine_tuning_all_of_it_at_two_rates(trained: Run, data: Path, tmp_path: Path, quick: Recipe) -> None:
    assert isinstance(trained.model, BagNet)
    run = finetune(trained.model, data, tmp_path, quick.changed(learning_rate=1e-3, epochs=1), backbone_rate=0.1)
    assert accuracy(run) > 0.95


@pytest.mark.parametrize("what", ["probabilities", "logits"])
def test_distillation(what: str, trained: Run, data: Path, tmp_path: Path, quick: Recipe) -> None:
    """From a teacher alone, whose answers are kept and asked for once."""
    told = quick.changed(distil=1.0, distil_on=what, temperature=2.0, epochs=5)
    said: list[str] = []
    arguments = {"shape": SMALL, "preprocessing": PREPROCESSING, "teacher": str(trained.path), "say": said.append}
    assert accuracy(train(data, tmp_path, told, **arguments)) > 0.95  # type: ignore[arg-type]
    (kept,) = (tmp_path / "teacher").rglob("*.npy")
    assert np.load(kept).shape == (228, 3)


def test_sparse_evidence(trained: Run, data: Path, tmp_path: Path, quick: Recipe) -> None:
    """With the L1 term the maps hold far less evidence for as many right answers."""
    run = train(data, tmp_path, quick.changed(sparsity=1e-2, epochs=8), shape=SMALL, preprocessing=PREPROCESSING)
    assert accuracy(run) > 0.95
    x = torch.stack([PREPROCESSING.of_pixels(image) for image in textures(30, 3)[0]])
    assert isinstance(run.model, BagNet)
    assert isinstance(trained.model, BagNet)
    with torch.inference_mode():
        sparse, plain = (float(model.evidence(x).abs().mean()) for model in (run.model, trained.model))
    assert sparse < plain / 2


def test_several_labels_an_image(tmp_path: Path, quick: Recipe) -> None:
    """Stripes above, a grid below, both or neither."""
    random = np.random.default_rng(0)
    images = random.integers(60, 120, (320, 20, 20, 3))
    labels = random.integers(0, 2, (320, 2))
    images[labels[:, 0] == 1, :9, ::2] += 100
    for image in np.flatnonzero(labels[:, 1]):
        images[image, 9::3, ::3] += 130
    images = images.astype(np.uint8)
    arrays = {"train_images": images[:240], "train_labels": labels[:240], "val_images": images[240:], "val_labels": labels[240:]}
    np.savez(tmp_path / "both.npz", **arrays)
    run = train(tmp_path / "both.npz", tmp_path / "run", quick.changed(epochs=8), shape=SMALL, preprocessing=PREPROCESSING)
    assert run.evaluation is not None
    assert run.card.multilabel
    assert ((run.evaluation.scores > 0) == run.evaluation.labels).mean() > 0.95
    evidence = bagnet.explain(run.model, torch.from_numpy(images[0]).permute(2, 0, 1).float() / 255)
    assert evidence.top(1)[0].probability == pytest.approx(1 / (1 + np.exp(-evidence.logits.max())))


def test_a_yes_or_no_has_one_logit(tmp_path: Path, quick: Recipe) -> None:
    images, labels = textures(240, 0)
    np.savez(tmp_path / "two.npz", train_images=images, train_labels=labels == 1)
    run = train(tmp_path / "two.npz", tmp_path / "run", quick.changed(head="sigmoid"), shape=SMALL, preprocessing=PREPROCESSING)
    assert [str(entry) for entry in run.model.classes] == ["class 1"]
    assert run.evaluation is None  # there is no val
    x = torch.stack([PREPROCESSING.of_pixels(image) for image in images])
    with torch.inference_mode():
        assert ((run.model(x)[:, 0] > 0).numpy() == (labels == 1)).mean() > 0.95


@pytest.mark.parametrize("channels", [1, 5])
def test_other_channels(channels: int, tmp_path: Path, quick: Recipe) -> None:
    images, labels = textures(240, 0)
    images = images[..., [place % 3 for place in range(channels)]]
    np.savez(tmp_path / "channels.npz", train_images=images, train_labels=labels, val_images=images, val_labels=labels)
    preprocessing = Preprocessing(None, 17, mean=(0.5,) * channels, std=(0.25,) * channels)
    run = train(tmp_path / "channels.npz", tmp_path / "run", quick, shape=SMALL, preprocessing=preprocessing)
    assert run.card.bagnet.in_channels == channels
    assert accuracy(run) > 0.95


def test_another_network_by_the_same_recipe(data: Path, tmp_path: Path, quick: Recipe) -> None:
    run = train(data, tmp_path, quick, shape=Outside("bagnet.zoo.comparison:small_vgg"), preprocessing=PREPROCESSING)
    assert isinstance(run.model, OtherNetwork)
    assert run.path.name == "small_vgg.mine.safetensors"
    assert accuracy(run) > 0.95
    with pytest.raises(ValueError, match=r"is no BagNet but a bagnet\.zoo\.comparison:small_vgg"):
        bagnet.load(run.path)


@pytest.mark.parametrize("balance", ["loss", "sampler"])
def test_rare_classes_count_as_much(balance: str, tmp_path: Path, quick: Recipe) -> None:
    """One image in nine shows stripes; both classes are found."""
    images, labels = textures(720, 0)
    keep = np.flatnonzero((labels == 0) | ((labels == 1) & (np.arange(720) % 8 == 1)))
    val, val_labels = textures(60, 1)
    only = val_labels < 2
    np.savez(
        tmp_path / "rare.npz",
        train_images=images[keep],
        train_labels=labels[keep],
        val_images=val[only],
        val_labels=val_labels[only],
    )
    run = train(
        tmp_path / "rare.npz",
        tmp_path / "run",
        quick.changed(balance=balance, epochs=5),
        shape=SMALL,
        preprocessing=PREPROCESSING,
    )
    assert run.evaluation is not None
    assert run.evaluation.by_class.min() > 0.95


def test_early_stopping_keeps_the_best(data: Path, tmp_path: Path, quick: Recipe) -> None:
    run = train(data, tmp_path, quick.changed(epochs=30, patience=2), shape=SMALL, preprocessing=PREPROCESSING)
    losses = [float(row["select_loss"]) for row in read_log(tmp_path / "log.csv") if row["select_loss"]]
    assert len(losses) < 30
    assert losses.index(min(losses)) == len(losses) - 3
    assert accuracy(run) > 0.95


def test_a_loss_that_is_no_number(data: Path, tmp_path: Path, quick: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stops with the step; the checkpoint before it is there, and a run with what went wrong mended goes on from it."""
    from bagnet.train import module

    calls = 0

    def sometimes(*given: object, **named: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return real(*given, **named) * (float("nan") if calls == 15 else 1)  # type: ignore[arg-type]

    real = module.classification
    monkeypatch.setattr(module, "classification", sometimes)
    with pytest.raises(Diverged, match=r"the loss is nan at step 13.*the last good checkpoint is .*last\.ckpt"):
        train(data, tmp_path, quick, shape=SMALL, preprocessing=PREPROCESSING)
    assert accuracy(train(data, tmp_path, quick, shape=SMALL, preprocessing=PREPROCESSING)) > 0.95


def test_the_folder_of_another_run(trained: Run, data: Path) -> None:
    other = Recipe(**trained.card.more["recipe"]).changed(learning_rate=0.1)
    with pytest.raises(OtherRun, match=r"holds a run with learning_rate 0.02 instead of 0.1; choose another folder"):
        train(data, trained.folder, other, shape=SMALL, preprocessing=PREPROCESSING)
    same = Recipe(**trained.card.more["recipe"])
    with pytest.raises(OtherRun, match="holds a run with crop 17 instead of 12"):
        train(data, trained.folder, same, shape=SMALL, preprocessing=PREPROCESSING.with_crop(12))
    with pytest.raises(OtherRun, match="other weights to start from"):
        train(data, trained.folder, same, start=trained.model, preprocessing=PREPROCESSING)  # type: ignore[arg-type]


def test_too_many_unreadable_images(tmp_path: Path, quick: Recipe) -> None:
    """One of two classes has a broken file: skipped and listed, or refused, as the recipe says."""
    from PIL import Image

    for name, shade in (("dark", 40), ("light", 200)):
        for number in range(20):
            path = tmp_path / "images" / name / f"{number:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20, 20), (shade + number, shade, shade)).save(path)
    (tmp_path / "images" / "dark" / "07.png").write_bytes(b"no image")
    arguments = {"shape": SMALL, "preprocessing": PREPROCESSING}
    with pytest.raises(ValueError, match=r"1 of 38 images cannot be read, more than 1%.*dark/07\.png"):
        train(tmp_path / "images", tmp_path / "a", quick.changed(batch_size=8), **arguments)  # type: ignore[arg-type]
    lenient = quick.changed(batch_size=8, unreadable=0.1, epochs=1)
    run = train(tmp_path / "images", tmp_path / "b", lenient, **arguments)  # type: ignore[arg-type]
    assert [name for name, _ in run.unreadable] == ["dark/07.png"]
    assert "dark/07.png" in (tmp_path / "b" / "unreadable.csv").read_text()


def test_a_teacher_is_asked_for(data: Path, tmp_path: Path, quick: Recipe) -> None:
    with pytest.raises(ValueError, match="name a teacher"):
        train(data, tmp_path, quick.changed(distil=0.5), shape=SMALL, preprocessing=PREPROCESSING)


def test_a_teacher_that_lacks_a_class(trained: Run, tmp_path: Path, quick: Recipe) -> None:
    images, _labels = textures(40, 0)
    np.savez(tmp_path / "four.npz", train_images=images, train_labels=np.arange(40) % 4)
    arguments = {"shape": SMALL, "preprocessing": PREPROCESSING, "teacher": trained.model}
    with pytest.raises(ValueError, match="1 of 4 classes are not among the 3 known: class 3"):
        train(tmp_path / "four.npz", tmp_path / "run", quick.changed(distil=0.5), **arguments)  # type: ignore[arg-type]


def test_weights_cannot_start_another_shape(trained: Run, data: Path, tmp_path: Path, quick: Recipe) -> None:
    assert isinstance(trained.model, BagNet)
    with pytest.raises(ValueError, match="cannot start another network"):
        train(data, tmp_path, quick, shape=replace(SMALL, width=8), start=trained.model)
