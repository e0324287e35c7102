from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bagnet.data.labels import BadLabels
from bagnet.studies.paper.subjects import OtherClasses, gather

from .material import images_of, noise, saying, small_bagnet


def test_models_in_the_order_of_their_windows(tmp_path: Path) -> None:
    data = images_of(tmp_path / "a.npz", noise(4, 33), [0, 1, 2, 0])
    large, net = small_bagnet(33, kernel3=(1, 1, 1, 1)), saying(lambda x: x[:, :, 0, 0], 3, 33)
    found = gather([("net", net), ("large", large), ("small", small_bagnet(33))], data)
    assert [one.name for one in found.ordered] == ["small", "large", "net"]
    assert [one.window for one in found.ordered] == [9, 33, None]


def test_a_sample_is_even_over_the_classes_and_the_same_every_time(tmp_path: Path) -> None:
    labels = [0] * 20 + [1] * 10 + [2] * 2
    data = images_of(tmp_path / "a.npz", noise(32, 9), labels)
    models = [("one", small_bagnet(9))]
    found = gather(models, data, count=9)
    assert np.bincount(found.labels.numpy()).tolist() == [4, 3, 2] or np.bincount(found.labels.numpy()).tolist() == [3, 4, 2]
    assert found.images.names == gather(models, data, count=9).images.names
    assert found.images.names != gather(models, data, count=9, seed=1).images.names
    assert len(found.sample(0)) == len(found.sample(100)) == 9


def test_images_without_labels(tmp_path: Path) -> None:
    Image.fromarray(noise(1, 9)[0]).save(tmp_path / "a.png")
    found = gather([("one", small_bagnet(9))], tmp_path)
    assert len(found) == 1
    assert len(found.classes) == 3
    with pytest.raises(BadLabels, match="has no labels, which are needed"):
        _ = found.labels


def test_a_fault_in_a_labelled_folder_does_not_make_it_unlabelled(tmp_path: Path) -> None:
    for split, name in (("train", "a"), ("train", "b"), ("val", "a")):
        (tmp_path / split / name).mkdir(parents=True)
        Image.fromarray(noise(1, 9)[0]).save(tmp_path / split / name / "0.png")
    (tmp_path / "val/b").mkdir()
    with pytest.raises(BadLabels, match=r"val/b: holds no images"):
        gather([("one", small_bagnet(9, classes=2))], tmp_path)


def test_a_model_is_its_weights_its_layers_and_its_preprocessing(tmp_path: Path) -> None:
    data = images_of(tmp_path / "a.npz", noise(3, 9), [0, 1, 2])

    def known(model: object) -> str:
        return gather([("it", model)], data).subjects[0].fingerprint

    plain = small_bagnet(9)
    other, layers = deepcopy(plain), deepcopy(plain)
    assert known(plain) == known(other)
    assert other.card is not None
    other.card = replace(other.card, preprocessing=replace(other.card.preprocessing, mean=(0.5, 0.0, 0.0)))
    assert known(plain) != known(other)
    layers.relu = torch.nn.ReLU6()
    assert known(plain) != known(layers)


def test_other_label_spaces_are_refused(tmp_path: Path) -> None:
    Image.fromarray(noise(1, 9)[0]).save(tmp_path / "a.png")
    with pytest.raises(OtherClasses, match="three cannot be asked about"):
        gather([("five", small_bagnet(9, classes=5)), ("three", small_bagnet(9))], tmp_path)


def test_several_labels_and_no_models_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", val_images=noise(2, 9), val_labels=np.array([[0, 1, 1], [1, 0, 0]]))
    with pytest.raises(BadLabels, match="several labels"):
        gather([("one", small_bagnet(9))], tmp_path / "a.npz")
    with pytest.raises(ValueError, match="at least one model"):
        gather([], tmp_path)
