"""Measures of hand-made answers are what one computes on paper; evaluate asks the model what it should."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torch import Tensor, nn

import bagnet
from bagnet.data.decode import BadImage
from bagnet.data.labelled import open_labelled
from bagnet.data.labels import BadLabels
from bagnet.data.names import AmbiguousClass, ClassNames, UnknownClass, imagenet1k
from bagnet.data.transforms import Preprocessing
from bagnet.evaluation.evaluate import Evaluation, evaluate
from bagnet.evaluation.measures import average_precision
from bagnet.model import BagNet
from bagnet.progress import Progress
from bagnet.runs.sweep import NotANumber

from .colours import PLAIN, arrays_of, folder_of, reader


def answers(labels: Sequence[Any], scores: Sequence[Sequence[float]]) -> Evaluation:
    table = np.array(scores, np.float32)
    classes = ClassNames.from_words([f"kind {number}" for number in range(table.shape[1])])
    return Evaluation("hand.made", "paper", classes, np.array(labels), table, (), 2.0)


@pytest.fixture
def six() -> Evaluation:
    """Six images of classes 0, 0, 0, 1, 1, 3 among four; the best answers are 0, 1, 1, 1, 0, 2."""
    scores = [[4, 3, 2, 1], [3, 4, 2, 1], [2, 4, 3, 1], [1, 4, 3, 2], [4, 1, 2, 3], [2, 1, 4, 3]]
    return answers([0, 0, 0, 1, 1, 3], scores)


def test_accuracy_and_confusion(six: Evaluation) -> None:
    assert [six.top(count) for count in (1, 2, 3, 4)] == pytest.approx([2 / 6, 4 / 6, 5 / 6, 1])
    assert six.confusion.tolist() == [[1, 2, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]]
    assert six.confused() == [(0, 1, 2), (1, 0, 1), (3, 2, 1)]
    assert six.confused(1) == [(0, 1, 2)]
    assert six.counts.tolist() == [3, 2, 0, 1]
    assert np.array_equal(six.by_class, [1 / 3, 1 / 2, np.nan, 0], equal_nan=True)
    assert six.images_per_second == 3


def test_pairs_of_answers(six: Evaluation) -> None:
    """Two of six are right, of the other four; they differ at images 1 and 2, which the other has right."""
    scores = six.scores.copy()
    scores[1:3] = [[4, 3, 2, 1], [4, 2, 3, 1]]
    better = replace(six, scores=scores, model="better")
    ahead = better.ahead_of(six)
    assert ahead.value == pytest.approx(2 / 6)
    assert ahead.low >= 0
    assert six.ahead_of(better).value == pytest.approx(-2 / 6)
    same = six.ahead_of(six)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    with pytest.raises(ValueError, match=r"hand\.made and better were measured on other images"):
        six.ahead_of(replace(better, labels=better.labels[::-1].copy()))
    with pytest.raises(ValueError, match="were measured on other images"):
        six.ahead_of(replace(six, bad=(("a.png", "is empty"),)))


def test_one_answer_to_everything() -> None:
    scores = np.zeros((10, 2), np.float32)
    scores[:, 0] = 1
    names = ClassNames.from_words(["cat", "dog"])
    labels = np.array([0] * 6 + [1] * 4)
    same = Evaluation("a", "b", names, labels, scores, (), 1.0)
    assert same.one_answer == "100% of the answers are cat, which 60% of the images show: nothing was learnt"
    assert (same.top(1), same.balanced_accuracy) == (0.6, 0.5)
    assert Evaluation("a", "b", names, labels * 0, scores, (), 1.0).one_answer == ""
    scores[:1, 1] = 2
    assert Evaluation("a", "b", names, labels, scores, (), 1.0).one_answer == "", "nine of ten are not nearly all"


def test_equal_logits_help_nobody() -> None:
    constant = answers([0, 1, 2, 3], [[1.0] * 4] * 4)
    assert constant.top(1) == 0.25  # the first of equal ones is the answer
    assert constant.top(2) == 0.5
    assert constant.by_class.tolist() == [1, 0, 0, 0]


def sure(*confidences: float) -> list[list[float]]:
    """Logits of two classes whose softmax says class 0 with these probabilities."""
    return [[float(np.log(share)), float(np.log1p(-share))] for share in confidences]


def test_calibration() -> None:
    evaluation = answers([0, 0, 0, 1, 1], sure(0.83, 0.83, 0.83, 0.83, 0.61))
    first, second = evaluation.reliability()
    assert first == pytest.approx((0.61, 0, 1))
    assert second == pytest.approx((0.83, 0.75, 4))
    assert evaluation.calibration_error == pytest.approx((1 * 0.61 + 4 * 0.08) / 5)


def test_certainty_has_no_bin_of_its_own() -> None:
    evaluation = answers([0, 1], [[100, 0], *sure(0.96)])
    assert evaluation.reliability() == [pytest.approx((0.98, 0.5, 2))]


def test_average_precision_by_hand() -> None:
    truth = np.array([True, False, True, False])
    assert average_precision(np.array([4.0, 3, 2, 1]), truth) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(np.array([1.0, 2, 3, 4]), truth) == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert average_precision(np.ones(4), truth) == 0.5  # the share of true ones, whatever their order
    assert average_precision(np.array([3.0, 3, 2, 1]), truth) == pytest.approx((1 / 2 + 2 / 3) / 2)


@pytest.mark.slow
def test_measures_agree_with_torchmetrics() -> None:
    measures = pytest.importorskip("torchmetrics.functional.classification")
    random = np.random.default_rng(0)
    labels, scores = random.integers(0, 7, 500), random.normal(size=(500, 7)).astype(np.float32).round(1)
    evaluation = answers(labels, scores.tolist())
    x, y = torch.from_numpy(scores), torch.from_numpy(labels)
    calibration_error = float(measures.multiclass_calibration_error(x, y, 7, n_bins=15))
    assert evaluation.calibration_error == pytest.approx(calibration_error, abs=1e-6)
    several = random.random((500, 7)) < 0.3
    theirs = measures.multilabel_average_precision(x, torch.from_numpy(several).long(), 7, average="none")
    assert answers(several, scores.tolist()).by_class == pytest.approx(theirs.numpy(), abs=1e-6)


def test_several_labels() -> None:
    labels = [[True, False, False], [False, True, False], [True, True, False], [False, False, False]]
    evaluation = answers(labels, [[40, -1, 0], [30, 1, 0], [20, 3, 0], [-1, 2, 0]])
    assert evaluation.multilabel
    assert np.array_equal(evaluation.by_class, [(1 + 2 / 3) / 2, (1 + 2 / 3) / 2, np.nan], equal_nan=True)
    assert evaluation.mean_average_precision == pytest.approx(5 / 6)
    assert sum(count for *_, count in evaluation.reliability()) == 12
    assert evaluation.calibration_error > 0
    for ask in (lambda: evaluation.top(1), lambda: evaluation.confusion, evaluation.confused):
        with pytest.raises(BadLabels, match="several labels"):
            ask()
    with pytest.raises(BadLabels, match="one label each"):
        _ = answers([0], [[1, 2]]).mean_average_precision


def test_json(six: Evaluation) -> None:
    record = json.loads(json.dumps(six.to_dict(), allow_nan=False))
    assert (record["model"], record["images"], record["top1"]) == ("hand.made", 6, pytest.approx(2 / 6))
    assert record["confused"][0] == {"true": "kind 0", "taken_for": "kind 1", "images": 2}
    assert record["by_class"][1:3] == [
        {
            "class": "kind 1",
            "wnid": None,
            "images": 2,
            "recall": 0.5,
            "interval": [0.094531, 0.905469],  # Wilson's
            "average_precision": 0.366667,
            "average_precision_interval": [0.166667, 1.0],
        },
        {
            "class": "kind 2",
            "wnid": None,
            "images": 0,
            "recall": None,
            "interval": [None, None],
            "average_precision": None,
            "average_precision_interval": [None, None],
        },
    ]
    assert record["one_against_rest"]["mean_average_precision"]["value"] > 0
    assert "top5" not in record
    assert list(record["intervals"]) == ["balanced_accuracy", "top1"]
    low, high = record["intervals"]["balanced_accuracy"]
    assert record["balanced_accuracy"] == pytest.approx(5 / 18, abs=1e-6)
    assert low < 5 / 18 < high
    nobody = answers([[False], [False]], [[1], [2]]).to_dict()
    assert json.loads(json.dumps(nobody, allow_nan=False))["mean_average_precision"] is None


def test_a_specificity(six: Evaluation) -> None:
    """By the probability of class 0: images 0 and 4, 1, 2 and 5, 3; of these 3, 4 and 5 are of other classes."""
    record = replace(six, specificity=0.6).to_dict()
    assert record["one_against_rest"]["specificity"] == 0.6
    first = record["by_class"][0]
    assert first["sensitivity"] == pytest.approx(2 / 3, abs=1e-6)  # one of the others may be accepted, which is image 4
    assert first["threshold_probability"] == pytest.approx(float(six.probabilities[1, 0]), abs=1e-6)
    assert first["sensitivity_interval"][0] < 1
    with pytest.raises(ValueError, match="between 0 and 1"):
        bagnet.evaluate(reader(), "nowhere", specificity=95)


def twice(evaluation: Evaluation, times: int) -> Evaluation:
    """Each image so many times, as a patient has several images."""
    rows = np.repeat(np.arange(evaluation.images), times)
    groups = tuple(f"patient {row}" for row in rows)
    return replace(evaluation, labels=evaluation.labels[rows], scores=evaluation.scores[rows], group="patient", groups=groups)


def test_images_of_one_group_are_no_evidence_of_their_own() -> None:
    """Copies of each image leave every figure and its interval as they are; each by itself they fake a narrow one."""
    random = np.random.default_rng(3)
    labels = np.arange(60) % 2
    scores = (np.eye(2)[labels] + random.normal(scale=0.9, size=(60, 2))).tolist()
    alone = answers(labels, scores)
    single, copies = twice(alone, 1), twice(alone, 9)
    assert copies.independent == 60
    for mine, theirs in zip(single.measures(), copies.measures(), strict=True):
        assert (mine.key, mine.rounded_interval) == (theirs.key, theirs.rounded_interval)
        assert mine.interval == theirs.interval != ""
    for mine, theirs, faked in zip(alone.measures(), copies.measures(), replace(copies, groups=()).measures(), strict=True):
        width, wide, narrow = (measure.estimate.high - measure.estimate.low for measure in (mine, theirs, faked))
        assert wide == pytest.approx(width, rel=0.15)
        assert narrow == pytest.approx(wide / 3, rel=0.15)
    mine, theirs = (replace(evaluation, specificity=0.8).to_dict() for evaluation in (single, copies))
    for ours, copied in zip(mine["by_class"], theirs["by_class"], strict=True):
        assert {**ours, "images": 270} == copied
    assert (theirs["group"], theirs["groups"]) == ("patient", 60)
    other = replace(copies, scores=copies.scores[::-1].copy())
    assert copies.ahead_of(other) == single.ahead_of(replace(single, scores=single.scores[::-1].copy()))


def test_groups_that_are_all_right_are_not_certain() -> None:
    right = answers([0, 1] * 10, sure(0.9, 0.1) * 10)
    groups = tuple(f"patient {row // 4}" for row in range(20))  # five of four images
    measured = {measure.key: measure.estimate for measure in replace(right, group="patient", groups=groups).measures()}
    low, high = stats.binomtest(5, 5).proportion_ci(method="wilson")
    assert (measured["top1"].low, measured["top1"].high) == pytest.approx((low, high))
    assert measured["balanced_accuracy"].low < 0.8
    assert measured["roc_auc"].low < 0.8


def test_groups_of_a_folder(tmp_path: Path) -> None:
    data = folder_of(tmp_path / "photos", {"red": ["red", "red", "green"], "blue": ["blue"]})
    (tmp_path / "photos.csv").write_text("image,patient\nred/0.png,a\nred/1.png,a\nred/2.png,b\nblue/0.png,c\n")
    measured = evaluate(reader(), data, workers=0, group="patient")
    assert (measured.groups, measured.independent) == (("c", "a", "a", "b"), 3)
    (data / "val" / "red" / "0.png").write_bytes(b"broken")
    assert evaluate(reader(), data, workers=0, group="patient").groups == ("c", "a", "b")
    with pytest.raises(BadLabels, match="'part'"):
        evaluate(reader(), data, workers=0, group="part")
    with pytest.raises(ValueError, match="name that"):
        evaluate(reader(), open_labelled(data, "val"), workers=0, group="patient")


def test_images_of_a_folder(tmp_path: Path) -> None:
    data = folder_of(tmp_path / "photos", {"red": ["red", "red", "green"], "blue": ["blue"], "green": ["green"] * 2})
    seen: list[Progress] = []
    evaluation = bagnet.evaluate(reader(), data, batch_size=4, workers=0, progress=seen.append)
    assert [str(entry) for entry in evaluation.classes] == ["blue", "green", "red"]  # the folders' order, not the model's
    assert evaluation.labels.tolist() == [0, 1, 1, 2, 2, 2]
    assert evaluation.scores.tolist() == [[10, 0, 0], [0, 10, 0], [0, 10, 0], [0, 0, 10], [0, 0, 10], [0, 10, 0]]
    assert evaluation.top(1) == 5 / 6
    assert evaluation.confused() == [(2, 1, 1)]
    assert (evaluation.model, evaluation.data, evaluation.bad, evaluation.window) == ("reader.colours", "photos val", (), None)
    assert seen == [Progress("reader.colours", done, 6) for done in (4, 6)]


def test_a_model_of_a_thousand_classes_is_asked_about_three(tmp_path: Path) -> None:
    """By WordNet id; what it thinks of all other classes does not count."""
    every = imagenet1k()
    words = [entry.wnid or "" for entry in every]
    ids = [words[index] for index in (281, 7, 950)]
    model = reader(words)
    head = model.network[2]
    with torch.no_grad():
        head.weight.zero_()
        head.bias.fill_(100.0)
        for channel, index in enumerate((281, 7, 950)):
            head.weight[index, channel], head.bias[index] = 1.0, 0.0
    data = folder_of(tmp_path, dict(zip(ids, (["red"], ["green"], ["blue", "red"]), strict=True)))
    evaluation = evaluate(model, data, workers=0)
    assert [entry.wnid for entry in evaluation.classes] == sorted(ids)
    assert evaluation.top(1) == 3 / 4
    assert evaluation.confused() == [(sorted(ids).index(ids[2]), sorted(ids).index(ids[0]), 1)]
    assert float(evaluation.scores.max()) == 1


def test_numbered_classes_are_those_of_a_model_that_numbers_them(tmp_path: Path) -> None:
    """The labels 0 and 1 of the images are the first two of the model's three."""
    data = arrays_of(tmp_path / "set.npz", ["red", "green", "blue"], [0, 1, 1])
    evaluation = evaluate(reader(["class 0", "class 1", "class 2"]), data, workers=0)
    assert evaluation.scores.tolist() == [[10, 0], [0, 10], [0, 0]]
    assert evaluation.top(1) == 2 / 3


