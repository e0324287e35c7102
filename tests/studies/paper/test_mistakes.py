from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from bagnet.studies.paper.mistakes import Mistakes
from bagnet.studies.paper.subjects import Material, gather

from .material import findings_of, images_of, noise, saying, small_bagnet
from .planted import detector, folder_of

# Lines that touch a parabola: of 24 t m - 12 t^2 the largest is that of the t nearest to m, of 0, 1/3, 2/3 and 1.
_SLOPES = [24 * k / 3 for k in range(4)]
_BIASES = [-12 * (k / 3) ** 2 for k in range(4)]
# (true class, class nearest to how magenta the image is, class nearest to how red it is)
_CASES = [(0, 1, 1), (0, 1, 2), (0, 1, 0), (3, 2, 1), (3, 2, 2), (3, 1, 1), (1, 1, 1), (2, 2, 3), (1, 3, 3)]


def _by_red(x: Tensor) -> Tensor:
    """What the detector says of magenta, this network says of red."""
    return x[:, :1].mean((2, 3)) * x.new_tensor(_SLOPES) + x.new_tensor(_BIASES)


def _material(folder: Path, cases: list[tuple[int, int, int]]) -> Material:
    levels = [(85 * red, 0, 85 * (2 * magenta - red)) for _, magenta, red in cases]
    pictures = np.array([np.full((17, 17, 3), level) for level in levels]).astype(np.uint8)
    folder.mkdir(exist_ok=True)
    data = images_of(folder / "data.npz", pictures, [label for label, *_ in cases])
    return gather([("bag", detector(_SLOPES, _BIASES)), ("red", saying(_by_red, 4, 17))], data, batch_size=4)


def test_shared_mistakes_are_counted(tmp_path: Path) -> None:
    findings = findings_of(Mistakes(count=2), _material(tmp_path, _CASES), tmp_path)
    numbers = [int(row["image"].rsplit(":")[-1]) for row in findings.rows]
    assert numbers == [8, 0, 1, 3, 4, 5], "the surest, then as the images come"
    for number, row in zip(numbers, findings.rows, strict=True):
        label, answer, compared = (f"class {k}" for k in _CASES[number])
        assert (row["class"], row["bagnet_answer"], row["comparison_answer"]) == (label, answer, compared)
        assert row["agree"] == (answer == compared)
    powers = np.exp(-4 / 3 * np.arange(4.0) ** 2)  # of the distances to the best class
    middle, end = powers[[1, 0, 1, 2]].sum(), powers.sum()
    first, second = findings.rows[:2]
    assert first["bagnet_probability"] == pytest.approx(1 / end, abs=1e-5)
    assert first["comparison_probability_of_class"] == pytest.approx(powers[2] / end, abs=1e-5)
    assert second["comparison_probability"] == pytest.approx(1 / middle, abs=1e-5)
    assert second["bagnet_probability_of_class"] == pytest.approx(powers[1] / middle, abs=1e-5)
    measures = findings.measures
    assert (measures.images, measures.both_wrong) == (9, 6)
    assert measures.share.value == pytest.approx(6 / 9)
    assert measures.agree.value == pytest.approx(4 / 6)
    assert measures.agree_at_random == pytest.approx(1 / 3)
    # Of class 0 one of two pairs of answers to different images agrees, of class 3 two of six; class 1 has no pair.
    assert measures.agree_by_class == pytest.approx((2 * 1 / 2 + 3 * 2 / 6) / 5)
    (sentence,) = findings.sentences
    assert sentence.startswith("bag and red both get 6 of 9 images wrong (66.7 [")
    assert "drawn at random it would be 33.3 %, and 40.0 % if given to different images of one class" in sentence


def test_no_shared_mistake_is_a_result_too(tmp_path: Path) -> None:
    findings = findings_of(Mistakes(), _material(tmp_path, [(1, 1, 1), (3, 3, 3), (0, 1, 0)]), tmp_path)
    assert findings.sentences == ["bag and red get none of 3 images wrong together."]
    assert not findings.figures
    assert findings.rows == []
    assert "bagnet_answer" in findings.columns, "the table has a head all the same"


def test_another_bagnet_takes_the_part_of_the_network(tmp_path: Path) -> None:
    wide = small_bagnet(17, classes=4, kernel3=(1, 1, 1, 0))
    data = images_of(tmp_path / "d.npz", noise(12, 17), [0, 1, 2, 3] * 3)
    models = [("wide", wide), ("narrow", small_bagnet(17, classes=4))]
    findings = findings_of(Mistakes(count=1), gather(models, data), tmp_path)
    assert (findings.measures.bagnet, findings.measures.comparison) == ("narrow", "wide")
    assert findings.sentences[-1] == "No model that sees whole images is named: wide, with windows of 17 px, takes its place."


def test_bad_requests(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="count=0"):
        Mistakes(count=0)
    small = folder_of(tmp_path / "small", {f"class {k}/a": noise(1, 8)[0] for k in range(2)})
    models = [("bag", detector(_SLOPES, _BIASES)), ("red", saying(_by_red, 4, 17))]
    with pytest.raises(ValueError, match=r"none of 2 images can be used: .*too small for windows of 9 pixels"):
        findings_of(Mistakes(), gather(models, small), tmp_path)
