"""What an experiment lacks is said in one sentence, before it begins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from bagnet.data.labels import BadLabels
from bagnet.studies.paper.needs import Needs
from bagnet.studies.paper.subjects import Material, gather

from .material import images_of, noise, plain, prepared_by, saying, small_bagnet


@pytest.fixture
def network(tmp_path: Path) -> Material:
    """One that sees the whole image."""
    data = images_of(tmp_path / "images.npz", noise(2, 9), [0, 1])
    return gather([("network", saying(lambda x: x.mean((2, 3)), 3, 9))], data)


@pytest.fixture
def bagnet(network: Material) -> Material:
    model = prepared_by(small_bagnet(9), replace(plain(9), mean=(0.0, 0.0), std=(1.0, 1.0)))
    (subject,) = network.subjects
    return replace(network, subjects=(replace(subject, name="bag", model=model),))


def test_nothing_but_a_model_and_images_is_needed_by_default(network: Material) -> None:
    Needs().check("it", network)


def test_labels(tmp_path: Path) -> None:
    Image.fromarray(noise(1, 9)[0]).save(tmp_path / "a.png")
    unlabelled = gather([("bag", small_bagnet(9))], tmp_path)
    Needs().check("it", unlabelled)
    with pytest.raises(BadLabels, match=f"{tmp_path.name}: has no labels, which are needed: give a folder"):
        Needs(labels=True).check("it", unlabelled)


def test_evidence(network: Material, bagnet: Material) -> None:
    Needs(bagnets=True).check("it", bagnet)
    with pytest.raises(ValueError, match="it needs the evidence of windows, which only BagNets have: name one among the models"):
        Needs(bagnets=True).check("it", network)


def test_several_models(network: Material, bagnet: Material) -> None:
    Needs(several=True).check("it", replace(network, subjects=network.subjects + bagnet.subjects))
    with pytest.raises(ValueError, match="it compares models: name two at least"):
        Needs(several=True).check("it", network)


def test_pictures(network: Material, bagnet: Material) -> None:
    """Of BagNets: what other networks take is not drawn."""
    Needs(pictures=True).check("it", network)
    with pytest.raises(ValueError, match="it draws images, but those that bag takes have 2 channels: no picture"):
        Needs(pictures=True).check("it", bagnet)