def test_a_model_that_lacks_a_class(tmp_path: Path) -> None:
    data = folder_of(tmp_path / "set", {"red": ["red"], "violet": ["blue"]})
    with pytest.raises(UnknownClass, match=r"reader.colours cannot be measured on set val: 1 of 2 classes .* violet"):
        evaluate(reader(), data, workers=0)


def test_two_classes_that_are_one_of_the_model(tmp_path: Path) -> None:
    data = folder_of(tmp_path, {"tabby": ["red"], "tabby cat": ["blue"], "n01443537": ["blue"]})
    with pytest.raises(AmbiguousClass, match="both tabby and tabby cat"):
        evaluate(reader(["n02123045", "n01443537", "blue"]), data, workers=0)


def test_bad_images_are_named_and_the_rest_is_measured(tmp_path: Path) -> None:
    data = folder_of(tmp_path, {"blue": ["blue", "blue"], "red": ["red"]})
    (data / "val" / "blue" / "0.png").write_bytes(b"no image")
    evaluation = evaluate(reader(), data, workers=0)
    assert [name for name, _ in evaluation.bad] == ["blue/0.png"]
    assert "not an image" in evaluation.bad[0][1]
    assert (evaluation.images, evaluation.top(1), evaluation.labels.tolist()) == (2, 1, [0, 1])
    for path in data.rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(BadImage, match="none of 3 images"):
        evaluate(reader(), data, workers=0)


