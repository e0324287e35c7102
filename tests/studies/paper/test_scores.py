"""Logits are asked for once, kept for all experiments, and those of other weights are not taken for these."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bagnet.runs.sweep import NotANumber
from bagnet.studies.paper.scores import Accuracies, accuracies, all_scores, scores
from bagnet.studies.paper.subjects import gather

from .material import images_of, noise, saying, small_bagnet, workplace
from .planted import folder_of


def test_logits_are_asked_for_once(tmp_path: Path) -> None:
    """Also by another experiment, and where the first was cut short."""
    asked: list[int] = []

    def counted(x: Tensor) -> Tensor:
        asked.append(len(x))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return x[:, :, 0, 0]

    material = gather([("it", saying(counted, 3, 9))], images_of(tmp_path / "d.npz", noise(10, 9), [0, 1] * 5), batch_size=4)
    (subject,) = material.subjects
    with workplace(tmp_path, "first") as work, pytest.raises(KeyboardInterrupt):
        scores(material, subject, work)
    answers = []
    for name in ("first", "second"):
        with workplace(tmp_path, name) as work:
            answers.append(scores(material, subject, work))
    assert asked == [4, 4, 4, 2], "the batch that was cut short, and the rest"
    np.testing.assert_array_equal(answers[0], noise(10, 9)[:, 0, 0, :2] / np.float32(255))
    np.testing.assert_array_equal(answers[0], answers[1])


def test_logits_of_other_weights_are_not_taken_for_these(tmp_path: Path) -> None:
    data = images_of(tmp_path / "data.npz", noise(6, 9), [0, 1, 2, 0, 1, 2])
    model = small_bagnet(9)
    answers = []
    for _ in range(2):
        material = gather([("same name", model)], data)
        with workplace(tmp_path) as work:
            answers.append(scores(material, material.subjects[0], work))
        with torch.no_grad():
            model.fc.weight.mul_(-1)
            model.fc.bias.mul_(-1)
    np.testing.assert_allclose(answers[1], -answers[0], rtol=1e-6)


def test_infinite_logits_are_no_unreadable_images(tmp_path: Path) -> None:
    material = gather([("it", saying(lambda x: x[:, :, 0, 0] / 0, 3, 9))], images_of(tmp_path / "d.npz", noise(2, 9), [0, 1]))
    with workplace(tmp_path) as work, pytest.raises(NotANumber, match="it answers with logits that are not finite"):
        scores(material, material.subjects[0], work)


def test_what_one_model_cannot_use_is_left_out_and_told(tmp_path: Path) -> None:
    """An image smaller than a window, and only for the model with windows."""
    images = {f"class {number % 3}/{number}": noise(1, 33 if number else 5)[0] for number in range(6)}
    data = folder_of(tmp_path / "set", images)
    models = [("any", saying(lambda x: x.mean((2, 3)), 3, 9)), ("bag", small_bagnet(None))]
    material = gather(models, data)
    with workplace(tmp_path) as work:
        readable, logits = all_scores(material, work)
        ((name, reason),) = work.unusable.items()
    assert readable.tolist() == [not name.endswith("/0.png") for name in material.images.names]
    assert {values.shape for values in logits.values()} == {(5, 3)}
    assert name.endswith("0.png")
    assert "too small for windows of 9 pixels" in reason


def test_accuracies_of_ranks() -> None:
    ranks = np.array([0, 0, 3, 5])
    of_six = Accuracies(*accuracies(ranks, 6, 0))
    assert {top: estimate.value for top, estimate in of_six.by_top.items()} == {1: 0.5, 5: 0.75}
    of_five = Accuracies(*accuracies(ranks[:3], 5, 0))
    assert of_five.top5 is None
    assert list(of_five.by_top) == [1]
