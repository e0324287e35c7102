"""Charts: the figures that are drawn are those of the evaluation. (What they look like, only eyes can test.)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bagnet.data.names import ClassNames
from bagnet.evaluation.charts import FEW, chart, compare
from bagnet.evaluation.evaluate import Evaluation
from bagnet.figures.picture import Picture


def evaluation(classes: int, images: int = 300, sure: float = 2.0, multilabel: bool = False) -> Evaluation:
    random = np.random.default_rng(0)
    scores = random.normal(size=(images, classes)).astype(np.float32)
    labels: Any = random.integers(0, classes, images)
    if multilabel:
        labels = random.random((images, classes)) < 0.3
        scores += sure * labels.astype(np.float32)
    else:
        scores[np.arange(images), labels] += sure
    names = ClassNames.from_words([f"a kind of thing with a long name, number {number}" for number in range(classes)])
    return Evaluation("bagnet17.test", "photos val", names, labels, scores, (), 3.0, 17)


def panels(picture: Picture) -> dict[str, Any]:
    """The parts of a figure by their titles."""
    return {axes.get_title(loc="left"): axes for axes in picture.figure.axes}


def bars(axes: Any) -> Sequence[float]:
    return [bar.get_width() for bar in axes.patches]


@pytest.mark.parametrize(("classes", "multilabel"), [(2, False), (FEW, False), (200, False), (1, True), (200, True)])
def test_any_number_of_classes_can_be_drawn(classes: int, multilabel: bool) -> None:
    image = chart(evaluation(classes, multilabel=multilabel)).image
    assert image.width > image.height > 400
    assert image.width * image.height < 4_000_000


def test_accuracy_by_class_from_hard_to_easy() -> None:
    measured = evaluation(6)
    axes = panels(chart(measured))["Which classes are hard?"]
    assert bars(axes) == pytest.approx(sorted(100 * measured.by_class))
    (ends,) = [line.get_segments() for line in axes.collections][:1]
    hardest = int(measured.by_class.argmin())
    assert ends[0][:, 0] == pytest.approx([100 * measured.recalls[hardest].low, 100 * measured.recalls[hardest].high])
    assert axes.get_yticklabels()[0].get_text().endswith(f"({measured.counts[hardest]})")


def test_the_reliability_diagram_has_every_bin_and_its_count() -> None:
    measured = evaluation(6)
    confidence, right, counts = zip(*measured.reliability(), strict=True)
    figure = chart(measured).figure
    upper, lower = figure.axes[:2]
    curve = next(line for line in upper.lines if line.get_marker() == "o")
    assert curve.get_xdata() == pytest.approx(confidence)
    assert curve.get_ydata() == pytest.approx(right)
    assert [bar.get_height() for bar in lower.patches] == list(counts)
    for bar, mean in zip(lower.patches, confidence, strict=True):
        assert bar.get_x() < mean + 0.01
        assert mean - 0.01 < bar.get_x() + bar.get_width()


def test_confusion_of_few_classes() -> None:
    measured = evaluation(3)
    axes = panels(chart(measured))["Which classes are confused? (images)"]
    assert np.asarray(axes.images[0].get_array()) == pytest.approx(measured.confusion / measured.confusion.sum(1, keepdims=True))
    assert sorted(int(text.get_text()) for text in axes.texts) == sorted(measured.confusion[measured.confusion > 0])


def test_the_most_confused_pairs_of_many_classes() -> None:
    measured = evaluation(FEW + 1)
    axes = panels(chart(measured))["Which classes are confused most often?"]
    shares = [100 * images / measured.counts[true] for true, _, images in measured.confused(15)]
    assert bars(axes) == pytest.approx(shares)


def test_extremes_can_be_drawn() -> None:
    """Never wrong; one image; classes without images; all answers equally sure; nothing to be found; a long name."""
    few, several = evaluation(5), evaluation(FEW + 1, images=1, multilabel=True)
    for odd in (
        evaluation(FEW + 1, sure=100),
        evaluation(FEW + 1, images=1),
        evaluation(3, images=1),
        replace(few, labels=np.zeros_like(few.labels)),
        replace(few, scores=np.zeros_like(few.scores), model="x" * 300),
        replace(several, labels=np.zeros_like(several.labels)),
    ):
        chart(odd).figure.draw_without_rendering()


def test_models_side_by_side_from_small_windows_to_whole_images() -> None:
    best, worst = evaluation(30, sure=4.0), evaluation(30, sure=0.5)
    models = [
        replace(best, model="whole", window=None),
        replace(best, model="33", window=33),
        replace(worst, model="9", window=9),
    ]
    figure = compare(models).figure
    (axes,) = figure.axes
    names = [label.get_text().split("\n")[0] for label in axes.get_yticklabels()]
    assert names == ["whole", "33", "9"]  # from the bottom up
    best5, best1, _, _, worst5, worst1 = bars(axes)
    assert (best5, best1) == pytest.approx((100 * best.top(5), 100 * best.top(1)))
    assert (worst5, worst1) == pytest.approx((100 * worst.top(5), 100 * worst.top(1)))
    few = replace(best, scores=best.scores[:, :9], labels=best.labels % 9, classes=best.classes[:9])
    (axes,) = compare([few]).figure.axes
    assert bars(axes) == pytest.approx([100 * few.balanced_accuracy])
    several = evaluation(9, multilabel=True)
    (axes,) = compare([several, replace(several, model="again")]).figure.axes
    assert bars(axes) == pytest.approx([100 * several.mean_average_precision] * 2)
