from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from bagnet.data.labels import BadLabels
from bagnet.studies.paper.mistakes import Mistakes
from bagnet.studies.paper.subjects import Material, gather

from .material import images_of, noise, saying, small_bagnet
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


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "mistakes/mistakes.csv").open() as file:
        return list(csv.DictReader(file))


def test_shared_mistakes_are_counted_and_shown(tmp_path: Path) -> None:
    result = Mistakes(count=2).run(_material(tmp_path, _CASES), tmp_path)
    rows = _rows(tmp_path)
    assert [int(row["image"].rsplit(":")[-1]) for row in rows] == [8, 0, 1, 3, 4, 5], "the surest, then as the images come"
    for row in rows:
        label, own, other = (f"class {k}" for k in _CASES[int(row["image"].rsplit(":")[-1])])
        assert (row["class"], row["bagnet_answer"], row["other_answer"]) == (label, own, other)
        assert row["agree"] == str(own == other)
    powers = np.exp(-4 / 3 * np.arange(4.0) ** 2)  # of the distances to the best class
    middle, end = powers[[1, 0, 1, 2]].sum(), powers.sum()
    first, second = rows[:2]
    assert float(first["bagnet_probability"]) == pytest.approx(1 / end, abs=1e-5)
    assert float(first["other_probability_of_class"]) == pytest.approx(powers[2] / end, abs=1e-5)
    assert float(second["other_probability"]) == pytest.approx(1 / middle, abs=1e-5)
    assert float(second["bagnet_probability_of_class"]) == pytest.approx(powers[1] / middle, abs=1e-5)
    measures = result.record["measures"]
    assert (measures["images"], measures["both_wrong"]) == (9, 6)
    assert measures["share"]["value"] == pytest.approx(6 / 9)
    assert measures["agree"]["value"] == pytest.approx(4 / 6)
    assert measures["agree_by_lot"] == pytest.approx(1 / 3)
    # Of class 0 one of two pairs of answers to different images agrees, of class 3 two of six; class 1 has no pair.
    assert measures["agree_by_class"] == pytest.approx((2 * 1 / 2 + 3 * 2 / 6) / 5)
    assert result.sentences[0].startswith("bag and red both get 6 of 9 images wrong (66.7 [")
    assert "drawn by lot it would be 33.3 %, and 40.0 % if given to different images of one class" in result.sentences[0]
    assert len(result.sentences) == 1
    assert Image.open(result.figures[0]).width > 1000


def test_no_shared_mistake_is_a_result_too(tmp_path: Path) -> None:
    result = Mistakes().run(_material(tmp_path, [(1, 1, 1), (3, 3, 3), (0, 1, 0)]), tmp_path)
    assert result.sentences == ["bag and red get none of 3 images wrong together."]
    assert not result.figures
    assert _rows(tmp_path) == []


def test_another_bagnet_takes_the_part_of_the_network(tmp_path: Path) -> None:
    wide = small_bagnet(17, classes=4, kernel3=(1, 1, 1, 0))
    data = images_of(tmp_path / "d.npz", noise(12, 17), [0, 1, 2, 3] * 3)
    models = [("wide", wide), ("narrow", small_bagnet(17, classes=4))]
    result = Mistakes(count=1).run(gather(models, data), tmp_path)
    measures = result.record["measures"]
    assert (measures["bagnet"], measures["other"]) == ("narrow", "wide")
    assert result.sentences[-1] == "No model that sees whole images is named: wide, with windows of 17 px, takes its place."


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    asked: list[int] = []

    def counted(x: Tensor) -> Tensor:
        asked.append(len(x))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return _by_red(x)

    material = _material(tmp_path, _CASES)
    network = material.subjects[1].model.network
    whole, cut = (tmp_path / name / "mistakes" for name in ("whole", "cut"))
    whole.mkdir(parents=True)
    cut.mkdir(parents=True)
    expected = Mistakes(count=1).find(material, whole).rows
    network.function = counted
    with pytest.raises(KeyboardInterrupt):
        Mistakes(count=1).find(material, cut)
    assert Mistakes(count=1).find(material, cut).rows == expected
    assert asked == [4, 4, 4, 1]


def test_bad_requests(tmp_path: Path) -> None:
    data = images_of(tmp_path / "d.npz", noise(2, 17), [0, 1])
    red, bag = ("red", saying(_by_red, 4, 17)), ("bag", detector(_SLOPES, _BIASES))
    with pytest.raises(ValueError, match="mistakes draws the evidence of windows, which only BagNets have"):
        Mistakes().run(gather([red], data), tmp_path)
    with pytest.raises(ValueError, match="mistakes compares bag with another model: name one more"):
        Mistakes().run(gather([bag], data), tmp_path)
    with pytest.raises(ValueError, match="count=0"):
        Mistakes(count=0)
    small = folder_of(tmp_path / "small", {f"class {k}/a": noise(1, 8)[0] for k in range(2)})
    with pytest.raises(ValueError, match=r"none of 2 images can be used: .*too small for windows of 9 pixels"):
        Mistakes().run(gather([bag, red], small), tmp_path)
    with pytest.raises(BadLabels, match="no labels"):
        Mistakes().run(gather([bag, red], small / "val/class 0"), tmp_path)
