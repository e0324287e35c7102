"""A new head on features that do not change: what it learns, what it says of itself, and what it refuses."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import bagnet
from bagnet.bag import BagOfFeatures
from bagnet.data.labels import BadLabels
from bagnet.data.transforms import Preprocessing
from bagnet.runs.store import OtherRun
from bagnet.runs.sweep import NotANumber
from bagnet.training.probe import Probe, probe
from bagnet.training.result import Run
from bagnet.zoo.windowed import windowed

from .conftest import PREPROCESSING, plain, textures

NETWORK = "tests.training.conftest:plain"


@pytest.fixture(scope="session")
def start() -> BagOfFeatures:
    """Random weights, whose features tell textures apart all the same; windows of 9 px every 4."""
    torch.manual_seed(0)
    model = windowed(NETWORK, 9, 4)
    assert model.card is not None
    model.card = replace(model.card, preprocessing=replace(PREPROCESSING, crop=None))
    return model.eval()


@pytest.fixture(autouse=True)
def _without_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its charts take longer than the rest; see `test_report.py`."""
    monkeypatch.setattr("bagnet.training.probe.probe_report", lambda *_: None)


@pytest.fixture(scope="session")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 images to train on, of unequally common classes, and 30 to measure on."""
    path = tmp_path_factory.mktemp("split") / "textures.npz"
    (images, labels), (val, val_labels) = textures(150, 0), textures(30, 1)
    kept = np.sort(np.concatenate([np.flatnonzero(labels == label)[:count] for label, count in enumerate((40, 10, 10))]))
    np.savez(path, train_images=images[kept], train_labels=labels[kept], val_images=val, val_labels=val_labels)
    return path


def probed(start: BagOfFeatures, split: Path, out: Path, **options: Any) -> Run:
    return probe(start, split, out, tag="textures", command="bagnet train textures --probe", **options)


def test_a_probe_is_a_model_like_any_other(start: BagOfFeatures, split: Path, tmp_path: Path) -> None:
    before = start.weights_digest
    run = probed(start, split, tmp_path / "out")
    assert start.weights_digest == before
    assert run.evaluation is not None
    assert run.cross_validation is not None
    assert run.evaluation.balanced_accuracy > 0.95
    assert run.cross_validation.balanced_accuracy > 0.9
    assert (run.evaluation.images, run.cross_validation.images) == (30, 60)
    card = run.card
    assert (card.name, card.trained_on) == ("windowed9s4.textures", "textures.npz")
    assert "features of windowed9s4" in card.notes
    assert [score.data for score in card.scores] == ["textures.npz val", "textures.npz train, cross-validated in 5 folds"]
    assert [score.images for score in card.scores] == [30, 60]
    assert card.scores[0].top1 == 100 * run.evaluation.top(1)
    assert card.more["recipe"]["probe"] is True
    again = bagnet.load(run.path, trust=[NETWORK])
    assert again.card == card
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    evidence = bagnet.explain(again, image)
    assert evidence.values.mean((1, 2)) == pytest.approx(evidence.logits, abs=1e-5)
    with (tmp_path / "out/log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["window"], row["stride"]) for row in rows] == [("9", "4")] * 11
    assert sum(int(row["chosen"]) for row in rows) == 1


def test_labels_that_look_wrong_by_cross_validation(start: BagOfFeatures, split: Path, tmp_path: Path) -> None:
    with np.load(split) as arrays:
        flipped = dict(arrays)
    flipped["train_labels"][7] = (flipped["train_labels"][7] + 1) % 3
    np.savez(tmp_path / "flipped.npz", **flipped)
    probed(start, tmp_path / "flipped.npz", tmp_path / "out")
    with (tmp_path / "out/suspicious_labels.csv").open() as file:
        first = next(csv.DictReader(file))
    assert first["image"] == "flipped.npz train:7"


def test_the_head_is_the_logistic_regression_on_mean_features(start: BagOfFeatures, split: Path, tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    run = probed(start, split, tmp_path / "out")
    with np.load(split) as arrays:
        images, labels = arrays["train_images"], arrays["train_labels"]
    with torch.inference_mode():
        features = start.features(start.transform.normalise(torch.from_numpy(images).permute(0, 3, 1, 2))).mean((2, 3)).numpy()
    scaled = (features - features.mean(0)) / features.std(0)
    penalty = run.card.more["recipe"]["penalty"]
    theirs = LogisticRegression(C=1 / (60 * penalty), class_weight="balanced", tol=1e-10, max_iter=10_000).fit(scaled, labels)
    logits = run.model.head(torch.from_numpy(features)).detach().numpy()
    assert logits - logits.mean(1, keepdims=True) == pytest.approx(theirs.decision_function(scaled), abs=0.02), "float16 weights"


def test_features_are_kept_for_other_heads(start: BagOfFeatures, split: Path, tmp_path: Path) -> None:
    first = probed(start, split, tmp_path)
    kept = [path.stat().st_mtime_ns for path in tmp_path.glob("features/*/vectors.npy")]
    assert probed(start, split, tmp_path).model.weights_digest == first.model.weights_digest
    ordinal = probed(start, split, tmp_path, kind="ordinal")
    assert [path.stat().st_mtime_ns for path in tmp_path.glob("features/*/vectors.npy")] == kept
    weight = ordinal.model.fc.weight
    assert torch.equal(weight[0], -weight[2])
    with pytest.raises(OtherRun, match="holds a run with other weights to start from"):
        probed(windowed(NETWORK, 9, 4, scale=20), split, tmp_path)


def test_the_best_windows_are_kept(start: BagOfFeatures, split: Path, tmp_path: Path) -> None:
    """Of 3 px a window sees no more than one value of the first convolution: less than of 9."""
    run = probed(start, split, tmp_path, windows=(3, 9), stride=3)
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    best = min(rows, key=lambda row: float(row["loss"]))
    assert int(best["chosen"]) == 1
    assert run.model.geometry == bagnet.Geometry(int(best["window"]), 3)
    assert {row["window"] for row in rows} == {"3", "9"}


def test_scale(start: BagOfFeatures, split: Path, tmp_path: Path) -> None:
    run = probed(start, split, tmp_path, windows=(12,), scale=24)
    assert run.card.preprocessing.resize == 24
    assert run.model.geometry == bagnet.Geometry(12, 6)
    assert Probe(scale="native").candidates(run.model)[0].transform.resize is None


def test_questions(start: BagOfFeatures, split: Path, tmp_path: Path) -> None:
    run = probed(start, split, tmp_path, kind="sigmoid")
    assert run.card.multilabel
    assert run.card.scores == ()
    assert run.evaluation is not None
    assert run.evaluation.mean_average_precision > 0.95


def grouped(tmp_path: Path, groups: int) -> Path:
    """24 images of two textures, one after the other from groups."""
    from PIL import Image

    images, labels = textures(36, 0)
    rows = ["image,part"]
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        if label < 2:
            folder = tmp_path / "data" / "ab"[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{number}.png")
            rows.append(f"{number},{number // 3 % groups}")
    (tmp_path / "data.csv").write_text("\n".join(rows))
    return tmp_path / "data"


def test_groups(start: BagOfFeatures, tmp_path: Path) -> None:
    run = probed(start, grouped(tmp_path, 6), tmp_path / "out", group="part")
    assert run.cross_validation is not None
    assert run.cross_validation.balanced_accuracy > 0.9
    assert run.card.more["recipe"]["group"] == "part"
    assert run.cross_validation is not None
    assert (run.cross_validation.independent, run.cross_validation.images) == (6, 24)
    with pytest.raises(BadLabels, match="class a has 1 group, fewer than 5 folds"):
        probed(start, grouped(tmp_path, 1), tmp_path / "none", group="part")
    assert not (tmp_path / "none").exists()


def test_what_is_refused(start: BagOfFeatures, split: Path, tmp_path: Path) -> None:
    def refused(message: str, model: BagOfFeatures = start, error: type[Exception] = ValueError, **options: Any) -> None:
        with pytest.raises(error, match=message):
            probed(model, split, tmp_path / "refused", **options)

    refused("a probe has no option 'epochs': there are windows, stride", epochs=3)
    refused("windows are named twice: 9, 9", windows=(9, 9))
    refused("two folds at least, got 1", folds=1)
    refused(r"class 1 has 10 images, fewer than 11 folds", folds=11)
    refused("scale must be 'native' or at least as many pixels as a window, 30, got 20", windows=(30,), scale=20)
    refused("none of 60 images can be used: .* too small for windows of 30 pixels", windows=(30,))
    refused("no CSV says what the images belong to in a column 'patient'", group="patient")
    refused("there is no runtime 'fast'", windows=(9,), runtime="fast")
    pooled = nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    headless = windowed(pooled, 9, preprocessing=Preprocessing(20, None))
    refused("its network has no linear head, so that there are no features", headless)
    broken = windowed(plain(), 9, preprocessing=replace(PREPROCESSING, crop=None))
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    refused("makes numbers of it that are not finite", broken, NotANumber)


def test_no_output_among_the_classes(start: BagOfFeatures, tmp_path: Path) -> None:
    data = grouped(tmp_path, 6)
    with pytest.raises(ValueError, match="lies among the images"):
        probed(start, data, data / "out")
