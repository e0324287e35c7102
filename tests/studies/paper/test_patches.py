from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bagnet.data.decode import BadImage
from bagnet.data.names import UnknownClass
from bagnet.progress import Progress
from bagnet.runs.store import OtherRun
from bagnet.studies.paper.experiment import UNFINISHED
from bagnet.studies.paper.patches import Patches
from bagnet.studies.paper.subjects import gather

from .material import findings_of, images_of, noise, small_bagnet, stopping_after
from .planted import black, detector, folder_of


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
    findings = findings_of(Patches(count=2), gather([("bag", detector())], data, batch_size=3), tmp_path)
    rows = {(row["class"], row["kind"], row["rank"]): row for row in findings.rows}
    assert len(rows) == 8
    expected = {
        ("class 1", "in_class", 1): ("b.png", 3, 1, 8.0, (8, 24, 17, 33), "class 1"),
        ("class 1", "in_class", 2): ("a.png", 0, 0, 6.0, (0, 0, 9, 9), "class 1"),
        ("class 1", "elsewhere", 1): ("e.png", 0, 2, 10.0, (16, 0, 25, 9), "class 0"),
        ("class 1", "elsewhere", 2): ("d.png", 1, 1, 2.0, (8, 8, 17, 17), "class 0"),
        # A slope of zero: all windows say 0, and the first of the first images stay.
        ("class 0", "in_class", 1): ("d.png", 0, 0, 0.0, (0, 0, 9, 9), "class 0"),
        ("class 0", "in_class", 2): ("e.png", 0, 0, 0.0, (0, 0, 9, 9), "class 0"),
        ("class 0", "elsewhere", 1): ("a.png", 0, 0, 0.0, (0, 0, 9, 9), "class 1"),
        ("class 0", "elsewhere", 2): ("b.png", 0, 0, 0.0, (0, 0, 9, 9), "class 1"),
    }
    for key, (image, row, column, logit, box, label) in expected.items():
        window = rows[key]
        assert (window["image"].rsplit("/", 1)[-1], window["row"], window["column"]) == (image, row, column), key
        assert window["logit"] == pytest.approx(logit, abs=1e-5)
        assert tuple(window[edge] for edge in ("left", "top", "right", "bottom")) == box
        assert window["label"] == label
    assert findings.measures.strongest_in_class["bag"].value == 0.0
    assert findings.measures.windows == 8


def test_it_is_what_all_maps_say(tmp_path: Path) -> None:
    """Against the sorted maxima of all maps, with lively weights; and whatever the batches."""
    model = small_bagnet(25, classes=4)
    pictures = noise(23, 25)
    labels = [row % 4 for row in range(23)]
    data = images_of(tmp_path / "d.npz", pictures, labels)
    with torch.inference_mode():
        maps = model.evidence(torch.stack([model.transform(Image.fromarray(picture)) for picture in pictures])).numpy()
    for batch_size in (5, 23):
        material = gather([("bag", model)], data, batch_size=batch_size)
        rows = findings_of(Patches(count=3, shown=1), material, tmp_path / str(batch_size)).rows
        for label in range(4):
            for kind, images in (
                ("in_class", [row for row in range(23) if labels[row] == label]),
                ("elsewhere", [row for row in range(23) if labels[row] != label]),
            ):
                best = sorted(images, key=lambda row: -maps[row, label].max())[:3]
                listed = [row for row in rows if (row["class"], row["kind"]) == (f"class {label}", kind)]
                assert [int(row["image"].rsplit(":")[-1]) for row in listed] == best
                for number, row in zip(best, listed, strict=True):
                    cell = int(maps[number, label].argmax())
                    assert (row["row"], row["column"]) == divmod(cell, 3)
                    assert row["logit"] == pytest.approx(float(maps[number, label].max()), rel=1e-5)


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    """What the first batch gave is kept, and no image is looked at twice, also where other classes are shown."""
    data = images_of(tmp_path / "d.npz", noise(5, 17), [0, 1, 2, 0, 1])
    material = gather([("bag", small_bagnet(17))], data, batch_size=2)
    whole = findings_of(Patches(count=2), material, tmp_path / "whole").rows
    with pytest.raises(KeyboardInterrupt):
        findings_of(Patches(count=2), replace(material, progress=stopping_after(2)), tmp_path / "cut")
    told: list[Progress] = []
    findings = findings_of(Patches(count=2), replace(material, progress=told.append), tmp_path / "cut")
    assert findings.rows == whole
    assert [progress.done for progress in told if progress.stage == "bag"] == [5]
    told.clear()
    findings_of(Patches(count=2, named=("class 2",)), replace(material, progress=told.append), tmp_path / "cut")
    assert [progress.stage for progress in told if progress.stage == "bag"] == []


def test_a_beginning_with_other_settings_is_not_replaced_unasked(tmp_path: Path) -> None:
    data = images_of(tmp_path / "d.npz", noise(4, 17), [0, 1, 2, 0])
    material = gather([("bag", small_bagnet(17))], data, batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        Patches().run(replace(material, progress=stopping_after(2)), tmp_path)
    (kept,) = (tmp_path / "patches" / UNFINISHED).glob("*.npz")
    before = kept.read_bytes()
    with pytest.raises(OtherRun, match="count 8 instead of 2"):
        Patches(count=2).run(material, tmp_path)
    assert kept.read_bytes() == before


def test_images_that_cannot_be_used(tmp_path: Path) -> None:
    """They have rows of their own, and the others are as they would be without them."""
    images = {"class 0/a": black(2, 2), "class 0/b": np.zeros((8, 30, 3), np.uint8), "class 1/c": black(2, 2, {(0, 1): 255})}
    data = folder_of(tmp_path / "data", images)
    (data / "val/class 1/d.png").write_bytes(b"no image")
    findings = findings_of(Patches(), gather([("bag", detector())], data, batch_size=2), tmp_path)
    errors = {row["image"].rsplit("/", 1)[-1]: row["error"] for row in findings.rows if "error" in row}
    assert "too small for windows of 9 pixels" in errors["b.png"]
    assert "d.png: not an image" in errors["d.png"]
    assert [(row["class"], row["kind"]) for row in findings.rows if "error" not in row] == [
        ("class 0", "in_class"),
        ("class 0", "elsewhere"),
        ("class 1", "in_class"),
        ("class 1", "elsewhere"),
    ]
    assert (findings.measures.unusable, findings.measures.windows) == ({"bag": 2}, 4)
    for name in ("class 0/a", "class 1/c"):
        (data / f"val/{name}.png").write_bytes(b"")
    with pytest.raises(BadImage, match="none of 4 images can be used: "):
        findings_of(Patches(), gather([("bag", detector())], data), tmp_path / "none")


def test_bad_requests(tmp_path: Path) -> None:
    material = gather([("bag", small_bagnet(9))], images_of(tmp_path / "d.npz", noise(2, 9), [0, 1]))
    with pytest.raises(UnknownClass, match="'cat'"):
        Patches.with_options({"named": "class 1, cat"}).check(material)
    with pytest.raises(ValueError, match="shown=0"):
        Patches(shown=0)
