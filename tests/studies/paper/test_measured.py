"""Each model is asked about each image once, whatever happens; what cannot be measured has a row that says why."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from bagnet.data.decode import BadImage
from bagnet.studies.paper.experiment import UNFINISHED
from bagnet.studies.paper.measured import Columns, Failed, Measurements, measured
from bagnet.studies.paper.subjects import Material, Subject, gather

from .material import images_of, noise, saying, small_bagnet, stopping_after, workplace
from .planted import folder_of

SIZE = 9


@dataclass(frozen=True)
class Brightness(Columns):
    class_: str
    value: float


class Measuring:
    """How bright an image is, in two parts, and which images were asked about."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def __call__(self, subject: Subject, row: int, x: Tensor) -> Mapping[str, Brightness | Failed]:
        self.asked.append((subject.name, row))
        if row == 3:
            raise ValueError("too dark")
        upper = Failed("no upper half") if row == 1 else Brightness("up", float(x[..., :4, :].mean()))
        return {"upper": upper, "lower": Brightness("down", float(x[..., 4:, :].mean()))}


def material_of(folder: Path, images: int = 5) -> Material:
    data = images_of(folder / "data.npz", noise(images, SIZE), [0, 1] * (images // 2) + [0] * (images % 2))
    models = [("bag", small_bagnet(SIZE)), ("net", saying(lambda x: x.mean((2, 3)), 3, SIZE))]
    return gather(models, data, batch_size=2)


def run(material: Material, out: Path, measuring: Measuring) -> Measurements[Brightness]:
    with workplace(out) as work:
        return measured(work, material, material.ordered, lambda _: ["upper", "lower"], measuring, Brightness.of_row)


def table(out: Path) -> list[dict[str, str]]:
    with (out / "an_experiment/an_experiment.csv").open() as file:
        return list(csv.DictReader(file))


def test_each_image_of_each_model(tmp_path: Path) -> None:
    material = material_of(tmp_path)
    rows = run(material, tmp_path, measuring := Measuring())
    assert measuring.asked == [(name, row) for name in ("bag", "net") for row in range(5)]
    bag, net = material.ordered
    pixels = noise(5, SIZE) / 255
    assert [row.value for row in rows.of(bag, "lower")] == pytest.approx([pixels[k, 4:].mean() for k in (0, 1, 2, 4)])
    assert [row.value for row in rows.of(net, "upper")] == pytest.approx([pixels[k, :4].mean() for k in (0, 2, 4)])
    written = table(tmp_path)
    assert list(written[0]) == ["model", "image", "part", "class", "value", "error"]
    assert len(written) == 2 * 5 * 2
    assert {(row["image"][-1], row["part"], row["error"].rpartition(": ")[2]) for row in written if row["error"]} == {
        ("1", "upper", "no upper half"),
        ("3", "upper", "too dark"),
        ("3", "lower", "too dark"),
    }


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    material = material_of(tmp_path)
    whole = run(material, tmp_path / "whole", Measuring())
    with pytest.raises(KeyboardInterrupt):
        run(replace(material, progress=stopping_after(4)), tmp_path / "cut", first := Measuring())
    assert len(first.asked) == 5 + 2
    assert run(material, tmp_path / "cut", rest := Measuring()).rows == whole.rows
    assert rest.asked == [("net", 2), ("net", 3), ("net", 4)]
    assert table(tmp_path / "cut") == table(tmp_path / "whole")


def test_images_that_no_part_could_be_measured_of_are_noted(tmp_path: Path) -> None:
    material = material_of(tmp_path)
    names = material.images.names
    with workplace(tmp_path) as work:
        measured(work, material, material.ordered, lambda _: ["upper", "lower"], Measuring(), Brightness.of_row)
        assert work.unusable == {names[3]: f"{names[3]}: too dark"}


def test_unreadable_and_small_images_have_a_row(tmp_path: Path) -> None:
    data = folder_of(
        tmp_path / "set", {"class 0/good": noise(1, 9)[0], "class 0/small": noise(1, 5)[0], "class 1/good": noise(1, 9)[0]}
    )
    (data / "val/class 1/broken.png").write_bytes(b"no image")
    material = gather([("bag", small_bagnet(None))], data)
    rows = run_all_bright(material, tmp_path)
    assert len(rows.rows) == 2
    errors = {Path(row["image"]).name: row["error"] for row in table(tmp_path) if row["error"]}
    assert "too small for windows of 9 pixels" in errors["small.png"]
    assert "broken.png: not an image" in errors["broken.png"]


def run_all_bright(material: Material, out: Path) -> Measurements[Brightness]:
    def measure(subject: Subject, row: int, x: Tensor) -> Mapping[str, Brightness]:
        return {"whole": Brightness("any", float(x.mean()))}

    with workplace(out) as work:
        return measured(work, material, material.ordered, lambda _: ["whole"], measure, Brightness.of_row)


def test_where_nothing_could_be_measured_nothing_is_kept(tmp_path: Path) -> None:
    def refuse(*_: Any) -> Mapping[str, Brightness]:
        raise ValueError("no such thing")

    material = material_of(tmp_path)
    with workplace(tmp_path) as work, pytest.raises(BadImage, match=r"none of 10 images can be used: .*: no such thing"):
        measured(work, material, material.ordered, lambda _: ["whole"], refuse, Brightness.of_row)
    assert not (tmp_path / "an_experiment" / UNFINISHED).exists()


def test_columns_are_fields() -> None:
    row = Brightness("up", 0.5).to_row()
    assert row == {"class": "up", "value": 0.5}
    assert Brightness.of_row({**row, "model": "bag"}) == Brightness("up", 0.5)
    assert np.isnan(Brightness.of_row({"class": "up", "value": float("nan")}).value)
