"""Maps made by hand have known winners above a threshold; a detector with known evidence has a known accuracy."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bagnet.data.decode import BadImage
from bagnet.data.names import ClassNames
from bagnet.model import BagNet
from bagnet.progress import Progress
from bagnet.runs.sweep import NotANumber
from bagnet.studies.paper.subjects import gather
from bagnet.studies.paper.thresholds import Thresholds, ranks

from ...evidence.detector import magenta_detector
from .material import findings_of, images_of, measures_of, noise, plain, prepared_by, small_bagnet, stopping_after

SIZE = 33
MAGENTA, GREEN = (255, 0, 255), (0, 255, 0)


def ranks_of(levels: list[float], label: int) -> list[int]:
    """Of one class among three at four windows, with means 1, 0.75 and 0.25."""
    values = torch.tensor([[4.0, 0, 0, 0], [1, 1, 1, 0], [-8, 3, 3, 3]], dtype=torch.float64)
    return ranks(values, levels, label).tolist()


def test_a_threshold_below_everything_clips_nothing() -> None:
    for label in range(3):
        whole, clipped, binarised = ranks_of([-8.5], label)
        assert whole == clipped == label
        assert binarised == label, "all are 1: of equal logits the first counts as the best"


def test_winners_by_hand() -> None:
    # Clipped at 0: 1, 0.75, 2.25. Binarised: 1/4, 3/4, 3/4. At 2 clipped: 2.5, 2, 2.75; binarised: 1/4, 0, 3/4.
    assert ranks_of([0.0, 2.0], 0) == [0, 1, 1, 2, 1]
    assert ranks_of([0.0, 2.0], 1) == [1, 2, 2, 0, 2]
    assert ranks_of([0.0, 2.0], 2) == [2, 0, 0, 1, 0]
    # At 3 clipped: 3.25, 3, 3; binarised: 1/4, 0, 0, as what is equal to the threshold is not above it.
    assert ranks_of([3.0], 1) == [1, 1, 1]
    assert ranks_of([3.0], 2) == [2, 2, 2]


def detector() -> BagNet:
    """Evidence of "nothing" is 0 everywhere; of "magenta" it is -2 where a window has none, and 8 where it has nothing else."""
    model = magenta_detector(9)
    with torch.no_grad():
        model.fc.bias[1] = -2.0
    assert model.card is not None
    model.card = replace(model.card, classes=ClassNames.numbered(2), preprocessing=plain(SIZE))
    return model.eval()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three of green with a little magenta, which is their class, and three of green only."""
    pixels = np.full((6, SIZE, SIZE, 3), GREEN, np.uint8)
    pixels[:3, :9, :9] = MAGENTA
    return images_of(tmp_path / "images.npz", pixels, [1, 1, 1, 0, 0, 0])


def accuracies(model: BagNet, images: Path, out: Path, percentiles: tuple[float, ...]) -> dict[str, Any]:
    (result,) = measures_of(Thresholds(percentiles), gather([("it", model)], images), out)["models"]
    return dict(result)


def test_a_detector_of_known_evidence(images: Path, tmp_path: Path) -> None:
    result = accuracies(detector(), images, tmp_path / "out", (0.0, 75.0, 100.0))
    lowest, middle, highest = result["thresholds"]
    assert [lowest["threshold"], middle["threshold"]] == pytest.approx([-2, 0], abs=1e-5)
    assert highest["threshold"] == pytest.approx(8, abs=1e-5)
    assert result["unchanged"]["top1"]["value"] == 0.5, "one window of sixteen does not outweigh the others"
    assert lowest["clipped"]["top1"]["value"] == 0.5, "nothing is below the lowest"
    assert middle["clipped"]["top1"]["value"] == 1, "what speaks against it counts no more; of equal ones the first is right"
    assert middle["binarised"]["top1"]["value"] == 1
    assert highest["clipped"]["top1"]["value"] == highest["binarised"]["top1"]["value"] == 0.5, "all are equal"
    assert result["unchanged"]["top5"] is None, "of two classes"


def test_an_interrupted_run_goes_on(images: Path, tmp_path: Path) -> None:
    """With the same thresholds, and what was measured is not measured again."""
    material = gather([("it", detector())], images, batch_size=1)
    with pytest.raises(KeyboardInterrupt):
        measures_of(Thresholds((75.0,)), replace(material, progress=stopping_after(6 + 4)), tmp_path / "cut")
    told: list[Progress] = []
    findings = findings_of(Thresholds((75.0,)), replace(material, progress=told.append), tmp_path / "cut")
    assert [progress.done for progress in told if progress.stage == "it"] == [5, 6]
    assert findings.measures == findings_of(Thresholds((75.0,)), material, tmp_path / "whole").measures
    with (tmp_path / "cut/thresholds/thresholds.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["rank clipped at 75 %"] for row in rows] == ["0"] * 6
    assert [row["rank"] for row in rows] == ["1"] * 3 + ["0"] * 3


def test_batches_do_not_matter(tmp_path: Path) -> None:
    data = images_of(tmp_path / "noise.npz", noise(5, SIZE), [0, 1, 2, 0, 1])
    model = small_bagnet(SIZE)
    result = []
    for size in (1, 4):
        material = gather([("it", model)], data, batch_size=size)
        result.append(findings_of(Thresholds((10.0, 50.0)), material, tmp_path / str(size)).measures)
    assert result[0] == result[1]


def test_what_does_not_suit_is_said(images: Path, tmp_path: Path) -> None:
    for percentiles in ((50.0, 101.0), ()):
        with pytest.raises(ValueError, match="between 0 and 100"):
            Thresholds(percentiles)
    small = images_of(tmp_path / "small.npz", np.zeros((2, 5, 5, 3), np.uint8), [0, 1])
    tiny = prepared_by(detector(), plain(None))
    with pytest.raises(BadImage, match=r"small\.npz.*5 x 5 pixels .* too small for windows of 9 pixels"):
        findings_of(Thresholds(), gather([("it", tiny)], small), tmp_path)
    broken = detector()
    with torch.no_grad():
        broken.fc.bias[1] = torch.nan
    with pytest.raises(NotANumber, match="it answers with evidence that is not finite"):
        findings_of(Thresholds(), gather([("it", broken)], images), tmp_path)
