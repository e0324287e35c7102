"""A head that was fitted elsewhere answers as what it was fitted as, and its maps add up."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import bagnet
from bagnet.zoo.linear import from_linear

from ..engine.classifiers import small_bagnet, small_windowed


@pytest.mark.parametrize("build", [small_bagnet, small_windowed])
def test_the_logits_are_those_of_the_linear_classifier_on_embedded_images(build: object, tmp_path: Path) -> None:
    model = build()  # type: ignore[operator]
    random = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(random.integers(0, 256, (230, 250, 3), np.uint8)).save(tmp_path / f"{number}.png")
    paths = sorted(tmp_path.glob("*.png"))
    features = bagnet.embed(model, paths)
    assert features.shape == (3, model.num_features)
    coef, intercept = random.normal(size=(3, model.num_features)), random.normal(size=3)
    mine = from_linear(model, coef, intercept, ["a", "b", "c"])
    for path, feature in zip(paths, features, strict=True):
        evidence = bagnet.explain(mine, path)
        assert evidence.logits == pytest.approx(coef @ feature + intercept, abs=1e-4 * np.abs(coef @ feature).max())
    assert [str(name) for name in mine.classes] == ["a", "b", "c"]
    if isinstance(mine, bagnet.BagNet):
        mine.save(tmp_path / "mine.safetensors")
        assert torch.equal(bagnet.load(tmp_path / "mine.safetensors").fc.weight, mine.fc.weight)


def test_one_decision_value_speaks_for_the_second_of_two_classes() -> None:
    model = small_bagnet()
    coef = np.random.default_rng(0).normal(size=model.num_features)
    mine = from_linear(model, coef, 0.5, ["no", "yes"])
    x = torch.randn(2, 3, 40, 40)
    with torch.inference_mode():
        logits, features = mine(x).double().numpy(), model.features(x).mean((2, 3)).double().numpy()
    assert logits[:, 1] - logits[:, 0] == pytest.approx(features @ coef + 0.5, rel=1e-4)


def test_a_temperature_was_another_heads() -> None:
    model = copy(small_bagnet())
    assert model.card is not None
    model.card = replace(model.card, temperature=2.0)
    classes = [str(name) for name in model.classes]
    mine = from_linear(model, np.zeros((len(classes), model.num_features)), np.zeros(len(classes)), model.classes)
    assert mine.card is not None
    assert (mine.card.temperature, model.card.temperature) == (1, 2)


def test_an_image_that_cannot_be_read_has_no_features(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.new("RGB", (240, 240)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no image")
    features = bagnet.embed(small_bagnet(), tmp_path)
    assert np.isfinite(features[0]).all()
    assert np.isnan(features[1]).all()
    assert "b.png" in caplog.text


def test_what_does_not_fit_is_refused() -> None:
    model = small_bagnet()
    fits = np.zeros((3, model.num_features))
    with pytest.raises(
        ValueError, match=f"coefficients of 3 x 2 and 3 intercepts do not fit 3 classes and the {model.num_features}"
    ):
        from_linear(model, np.zeros((3, 2)), np.zeros(3), ["a", "b", "c"])
    with pytest.raises(ValueError, match="2 intercepts"):
        from_linear(model, fits, np.zeros(2), ["a", "b", "c"])
    with pytest.raises(ValueError, match="not finite"):
        from_linear(model, fits * np.nan, np.zeros(3), ["a", "b", "c"])
