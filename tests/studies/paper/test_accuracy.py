from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from bagnet.evidence.explain import explain
from bagnet.runs.sweep import NotANumber
from bagnet.studies.paper.accuracy import Accuracy
from bagnet.studies.paper.subjects import gather

from .material import images_of, noise, saying, small_bagnet
from .planted import folder_of


def test_as_many_right_as_the_labels_say(tmp_path: Path) -> None:
    bag = small_bagnet(17, classes=6)
    pictures = noise(20, 17)
    best = [explain(bag, picture).top(1)[0].index for picture in pictures]
    labels = [index if row < 12 else (index + 1) % 6 for row, index in enumerate(best)]
    labels = [*labels[:-1], labels[-1]]
    data = images_of(tmp_path / "data.npz", pictures, labels)

    def doubled(x: Tensor) -> Tensor:
        return 2 * bag(x) + 1

    def opposite(x: Tensor) -> Tensor:
        return -bag(x)

    models = [("bag", bag), ("doubled", saying(doubled, 6, 17)), ("opposite", saying(opposite, 6, 17))]
    record = Accuracy().run(gather(models, data, batch_size=7), tmp_path).record
    found = {one["model"]: one for one in record["measures"]["models"]}
    assert found["bag"]["top1"]["value"] == found["doubled"]["top1"]["value"] == pytest.approx(12 / 20)
    assert found["bag"]["window"] == 9
    assert found["doubled"]["window"] is None
    alike = {one["network"]: one["correlation"]["value"] for one in record["measures"]["correlations"]}
    assert alike["doubled"] == pytest.approx(1.0, abs=1e-6)
    assert alike["opposite"] == pytest.approx(-1.0, abs=1e-6)


def test_what_there_is_may_be_drawn(tmp_path: Path) -> None:
    """Networks alone, a BagNet alone, two with windows of one side, and of two classes, of which there is no top-5."""
    data = images_of(tmp_path / "data.npz", noise(6, 17), [0, 1, 2, 0, 1, 2])
    two = images_of(tmp_path / "two.npz", noise(6, 17), [0, 1] * 3)
    network = ("network", saying(lambda x: x[:, :, 0, 0], 3, 17))
    first, second = ("first", small_bagnet(17)), ("second", small_bagnet(17))
    for place, (models, images) in enumerate(
        (([network], data), ([first], data), ([first, second, network], data), ([first], two))
    ):
        (folder := tmp_path / str(place) / "accuracy").mkdir(parents=True)
        findings = Accuracy().find(gather(models, images), folder)
        assert len(findings.measures["models"]) == len(models)
        assert len(findings.measures["correlations"]) == (2 if len(models) == 3 else 0)
        assert set(findings.figures) == {"accuracy"}


def test_the_second_guess_is_among_the_best_five(tmp_path: Path) -> None:
    def second(x: Tensor) -> Tensor:
        label = (x.mean((1, 2, 3)) * 255 / 40).round().long()
        return one_hot(label, 7) + 2 * one_hot((label + 1) % 7, 7).float()

    pictures = np.stack([np.full((9, 9, 3), 40 * label, np.uint8) for label in range(7)])
    data = images_of(tmp_path / "data.npz", pictures, range(7))
    (one,) = Accuracy().run(gather([("second", saying(second, 7, 9))], data), tmp_path).record["measures"]["models"]
    assert (one["top1"]["value"], one["top5"]["value"]) == (0.0, 1.0)


def test_infinite_logits_are_no_unreadable_images(tmp_path: Path) -> None:
    data = images_of(tmp_path / "data.npz", noise(4, 9), [0, 1, 0, 1])
    with pytest.raises(NotANumber, match="it answers with logits that are no numbers"):
        Accuracy().run(gather([("it", saying(lambda x: x[:, :, 0, 0] / 0, 3, 9))], data), tmp_path)


def test_images_smaller_than_a_window_are_left_out(tmp_path: Path) -> None:
    """And named, by whatever asks for logits."""
    data = folder_of(tmp_path / "set", {f"class {place % 3}/{place}": noise(1, 33 if place else 5)[0] for place in range(6)})
    model = small_bagnet(33)
    assert model.card is not None
    model.card = replace(model.card, preprocessing=replace(model.card.preprocessing, resize=None, crop=None))
    result = Accuracy().run(gather([("it", model)], data), tmp_path)
    assert result.record["measures"]["images"] == 5
    ((name, reason),) = result.unusable.items()
    assert "0.png" in name
    assert "too small" in reason


def test_logits_are_asked_for_once(tmp_path: Path) -> None:
    asked: list[int] = []

    def counted(x: Tensor) -> Tensor:
        asked.append(len(x))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return x[:, :, 0, 0]

    data = images_of(tmp_path / "data.npz", noise(10, 9), [0, 1] * 5)
    material = gather([("counted", saying(counted, 3, 9))], data, batch_size=4)
    with pytest.raises(KeyboardInterrupt):
        Accuracy().run(material, tmp_path)
    Accuracy().run(material, tmp_path)
    assert asked == [4, 4, 4, 2], "the batch that was cut short, and the rest"
    logits = np.load(tmp_path / "logits/counted.npy")
    assert logits.shape == (10, 2)
    assert np.isfinite(logits).all()


def test_logits_of_other_weights_are_not_taken_for_these(tmp_path: Path) -> None:
    data = images_of(tmp_path / "data.npz", noise(6, 9), [0, 1, 2, 0, 1, 2])
    first, second = small_bagnet(9), small_bagnet(9)
    with torch.no_grad():
        second.fc.weight.mul_(-1)
    found = []
    for one in (first, second):
        Accuracy().run(gather([("same name", one)], data), tmp_path, overwrite=True)
        found.append(np.load(tmp_path / "logits/same_name.npy"))
    assert np.abs(found[0] - found[1]).max() > 0.01