def test_images_of_several_sizes_keep_their_labels(tmp_path: Path) -> None:
    folder = tmp_path / "val"
    for number, (colour, side) in enumerate([("red", 9), ("blue", 7), ("blue", 9), ("red", 7), ("red", 9)]):
        (folder / colour).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (side, side), colour).save(folder / colour / f"{number}.png")
    whole = Preprocessing(None, None, mean=PLAIN.mean, std=PLAIN.std)
    evaluation = evaluate(reader(), tmp_path, workers=0, transform=whole)
    assert evaluation.labels.tolist() == [0, 0, 1, 1, 1]
    assert evaluation.top(1) == 1


def test_several_labels_of_a_file(tmp_path: Path) -> None:
    data = arrays_of(tmp_path / "set.npz", ["red", "green", "blue"], [[1, 0, 0], [0, 1, 1], [0, 0, 0]])
    evaluation = evaluate(reader(["class 0", "class 1", "class 2"], multilabel=True), data, workers=0)
    assert evaluation.multilabel
    assert evaluation.by_class == pytest.approx([1, 1, 1 / 3])  # blue: the one image that is so is not called so, two tie


def test_a_model_of_questions_asks_them_of_images_with_one_label(tmp_path: Path) -> None:
    data = folder_of(tmp_path, {"blue": ["blue"], "green": ["green"], "red": ["red", "green"]})
    evaluation = evaluate(reader(multilabel=True), data, workers=0)
    assert evaluation.labels.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]]
    assert evaluation.by_class == pytest.approx([1, 1 / 2, (1 + 2 / 4) / 2])


