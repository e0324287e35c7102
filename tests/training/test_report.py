"""The page at the end of a run stands alone and says what came of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bagnet.card import Card, Score
from bagnet.data.names import ClassNames
from bagnet.evaluation.evaluate import Evaluation, evaluate
from bagnet.model import BagNet
from bagnet.training.report import report

from .conftest import PREPROCESSING, labelled, textures

LOG = """step,epoch,seconds,learning_rate,loss,evidence,select_loss,select_top1,select_top5,select_right
1,0,0.1,0.01,2.5,,,,,
2,0,0.2,0.02,1.5,,,,,
2,0,0.3,,,,1.25,0.5,1,
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "log.csv").write_text(LOG)
    return tmp_path


@pytest.fixture
def model(small: Callable[..., BagNet]) -> BagNet:
    """Knows three textures, and takes each of them for the first."""
    model = small(kernel3=(1, 1, 0, 0), num_classes=3, classes=["plain", "stripes & bars", "grid"])
    torch.nn.init.zeros_(model.fc.weight)
    with torch.no_grad():
        model.fc.bias[:] = torch.tensor([2.0, 0.0, 0.0])
    assert model.card is not None
    model.card = replace(
        model.card,
        name="bagnet9.<b>",
        preprocessing=PREPROCESSING,
        command="bagnet train <data>",
        trained_on="textures",
        scores=(Score("textures", 33.33, 100.0, "here", 30),),
        more={"recipe": {"epochs": 4, "optimiser": "adamw"}},
    )
    return model


def card_of(model: BagNet) -> Card:
    assert model.card is not None
    return model.card


def test_what_came_of_it(folder: Path, model: BagNet) -> None:
    values, labels = textures(30, 0)
    images = replace(labelled(values, labels), classes=model.classes)
    path = report(folder, model, card_of(model), evaluate(model, images), images)
    assert path == folder / "report.html"
    page = path.read_text()
    assert "bagnet9.&lt;b&gt;" in page
    assert "bagnet9.<b>" not in page, "names are text"
    assert re.search(r"33\.33 % top-1, 100\.00 % top-5 on \S+ \(30 images\)", page)
    assert "bagnet train &lt;data&gt;" in page
    assert re.search(r"optimiser.{0,40}adamw", page)
    assert not re.search(r"(src|href)='?\"?(http|/|\w+\.)", page), "it needs no other file"
    captions = re.findall(r"<figcaption([^>]*)>([^<]*)</figcaption>", page)
    rows = np.linspace(0, 29, 12).astype(int)
    assert ["wrong" in look for look, _ in captions] == [labels[row] != 0 for row in rows]
    assert {words for _, words in captions} == {"plain +2.0"}
    assert page.count("data:image/png;base64,") == 2 + 2 * 12, "curves, the evaluation, each image beside its evidence"


def test_without_a_val_split_and_without_evidence(folder: Path, model: BagNet) -> None:
    page = report(folder, object(), card_of(model), None, labelled(*textures(30, 0))).read_text()
    assert "There was no val split to measure it on." in page
    assert page.count("data:image/png;base64,") == 1, "the curves alone"


def test_several_labels_have_an_average_precision(folder: Path, model: BagNet) -> None:
    scores, labels = np.array([[2.0, -1.0], [1.0, 3.0]], np.float32), np.array([[True, False], [False, True]])
    classes = ClassNames.from_words(["plain", "grid"])
    evaluation = Evaluation("bagnet9", "textures", classes, labels, scores, bad=(), seconds=1.0)
    page = report(folder, object(), card_of(model), evaluation, labelled(*textures(30, 0))).read_text()
    assert "Mean average precision 1.000 on textures." in page
