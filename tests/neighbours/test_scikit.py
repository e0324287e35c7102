"""scikit-learn's own tools on images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score

import bagnet
from bagnet.bag import BagOfFeatures
from bagnet.data.decode import BadImage
from bagnet.data.transforms import Preprocessing
from bagnet.neighbours.scikit import ImageClassifier


@pytest.fixture(params=["bagnet", "windowed"])
def model(request: pytest.FixtureRequest) -> BagOfFeatures:
    torch.manual_seed(0)
    if request.param == "windowed":
        network = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
        )
        return bagnet.windowed(torch.nn.Sequential(network, torch.nn.Linear(8, 3)), 12, 12, scale=36, classes=["a", "b", "c"])
    network = bagnet.create(kernel3=(1, 1, 0, 0), layers=(1, 1, 1, 1), width=4, num_classes=3)
    assert network.card is not None
    network.card = replace(network.card, preprocessing=Preprocessing(40, None))
    return network.eval()


@pytest.fixture
def images() -> tuple[NDArray[np.uint8], NDArray[np.str_]]:
    """Of three colours, with noise."""
    random = np.random.default_rng(0)
    labels = np.array(["red", "green", "blue"] * 10)
    pixels = random.integers(0, 120, (30, 40, 44, 3), dtype=np.uint8)
    for row, label in enumerate(labels):
        pixels[row, ..., ["red", "green", "blue"].index(label)] += 90
    return pixels, labels


def test_it_learns_and_explains(model: BagOfFeatures, images: tuple[NDArray[np.uint8], NDArray[np.str_]]) -> None:
    pixels, labels = images
    classifier = ImageClassifier(model, folds=3, workers=0).fit(pixels[:18], labels[:18])
    assert classifier.classes_.tolist() == ["blue", "green", "red"]
    assert (classifier.predict(pixels[18:]) == labels[18:]).mean() >= 0.8  # by chance a third
    shares = classifier.predict_proba(pixels[18:])
    np.testing.assert_allclose(shares.sum(1), 1)
    evidence = bagnet.explain(classifier.model_, pixels[20])
    assert evidence.top(1)[0].name == classifier.predict(pixels[20:21])[0]
    np.testing.assert_allclose(evidence.logits, classifier.decision_function(pixels[20:21])[0], atol=1e-4)


def test_scikit_learns_tools(model: BagOfFeatures, images: tuple[NDArray[np.uint8], NDArray[np.str_]], tmp_path: Path) -> None:
    pixels, labels = images
    scores = cross_val_score(ImageClassifier(model, penalty=0.1, workers=0), pixels, labels, cv=3)
    assert scores.mean() >= 0.8
    paths = []
    for row, picture in enumerate(pixels[:12]):
        Image.fromarray(picture).save(tmp_path / f"{row}.png")
        paths.append(tmp_path / f"{row}.png")
    search = GridSearchCV(ImageClassifier(model, workers=0), {"penalty": [0.1, 1.0]}, cv=2).fit(paths, labels[:12])
    assert search.best_score_ >= 0.8
    assert clone(search.best_estimator_).get_params()["penalty"] in (0.1, 1.0)


def test_refusals(model: BagOfFeatures, images: tuple[NDArray[np.uint8], NDArray[np.str_]], tmp_path: Path) -> None:
    pixels, labels = images
    classifier = ImageClassifier(model, folds=3, workers=0)
    with pytest.raises(NotFittedError):
        classifier.predict(pixels)
    with pytest.raises(ValueError, match=r"labels of shape \(29,\) for 30 images"):
        classifier.fit(pixels, labels[:-1])
    with pytest.raises(ValueError, match="needs two classes"):
        classifier.fit(pixels[:3], ["a"] * 3)
    with pytest.raises(ValueError, match=r"images are \(N, H, W, channels\) uint8"):
        classifier.fit(pixels[0], labels)
    with pytest.raises(ValueError, match="or a list of paths"):
        classifier.fit("folder", labels)
    (tmp_path / "bad.png").write_bytes(b"no")
    Image.fromarray(pixels[0]).save(tmp_path / "good.png")
    with pytest.raises(BadImage, match=r"bad\.png"):
        classifier.fit([tmp_path / "bad.png", tmp_path / "good.png"], ["a", "b"])