def test_a_question_about_the_second_of_two_classes(tmp_path: Path) -> None:
    data = folder_of(tmp_path, {"blue": ["blue", "red"], "red": ["red"]})
    evaluation = evaluate(reader(["red"], multilabel=True), data, workers=0)
    assert evaluation.by_class == pytest.approx([0.5])
    assert evaluation.mean_average_precision == pytest.approx(0.5)


def test_a_model_in_training_is_measured_as_it_will_be_used(small: Callable[..., BagNet], tmp_path: Path) -> None:
    data = folder_of(tmp_path, {"blue": ["blue"] * 2, "red": ["red"]}, side=40)
    model = small(classes=["blue", "red"], num_classes=2)
    size = Preprocessing(40, 40)
    before = evaluate(model, data, workers=0, transform=size)
    model.train()
    statistics = model.bn1.running_mean.clone()  # type: ignore[union-attr,operator]
    assert np.array_equal(evaluate(model, data, workers=0, transform=size).scores, before.scores)
    assert model.training
    assert torch.equal(model.bn1.running_mean, statistics)  # type: ignore[arg-type]
    assert before.window == 33


def test_weights_in_double_precision(tmp_path: Path) -> None:
    data = folder_of(tmp_path, {"blue": ["blue"], "red": ["red"]})
    assert evaluate(reader().double(), data, workers=0).top(1) == 1


