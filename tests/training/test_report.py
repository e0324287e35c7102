"""The page of a run: what it says of a network with hand-set weights, on images of plain colours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bagnet.card import Score
from bagnet.data.labelled import open_labelled
from bagnet.data.labels import LabelledImages
from bagnet.evaluation.evaluate import Evaluation, evaluate
from bagnet.model import BagNet
from bagnet.training import report as report_module
from bagnet.training.checkpoints import read_log
from bagnet.training.report import report

from ..evaluation.colours import reader
from ..studies.audit.colours import colour_bagnet, folder

LOG = "step,epoch,seconds,learning_rate,loss,evidence,select_loss,select_top1,select_top5,select_right\n" + "".join(
    f"{step},{step // 5},{step},0.1,{2 / step:.3f},,{'0.5,0.8,1.0,' if step % 5 == 0 else ',,,'}\n" for step in range(1, 11)
)


@pytest.fixture
def model() -> BagNet:
    model = colour_bagnet()
    assert model.card is not None
    more = {"recipe": {"epochs": 2, "augment": "<none>"}}
    model.card = replace(model.card, command="bagnet train 'a & b'", trained_on="fish", more=more)
    return model


@pytest.fixture
def images(tmp_path: Path) -> LabelledImages:
    return open_labelled(folder(tmp_path / "data"), "val")


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/log.csv").write_text(LOG)
    return tmp_path / "run"


def measured(model: BagNet, images: LabelledImages) -> Evaluation:
    evaluation = evaluate(model, images, workers=0)
    assert model.card is not None
    scores = (Score(evaluation.data, 100 * evaluation.top(1), 100.0, "here"),)
    model.card = replace(model.card, scores=scores)
    return evaluation


def test_the_page(model: BagNet, images: LabelledImages, run_folder: Path) -> None:
    evaluation = measured(model, images)
    assert model.card is not None
    path = report(run_folder, model, model.card, evaluation, images)
    text = path.read_text()
    assert path == run_folder / "report.html"
    assert "<h1>bagnet9.colours</h1>" in text
    first, second, third = evaluation.measures()
    assert "Balanced accuracy 85.42 % [" in text  # 10 of 12 fish and 7 of 8 leaves
    assert f"{second.text}, top-1 85.00 % [" in text
    assert (second.key, third.key) == ("roc_auc", "top1")
    assert "(20 images; in brackets 95 % intervals over them)." in text
    assert first.text[1:] in text
    assert "http" not in text, "it needs nothing beside it"
    assert text.count('<img class="figure"') == 2
    assert text.count("<figure>") == 12


def test_the_recipe_is_escaped(model: BagNet, images: LabelledImages, run_folder: Path) -> None:
    assert model.card is not None
    text = report(run_folder, model, model.card, None, images).read_text()
    for name, value in (("command", "bagnet train &#39;a &amp; b&#39;"), ("epochs", "2"), ("augment", "&lt;none&gt;")):
        assert f"<tr><th>{name}</th><td><code>{value}</code></td></tr>" in text


def test_wrong_answers_are_marked(model: BagNet, images: LabelledImages, run_folder: Path) -> None:
    """Of the twelve images shown, rows 0, 1, 3, 5, 6, 8, 10, 12, 13, 15, 17 and 19, two are wrong."""
    assert model.card is not None
    text = report(run_folder, model, model.card, None, images).read_text()
    assert np.linspace(0, 19, 12).astype(int).tolist() == [0, 1, 3, 5, 6, 8, 10, 12, 13, 15, 17, 19]
    assert text.count('<figcaption class="wrong">') == 2
    assert "There was no val split to measure it on. On the 20 images to select on, after the last epoch: top-1 80.0 %." in text
    assert "What it is right and wrong about" not in text


def test_the_selection_curve_is_drawn_with_its_interval(run_folder: Path) -> None:
    """Where the log has one; that of an earlier version has not."""
    (accuracy,) = (axes for axes in report_module._curves(read_log(run_folder / "log.csv")).figure.axes if axes.get_ylim()[1] > 5)
    assert accuracy.get_ylabel() == "top-1 on\nthe selection images, %"
    assert not accuracy.collections
    lines = (run_folder / "log.csv").read_text().splitlines()
    told = [f"{line},0.7,,balanced_accuracy,0.4,0.9" if line.split(",")[6] else f"{line},,,,," for line in lines[1:]]
    columns = "select_balanced_accuracy,select_roc_auc,select_lead,select_low,select_high"
    (run_folder / "log.csv").write_text("\n".join([f"{lines[0]},{columns}", *told, ""]))
    rows = read_log(run_folder / "log.csv")
    (accuracy,) = (axes for axes in report_module._curves(rows).figure.axes if axes.get_ylim()[1] > 5)
    assert accuracy.get_ylabel() == "balanced accuracy on\nthe selection images, %\n(band: 95 % interval)"
    assert accuracy.lines[0].get_ydata() == pytest.approx([70, 70])
    box = accuracy.collections[0].get_datalim(accuracy.transData)
    assert (box.y0, box.y1) == pytest.approx((40, 90))


def test_a_network_without_evidence_has_no_samples(images: LabelledImages, run_folder: Path) -> None:
    network = reader(["fish", "leaf"])
    assert network.card is not None
    text = report(run_folder, network, network.card, None, images).read_text()
    assert "Why: the evidence" not in text
    assert "How it went" in text


def test_images_that_cannot_be_read_are_left_out(model: BagNet, tmp_path: Path, run_folder: Path) -> None:
    images = open_labelled(folder(tmp_path / "torn"), "val")
    (tmp_path / "torn/val/fish/00.png").write_bytes(b"no image")
    assert model.card is not None
    assert report(run_folder, model, model.card, None, images).read_text().count("<figure>") == 11
