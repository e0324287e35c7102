"""Temperatures are those of closed forms, change no answer and no logit, and are measured where they were not fitted."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from bagnet.data.names import ClassNames
from bagnet.evaluation.calibration import calibrate, calibrated_card, check_calibrates, fitted_temperature
from bagnet.evaluation.evaluate import Evaluation, evaluate

from ..engine.classifiers import small_bagnet
from .colours import arrays_of, reader


def answers(logits: np.ndarray, labels: np.ndarray) -> Evaluation:  # type: ignore[type-arg]
    names = ClassNames.numbered(logits.shape[1])
    return Evaluation("hand.made", "paper", names, labels, logits.astype(np.float32), (), 1.0)


def test_two_classes_in_closed_form() -> None:
    """All margins are 6 and 8 of 10 answers are right: sigmoid(6 / T) = 0.8."""
    labels = np.array(([0] * 8 + [1] * 2) * 5)
    same = answers(np.tile([6.0, 0.0], (50, 1)), labels)
    assert fitted_temperature(same) == pytest.approx(6 / np.log(4), rel=1e-4)
    assert fitted_temperature(replace(same, temperature=7.0)) == pytest.approx(6 / np.log(4), rel=1e-4), "not on top of another"


def test_questions_in_closed_form() -> None:
    truth = np.array([[True, False]] * 9 + [[False, True]])
    assert fitted_temperature(answers(np.tile([4.0, -4.0], (10, 1)), truth)) == pytest.approx(4 / np.log(9), rel=1e-4)


def test_the_temperature_by_which_labels_were_drawn() -> None:
    """Of 4,000 images with labels drawn at temperature 2.5; the calibration error nearly vanishes."""
    random = np.random.default_rng(0)
    logits = random.normal(scale=4, size=(4000, 5))
    shares = torch.from_numpy(logits / 2.5).softmax(1).numpy()
    labels = np.array([random.choice(5, p=share) for share in shares])
    found = calibrate(answers(logits, labels))
    assert found.temperature == pytest.approx(2.5, rel=0.05)
    assert min(found.temperatures_of_halves) <= found.temperature <= max(found.temperatures_of_halves)
    assert found.error_before > 0.1
    assert found.error_after < 0.03
    assert found.loss_after < found.loss_before
    assert found.to_dict()["calibration_error"] == {"before": found.error_before, "after_on_other_images": found.error_after}


def test_groups_are_in_one_half() -> None:
    """Two copies of each image: apart they would tell each half the other's noise."""
    random = np.random.default_rng(1)
    labels = np.repeat(random.integers(0, 2, 30), 2)
    logits = np.repeat(2 * np.eye(2)[labels[::2]] + random.normal(scale=3, size=(30, 2)), 2, axis=0)
    groups = tuple(f"patient {row // 2}" for row in range(60))
    alone = replace(answers(logits[::2], labels[::2]), group="patient", groups=groups[::2])
    both = calibrate(replace(answers(logits, labels), group="patient", groups=groups))
    assert both.temperatures_of_halves == pytest.approx(calibrate(alone).temperatures_of_halves)
    with pytest.raises(ValueError, match=r"has 12 groups of images \(patient\), too few to fit a temperature; take 20 at least"):
        calibrate(replace(answers(logits, labels), group="patient", groups=tuple(f"patient {row // 5}" for row in range(60))))


def test_what_no_temperature_fits() -> None:
    logits = np.tile([6.0, 0.0], (40, 1))
    with pytest.raises(ValueError, match="40 images that are all answered rightly fit no temperature"):
        fitted_temperature(answers(logits, np.zeros(40, int)))
    with pytest.raises(ValueError, match="say nothing about its labels"):
        fitted_temperature(answers(logits, np.ones(40, int)))
    with pytest.raises(ValueError, match="has 5 images, too few"):
        calibrate(answers(logits[:5], np.zeros(5, int)))


def test_a_card_with_a_temperature(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Half of the red images are labelled blue: sigmoid-like certainty of 10 becomes one half, but for green."""
    colours, labels = ["red", "red", "green"] * 8, [0, 2, 1] * 8
    data = arrays_of(tmp_path / "set.npz", colours, labels)
    model = reader(["class 0", "class 1", "class 2"])
    before = evaluate(model, data, workers=0)
    found = calibrate(before)
    card = calibrated_card(model, before, found)
    assert (card.name, card.temperature) == ("reader.colours-calibrated", pytest.approx(found.temperature, abs=1e-6))
    assert card.notes.endswith("which was fitted on 24 images (set.npz val).")
    model.card = card
    after = evaluate(model, data, workers=0)
    assert (after.scores == before.scores).all(), "logits stay as they are"
    assert after.temperature == card.temperature
    assert after.to_dict()["temperature"] == card.temperature
    assert after.probabilities[0].tolist() == pytest.approx(torch.tensor([10.0, 0, 0]).div(card.temperature).softmax(0).tolist())
    assert after.calibration_error < before.calibration_error
    assert calibrated_card(model, after, calibrate(after)).name == card.name


def test_cards_that_cannot_have_one(tmp_path) -> None:  # type: ignore[no-untyped-def]
    model = reader(["class 0", "class 1", "class 2"])
    some = evaluate(model, arrays_of(tmp_path / "set.npz", ["red", "green"] * 12, [0, 1] * 12), workers=0)
    with pytest.raises(ValueError, match=r"reader\.colours has 3 classes, and set\.npz val 2 of them"):
        check_calibrates(model, some.data, some.classes)
    bare = copy(small_bagnet())
    bare.card = None
    with pytest.raises(ValueError, match="has no card"):
        check_calibrates(bare, some.data, some.classes)