def test_a_prepared_model_says_how_it_ran(small: Callable[..., BagNet], tmp_path: Path) -> None:
    data = folder_of(tmp_path, {"blue": ["blue"], "red": ["red"]}, side=40)
    model = small(classes=["blue", "red"], num_classes=2)
    evaluation = evaluate(bagnet.prepare(model), data, workers=0, transform=Preprocessing(40, 40))
    assert (evaluation.window, evaluation.runtime, evaluation.precision) == (33, "torch", "float32")
    assert evaluation.scores == pytest.approx(evaluate(model, data, workers=0, transform=Preprocessing(40, 40)).scores, abs=1e-5)


def test_a_model_without_numbers(tmp_path: Path) -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.full((len(x), 3), torch.nan)

    model = reader()
    model.network = Broken()
    with pytest.raises(NotANumber, match="not finite"):
        evaluate(model, folder_of(tmp_path, {"blue": ["blue"], "red": ["red"]}), workers=0)


def test_images_without_labels(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "photo.png")
    with pytest.raises((BadLabels, FileNotFoundError), match=tmp_path.name):
        evaluate(reader(), tmp_path, "train", workers=0)
    with pytest.raises(FileNotFoundError, match="no folder called val"):
        evaluate(reader(), tmp_path, workers=0)


def test_images_already_open(tmp_path: Path) -> None:
    images = open_labelled(folder_of(tmp_path, {"blue": ["blue", "red"], "red": ["red"]}), "val")
    assert evaluate(reader(), images.take([0, 2]), workers=0).top(1) == 1
    with pytest.raises(BadImage, match="none of 0 images"):
        evaluate(reader(), images.take([]), workers=0)
