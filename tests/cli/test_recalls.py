"""The recall of each class, as it is printed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bagnet.cli.recalls import print_classes, print_recalls
from bagnet.data.names import ClassNames
from bagnet.evaluation.evaluate import Evaluation


def evaluation(classes: int, images: int = 8) -> Evaluation:
    """All images show class 0 or 1, and are taken for class 0."""
    scores = np.zeros((images, classes), np.float32)
    scores[:, 0] = 1
    names = ClassNames.numbered(classes)
    return Evaluation("first", "photos val", names, np.arange(images) // (images // 2) % 2, scores, (), 1.0)


def test_of_one_model_with_intervals(capsys: pytest.CaptureFixture[str]) -> None:
    print_recalls([evaluation(3)])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert lines == [
        ["recall", "of", "each", "class"],
        ["class", "images", "recall", "[low,", "high]"],
        ["class", "0", "4", "100.0", "%", "[51.0,", "100.0]"],
        ["class", "1", "4", "0.0", "%", "[0.0,", "49.0]"],
        ["class", "2", "0"],
    ]


def test_of_several_models_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    print_recalls([evaluation(2), replace(evaluation(2), model="second", scores=np.eye(2, dtype=np.float32)[[1] * 8])])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert lines[0] == ["class", "images", "first", "second"]
    assert lines[1:] == [["class", "0", "4", "100.0", "%", "0.0", "%"], ["class", "1", "4", "0.0", "%", "100.0", "%"]]


def test_many_images_and_many_classes(capsys: pytest.CaptureFixture[str]) -> None:
    """Beyond two thousand images no interval, beyond twenty classes nothing."""
    print_recalls([evaluation(2, 2002)])
    assert "[" not in capsys.readouterr().out.splitlines()[-1]
    print_recalls([evaluation(21)])
    assert capsys.readouterr().out == ""


def test_a_model_by_class(capsys: pytest.CaptureFixture[str]) -> None:
    """Class 0 has the best four of eight images, class 1 the rest, and class 2 none."""
    scores = np.zeros((8, 3), np.float32)
    scores[:, 0] = [5, 4, 3, 2, 1, 0, -1, -2]
    print_classes([replace(evaluation(3), scores=scores, specificity=0.75)])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert lines[0] == ["each", "class"]
    assert " ".join(lines[1]) == "class images recall precision-recall area sensitivity at 75 % specificity"
    assert lines[2][:6] == ["class", "0", "4", "100.00", "%", "[51.0,"]
    assert lines[2][7:] == ["1.000", "[0.51,", "1.00]", "100.00", "%", "[51.0,", "100.0]"], "Wilson's, of four images"
    assert lines[4] == ["class", "2", "0", "undefined", "undefined", "undefined"]
    assert lines[5][:3] == ["mean", "75.00", "%"], "images 6 and 7 are right, 4 and 5 are taken for the first class"
    print_classes([replace(evaluation(2), model="second")] * 2)
    assert capsys.readouterr().out.splitlines()[1] == "recall of each class"
