"""A run that batch normalisation would end is refused before it begins, and no other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bagnet.architecture import ExternalArchitecture
from bagnet.data.transforms import Preprocessing
from bagnet.model import BagNet
from bagnet.training.normalisation import check_normalisation, starved_layer
from bagnet.training.recipe import recipe
from bagnet.training.run import train

from .conftest import PREPROCESSING, SMALL, plain, textures

ONE = recipe("modern", epochs=1, batch_size=1, select=0.1, augment="none")
WINDOW = Preprocessing(None, 9, mean=(0.5,) * 3, std=(0.25,) * 3)  # one window of nine pixels, one value of each channel


@pytest.mark.parametrize(("side", "batch", "layer"), [(9, 1, "stages.2.0.bn1"), (9, 2, ""), (13, 1, "")])
def test_the_layer_that_torch_would_refuse(side: int, batch: int, layer: str) -> None:
    network = BagNet(replace(SMALL, num_classes=3))
    x = torch.zeros(batch, 3, side, side)
    name = starved_layer(network, x)
    if not layer:
        assert name == ""
        network.train()(x)
        return
    assert name in dict(network.named_modules())
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        network.train()(x)


def test_a_network_is_left_as_it_was() -> None:
    network = plain(3, 3).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    starved_layer(network, torch.rand(1, 3, 17, 17))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not network.training
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_normalisation_behind_pooling_needs_two_images_whatever_their_size() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(4))
    message = (
        r"batches of 1 leave batch normalisation \(3\) one value per channel of a 17 pixel crop.*--batch-size.*--freeze-norm"
    )
    with pytest.raises(ValueError, match=message):
        check_normalisation(network, ONE, PREPROCESSING, 20)
    check_normalisation(network, ONE.changed(batch_size=2), PREPROCESSING, 20)
    check_normalisation(network, ONE.changed(freeze_norm=True), PREPROCESSING, 20)


@pytest.mark.parametrize(
    ("changes", "images", "ranks", "refused"),
    [
        ({"batch_size": 4, "accumulate": 4}, 40, 1, True),
        ({"batch_size": 4, "accumulate": 2}, 40, 2, True),
        ({"batch_size": 8, "accumulate": 4}, 40, 1, False),
        ({"batch_size": 8, "accumulate": 4}, 7, 1, True),  # which fill one step of four parts
        ({"batch_size": 8}, 9, 1, False),  # the ninth sits the epoch out
        ({"batch_size": 8}, 2, 1, False),
    ],
)
def test_it_is_the_part_of_a_step_that_counts(changes: dict[str, int], images: int, ranks: int, refused: bool) -> None:
    network = BagNet(replace(SMALL, num_classes=3))
    chosen = ONE.changed(**changes)
    if not refused:
        check_normalisation(network, chosen, WINDOW, images, ranks)
        return
    with pytest.raises(ValueError, match=r"in 4 parts leave batch normalisation \(.*\) one value per channel of a 9 pixel crop"):
        check_normalisation(network, chosen, WINDOW, images, ranks)


def test_smaller_crops_of_training_count() -> None:
    network = BagNet(replace(SMALL, num_classes=3))
    check_normalisation(network, ONE, PREPROCESSING, 20)
    with pytest.raises(ValueError, match="of a 9 pixel crop"):
        check_normalisation(network, ONE.changed(train_crop=9), PREPROCESSING, 20)


def test_a_run_is_refused_before_it_leaves_anything(tmp_path: Path) -> None:
    images, labels = textures(30, 0)
    np.savez(tmp_path / "set.npz", train_images=images, train_labels=labels)
    np.savez(tmp_path / "two.npz", train_images=images[:2], train_labels=labels[:2])
    with pytest.raises(ValueError, match=r"batches of 1 leave batch normalisation .*--crop"):
        train(tmp_path / "set.npz", tmp_path / "run", ONE, shape=SMALL, preprocessing=WINDOW)
    with pytest.raises(ValueError, match=r"two\.npz: has 1 image to train on, beside 1 to select on; give more images"):
        train(tmp_path / "two.npz", tmp_path / "run", ONE, shape=SMALL, preprocessing=PREPROCESSING)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set.npz", "two.npz"]


def test_batches_of_one_image_train_where_they_can(tmp_path: Path) -> None:
    images, labels = textures(6, 0)
    np.savez(tmp_path / "set.npz", train_images=images, train_labels=labels)
    for number, shape in enumerate((SMALL, ExternalArchitecture(f"{plain.__module__}:plain"))):
        train(tmp_path / "set.npz", tmp_path / str(number), ONE, shape=shape, preprocessing=PREPROCESSING)
    frozen = ONE.changed(freeze_norm=True)
    train(tmp_path / "set.npz", tmp_path / "frozen", frozen, shape=SMALL, preprocessing=WINDOW)
