from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from bagnet.data.decode import BadImage
from bagnet.studies.paper.heatmaps import Heatmaps
from bagnet.studies.paper.subjects import gather

from .material import findings_of, images_of, measures_of, noise, saying, small_bagnet
from .planted import black, detector, folder_of


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "heatmaps/heatmaps.csv").open() as file:
        return list(csv.DictReader(file))


def test_maps_of_planted_squares(tmp_path: Path) -> None:
    """One of nine windows is all magenta (10 logits), another half as much: what is said of each class follows."""
    data = folder_of(
        tmp_path / "data",
        {"class 0/plain": black(3, 3, {(0, 0): 51}), "class 1/square": black(3, 3, {(1, 2): 255, (0, 0): 102})},
    )
    network = saying(lambda x: x.mean((2, 3)), 2, 25)
    findings = findings_of(Heatmaps(), gather([("bag", detector()), ("net", network)], data), tmp_path)
    plain, square = _rows(tmp_path)
    assert (plain["class"], plain["answer"], square["class"], square["answer"]) == ("class 0", "class 1", "class 1", "class 1")
    assert float(square["largest"]) == pytest.approx(10, abs=1e-5)
    assert float(square["smallest"]) == 0.0
    assert float(plain["logit"]) == float(plain["largest"]) == 0.0
    for row in (plain, square):
        assert float(row["mean"]) == pytest.approx(float(row["logit"]), abs=1e-6)
    logit = float(square["logit"])
    assert logit > 14 / 9  # the two windows themselves; their neighbours see a little of them
    assert float(square["probability"]) == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-6)
    assert findings.measures.right == {"bag": 1}
    assert list(findings.figures) == ["heatmaps", "heatmaps_official"]


def test_the_official_map_is_the_network_on_a_padded_window_about_every_pixel(tmp_path: Path) -> None:
    """What the published code does, window by window."""
    model = small_bagnet(15)
    pictures = noise(4, 15)
    material = gather([("bag", model)], images_of(tmp_path / "data.npz", pictures, [0, 0, 0, 1]))
    findings_of(Heatmaps(count=2), material, tmp_path)
    rows = _rows(tmp_path)
    assert [row["class"] for row in rows] == ["class 0", "class 1"], "as many classes as there are"
    for row in rows:
        x = F.pad(model.transform(Image.fromarray(pictures[int(row["image"][-1])]))[None], (4, 4, 4, 4))
        windows = x.unfold(2, 9, 1).unfold(3, 9, 1).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
        with torch.inference_mode():
            expected = model(windows)[:, int(row["class_index"])].view(15, 15)
        kept = np.load(tmp_path / "heatmaps" / row["map"])
        np.testing.assert_allclose(kept, expected, atol=2e-6 * float(expected.abs().max()))


def test_without_labels_it_is_the_answer(tmp_path: Path) -> None:
    (data := tmp_path / "images").mkdir()
    for name, level in (("a", 0), ("b", 255)):
        Image.fromarray(black(2, 2, {(0, 1): level})).save(data / f"{name}.png")
    measures = measures_of(Heatmaps(), gather([("bag", detector(biases=(1.0, 0.0)))], data), tmp_path)
    assert [(row["image"], row["class"]) for row in _rows(tmp_path)] == [("a.png", "class 0"), ("b.png", "class 1")]
    assert measures["right"] is None


def test_images_that_cannot_be_shown(tmp_path: Path) -> None:
    data = folder_of(tmp_path / "data", {"class 0/good": black(2, 2), "class 1/small": np.zeros((8, 30, 3), np.uint8)})
    (data / "val/class 1/broken.png").write_bytes(b"no image")
    findings_of(Heatmaps(), gather([("bag", detector())], data), tmp_path)
    errors = {row["image"].rsplit("/", 1)[-1]: row["error"] for row in _rows(tmp_path)}
    assert errors["good.png"] == ""
    assert "too small for windows of 9 pixels" in errors["small.png"]
    assert "broken.png: not an image" in errors["broken.png"]
    (data / "val/class 0/good.png").write_bytes(b"")
    with pytest.raises(BadImage, match="none of 3 images"):
        findings_of(Heatmaps(), gather([("bag", detector())], data), tmp_path / "none")


def test_bad_requests() -> None:
    with pytest.raises(ValueError, match="count=0"):
        Heatmaps.with_options({"count": "0"})
