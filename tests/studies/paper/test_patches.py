from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from bagnet.data.decode import BadImage
from bagnet.data.labels import BadLabels
from bagnet.data.names import UnknownClass
from bagnet.model import BagNet
from bagnet.studies.paper.patches import Patches
from bagnet.studies.paper.subjects import gather

from .material import images_of, noise, saying, small_bagnet
from .planted import black, detector, folder_of


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "patches/patches.csv").open() as file:
        return list(csv.DictReader(file))


def test_planted_windows_are_found(tmp_path: Path) -> None:
    """Squares of known strength in images of several sizes: which are the strongest, where, and in which order."""
    data = folder_of(
        tmp_path / "data",
        {
            "class 0/d": black(2, 2, {(1, 1): 51}),
            "class 0/e": black(2, 4, {(0, 2): 255, (1, 0): 204}),
            "class 1/a": black(3, 3, {(1, 2): 102, (0, 0): 153}),
            "class 1/b": black(4, 2, {(3, 1): 204}),
            "class 1/c": black(2, 2),
        },
    )
    result = Patches(count=2).run(gather([("bag", detector())], data, batch_size=3), tmp_path)
    rows = {(row["class"], row["kind"], int(row["rank"])): row for row in _rows(tmp_path)}
    assert len(rows) == 8
    expected = {
        ("class 1", "own", 1): ("b.png", 3, 1, 8.0, (8, 24, 17, 33), "class 1"),
        ("class 1", "own", 2): ("a.png", 0, 0, 6.0, (0, 0, 9, 9), "class 1"),
        ("class 1", "other", 1): ("e.png", 0, 2, 10.0, (16, 0, 25, 9), "class 0"),
        ("class 1", "other", 2): ("d.png", 1, 1, 2.0, (8, 8, 17, 17), "class 0"),
        # A slope of zero: all windows say 0, and the first of the first images stay.
        ("class 0", "own", 1): ("d.png", 0, 0, 0.0, (0, 0, 9, 9), "class 0"),
        ("class 0", "own", 2): ("e.png", 0, 0, 0.0, (0, 0, 9, 9), "class 0"),
        ("class 0", "other", 1): ("a.png", 0, 0, 0.0, (0, 0, 9, 9), "class 1"),
        ("class 0", "other", 2): ("b.png", 0, 0, 0.0, (0, 0, 9, 9), "class 1"),
    }
    for key, (image, row, column, logit, box, label) in expected.items():
        found = rows[key]
        assert (found["image"].rsplit("/", 1)[-1], int(found["row"]), int(found["column"])) == (image, row, column), key
        assert float(found["logit"]) == pytest.approx(logit, abs=1e-5)
        assert tuple(int(found[edge]) for edge in ("left", "top", "right", "bottom")) == box
        assert found["label"] == label
    measures = result.record["measures"]
    assert measures["own_class_first"]["bag"]["value"] == 0.0
    assert measures["windows"] == 8
    assert Image.open(result.figures[0]).width > 400


def test_it_is_what_all_maps_say(tmp_path: Path) -> None:
    """Against the sorted maxima of all maps, with lively weights; and whatever the batches."""
    model = small_bagnet(25, classes=4)
    pictures = noise(23, 25)
    labels = [row % 4 for row in range(23)]
    data = images_of(tmp_path / "d.npz", pictures, labels)
    with torch.inference_mode():
        maps = model.evidence(torch.stack([model.transform(Image.fromarray(one)) for one in pictures])).numpy()
    for batch_size in (5, 23):
        out = tmp_path / str(batch_size)
        Patches(count=3, shown=1).run(gather([("bag", model)], data, batch_size=batch_size), out)
        rows = _rows(out)
        for label in range(4):
            for kind, images in (
                ("own", [row for row in range(23) if labels[row] == label]),
                ("other", [row for row in range(23) if labels[row] != label]),
            ):
                best = sorted(images, key=lambda row: -maps[row, label].max())[:3]
                found = [row for row in rows if (row["class"], row["kind"]) == (f"class {label}", kind)]
                assert [int(row["image"].rsplit(":")[-1]) for row in found] == best
                for place, row in zip(best, found, strict=True):
                    cell = int(maps[place, label].argmax())
                    assert (int(row["row"]), int(row["column"])) == divmod(cell, 3)
                    assert float(row["logit"]) == pytest.approx(float(maps[place, label].max()), rel=1e-5)


def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    original = BagNet.features

    def counted(self: BagNet, x: Tensor) -> Tensor:
        asked.append(len(x))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return original(self, x)

    model = small_bagnet(17)
    data = images_of(tmp_path / "d.npz", noise(10, 17), [0, 1, 2, 0, 1] * 2)
    material = gather([("bag", model)], data, batch_size=3)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    expected = Patches(count=2).find(material, whole).rows
    monkeypatch.setattr(BagNet, "features", counted)
    with pytest.raises(KeyboardInterrupt):
        Patches(count=2).find(material, cut)
    assert Patches(count=2).find(material, cut).rows == expected
    assert asked == [3, 3, 3, 3, 1], "the batch that was cut short, and the rest"
    Patches(count=2, named=("class 2",)).find(material, cut)
    assert len(asked) == 5, "other classes can be shown without another pass"
    Patches(count=3).find(material, cut)
    assert sum(asked[5:]) == 10, "more windows need one"


def test_images_that_cannot_be_used(tmp_path: Path) -> None:
    """They have rows of their own, in an interrupted run too, and the others are as they would be without them."""
    images = {"class 0/a": black(2, 2), "class 0/b": np.zeros((8, 30, 3), np.uint8), "class 1/c": black(2, 2, {(0, 1): 255})}
    data = folder_of(tmp_path / "data", images)
    (data / "val/class 1/d.png").write_bytes(b"no image")
    result = Patches().run(gather([("bag", detector())], data, batch_size=2), tmp_path)
    rows = _rows(tmp_path)
    errors = {row["image"].rsplit("/", 1)[-1]: row["error"] for row in rows if row["error"]}
    assert "too small for windows of 9 pixels" in errors["b.png"]
    assert "d.png: not an image" in errors["d.png"]
    assert [(row["class"], row["kind"]) for row in rows if not row["error"]] == [
        ("class 0", "own"),
        ("class 0", "other"),
        ("class 1", "own"),
        ("class 1", "other"),
    ]
    measures = result.record["measures"]
    assert (measures["unusable"], measures["windows"]) == ({"bag": 2}, 4)
    for name in ("class 0/a", "class 1/c"):
        (data / f"val/{name}.png").write_bytes(b"")
    with pytest.raises(BadImage, match="none of 4 images can be used: "):
        Patches().run(gather([("bag", detector())], data), tmp_path / "none")


def test_bad_requests(tmp_path: Path) -> None:
    def answer(x: Tensor) -> Tensor:
        return x.mean((2, 3))

    data = images_of(tmp_path / "d.npz", noise(2, 9), [0, 1])
    with pytest.raises(ValueError, match="patches draws the evidence of windows, which only BagNets have"):
        Patches().run(gather([("net", saying(answer, 3, 9))], data), tmp_path)
    material = gather([("bag", small_bagnet(9))], data)
    with pytest.raises(UnknownClass, match="'cat'"):
        Patches.with_options({"named": "class 1, cat"}).run(material, tmp_path)
    with pytest.raises(ValueError, match="shown=0"):
        Patches(shown=0)
    folder = folder_of(tmp_path, {"class 0/a": noise(1, 9)[0]}) / "val/class 0"
    with pytest.raises(BadLabels, match="no labels"):
        Patches().run(gather([("bag", small_bagnet(9))], folder), tmp_path)
