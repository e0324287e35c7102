from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import Tensor
from torch.nn.functional import one_hot

from bagnet.evidence.explain import explain
from bagnet.studies.paper.accuracy import Accuracy, _sides
from bagnet.studies.paper.subjects import gather

from .material import findings_of, images_of, measures_of, noise, saying, small_bagnet, small_windowed


def test_as_many_right_as_the_labels_say(tmp_path: Path) -> None:
    bag = small_bagnet(17, classes=6)
    pictures = noise(20, 17)
    best = [explain(bag, picture).top(1)[0].index for picture in pictures]
    labels = [index if row < 12 else (index + 1) % 6 for row, index in enumerate(best)]
    data = images_of(tmp_path / "data.npz", pictures, labels)

    def doubled(x: Tensor) -> Tensor:
        return 2 * bag(x) + 1

    def opposite(x: Tensor) -> Tensor:
        return -bag(x)

    models = [("bag", bag), ("doubled", saying(doubled, 6, 17)), ("opposite", saying(opposite, 6, 17))]
    measures = measures_of(Accuracy(), gather(models, data, batch_size=7), tmp_path)
    accuracy = {model["model"]: model for model in measures["models"]}
    assert accuracy["bag"]["top1"]["value"] == accuracy["doubled"]["top1"]["value"] == pytest.approx(12 / 20)
    assert accuracy["bag"]["window"] == 9
    assert accuracy["doubled"]["window"] is None
    correlations = {pair["network"]: pair["correlation"]["value"] for pair in measures["correlations"]}
    assert correlations["doubled"] == pytest.approx(1.0, abs=1e-6)
    assert correlations["opposite"] == pytest.approx(-1.0, abs=1e-6)


def test_any_models_may_be_drawn(tmp_path: Path) -> None:
    """Networks alone, a BagNet alone, two with windows of one side, and of two classes, of which there is no top-5."""
    data = images_of(tmp_path / "data.npz", noise(6, 9), [0, 1, 2, 0, 1, 2])
    two = images_of(tmp_path / "two.npz", noise(6, 9), [0, 1] * 3)
    network = ("network", saying(lambda x: x[:, :, 0, 0], 3, 9))
    first, second = ("first", small_bagnet(9)), ("second", small_bagnet(9))
    cases = (([network], data, 0), ([first], data, 0), ([first, second, network], data, 2), ([first], two, 0))
    for number, (models, images, pairs) in enumerate(cases):
        findings = findings_of(Accuracy(), gather(models, images), tmp_path / str(number))
        assert len(findings.measures.models) == len(models)
        assert len(findings.measures.correlations) == pairs
        assert set(findings.figures) == {"accuracy"}


def test_windows_of_inputs_of_several_sizes_are_compared_by_their_share(tmp_path: Path) -> None:
    """8 of 16 pixels and 8 of 32."""
    data = images_of(tmp_path / "data.npz", noise(3, 16), [0, 1, 2])
    measures = findings_of(Accuracy(), gather([("half", small_windowed(16)), ("quarter", small_windowed(32))], data), tmp_path)
    assert _sides(measures.measures.models) == ([50.0, 25.0], "per cent of the input's")
    alike = findings_of(Accuracy(), gather([("half", small_windowed(16))], data), tmp_path / "alike")
    assert _sides(alike.measures.models) == ([8.0], "pixels of the input")


def test_the_second_guess_is_among_the_best_five(tmp_path: Path) -> None:
    def second(x: Tensor) -> Tensor:
        label = (x.mean((1, 2, 3)) * 255 / 40).round().long()
        return one_hot(label, 7) + 2 * one_hot((label + 1) % 7, 7).float()

    pictures = np.stack([np.full((9, 9, 3), 40 * label, np.uint8) for label in range(7)])
    data = images_of(tmp_path / "data.npz", pictures, range(7))
    (model,) = measures_of(Accuracy(), gather([("second", saying(second, 7, 9))], data), tmp_path)["models"]
    assert (model["top1"]["value"], model["top5"]["value"]) == (0.0, 1.0)
