from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bagnet.data.labels import BadLabels
from bagnet.engine.classifier import Predictor
from bagnet.studies.paper.subjects import OtherClasses, gather

from .material import images_of, noise, prepared_by, saying, small_bagnet
from .planted import folder_of


def test_models_in_the_order_of_their_windows(tmp_path: Path) -> None:
    data = images_of(tmp_path / "a.npz", noise(4, 33), [0, 1, 2, 0])
    large, net = small_bagnet(33, kernel3=(1, 1, 1, 1)), saying(lambda x: x[:, :, 0, 0], 3, 33)
    material = gather([("net", net), ("large", large), ("small", small_bagnet(33))], data)
    assert [subject.name for subject in material.ordered] == ["small", "large", "net"]
    assert [subject.window for subject in material.ordered] == [9, 33, None]
    assert material.bagnets + material.networks == material.ordered


def test_a_sample_is_even_over_the_classes_and_the_same_every_time(tmp_path: Path) -> None:
    labels = [0] * 20 + [1] * 10 + [2] * 2
    data = images_of(tmp_path / "a.npz", noise(32, 9), labels)
    models = [("it", small_bagnet(9))]
    sample = gather(models, data, count=8)
    assert np.bincount(sample.labels.numpy()).tolist() == [3, 3, 2]
    assert sample.images.names == gather(models, data, count=8).images.names
    assert sample.images.names != gather(models, data, count=8, seed=1).images.names
    assert len(sample.sample(0)) == len(sample.sample(100)) == 8


def test_images_without_labels(tmp_path: Path) -> None:
    Image.fromarray(noise(1, 9)[0]).save(tmp_path / "a.png")
    material = gather([("it", small_bagnet(9))], tmp_path)
    assert len(material) == 1
    assert len(material.classes) == 3
    with pytest.raises(BadLabels, match="has no labels, which are needed"):
        _ = material.labels


def test_a_fault_in_a_labelled_folder_does_not_make_it_unlabelled(tmp_path: Path) -> None:
    for split, name in (("train", "a"), ("train", "b"), ("val", "a")):
        (tmp_path / split / name).mkdir(parents=True)
        Image.fromarray(noise(1, 9)[0]).save(tmp_path / split / name / "0.png")
    (tmp_path / "val/b").mkdir()
    with pytest.raises(BadLabels, match=r"val/b: holds no images"):
        gather([("it", small_bagnet(9, classes=2))], tmp_path)


def test_a_model_is_its_weights_its_layers_and_its_preprocessing(tmp_path: Path) -> None:
    data = images_of(tmp_path / "a.npz", noise(3, 9), [0, 1, 2])

    def fingerprint(model: Predictor) -> str:
        return gather([("it", model)], data).subjects[0].fingerprint

    model = small_bagnet(9)
    same, brighter, layers = (deepcopy(model) for _ in range(3))
    assert fingerprint(same) == fingerprint(model)
    prepared_by(brighter, replace(model.transform, mean=(0.5, 0.0, 0.0)))
    layers.relu = torch.nn.ReLU6()
    with torch.no_grad():
        same.fc.weight[0, 0] += 1
    assert len({fingerprint(each) for each in (model, same, brighter, layers)}) == 4


def test_logits_are_of_the_classes_of_the_images(tmp_path: Path) -> None:
    """Of versions of an image, too, however many there are."""
    data = folder_of(tmp_path, {"class 4/a": noise(1, 9)[0], "class 1/a": noise(1, 9)[0]})
    model = small_bagnet(9, classes=5)
    (subject,) = gather([("it", model)], data).subjects
    assert subject.columns == (1, 4)
    x = torch.rand(150, 3, 9, 9)
    with torch.inference_mode():
        torch.testing.assert_close(subject.logits(x), model(x)[:, [1, 4]])
        torch.testing.assert_close(subject.logits_of_versions([image[None] for image in x]), model(x)[:, [1, 4]])


def test_a_doubled_subject_leaves_the_model_as_it_is(tmp_path: Path) -> None:
    model = small_bagnet(9)
    (subject,) = gather([("it", model)], images_of(tmp_path / "a.npz", noise(2, 9), [0, 1])).subjects
    with torch.inference_mode():
        assert subject.doubled().logits(torch.rand(1, 3, 9, 9)).dtype == torch.float64
        assert subject.logits(torch.rand(1, 3, 9, 9)).dtype == torch.float32


def test_what_only_some_models_have_is_asked_for_with_a_reason(tmp_path: Path) -> None:
    models = [("net", saying(lambda x: x[:, :, 0, 0], 3, 9)), ("any", small_bagnet(None))]
    net, bag = gather(models, images_of(tmp_path / "a.npz", noise(2, 9), [0, 1])).subjects
    assert bag.classifier is bag.model
    assert net.input_side == 9
    with pytest.raises(ValueError, match="net sees the whole image at once"):
        _ = net.classifier
    with pytest.raises(ValueError, match="any takes images of any size"):
        _ = bag.input_side


def test_other_label_spaces_are_refused(tmp_path: Path) -> None:
    Image.fromarray(noise(1, 9)[0]).save(tmp_path / "a.png")
    with pytest.raises(OtherClasses, match="three cannot be asked about"):
        gather([("five", small_bagnet(9, classes=5)), ("three", small_bagnet(9))], tmp_path)


def test_several_labels_and_no_models_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", val_images=noise(2, 9), val_labels=np.array([[0, 1, 1], [1, 0, 0]]))
    with pytest.raises(BadLabels, match="several labels"):
        gather([("it", small_bagnet(9))], tmp_path / "a.npz")
    with pytest.raises(ValueError, match="at least one model"):
        gather([], tmp_path)
