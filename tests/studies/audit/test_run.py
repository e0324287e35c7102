"""A whole audit of a network whose weights are set by hand, on images of which everything is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import bagnet
from bagnet.data.decode import BadImage
from bagnet.data.labels import BadLabels
from bagnet.data.names import UnknownClass
from bagnet.engine.prepare import prepare
from bagnet.model import BagNet
from bagnet.progress import Progress
from bagnet.runs.store import OtherRun
from bagnet.studies.audit.findings import Audit
from bagnet.studies.audit.run import UNFINISHED, audit

from ...evaluation.colours import reader
from .colours import FISH, LEAF, SIDE, colour_bagnet, folder


def test_the_watermark_is_the_first_pattern(audited: tuple[Audit, Path]) -> None:
    """Ten fish and the leaf with the mark are classified as fish; six of the fish and the leaf are not, without it."""
    result, _ = audited
    assert (result.images, result.correct) == (20, 17)
    assert result.predictions.tolist() == [11, 9]
    (first, *_) = result.of_class(FISH)
    assert result.top_patterns(1) == (first,)
    assert (first.rank, first.predictions, first.images, first.flips) == (1, 11, 10, 7)
    assert first.control_flips <= 1
    assert 7 / 11 < first.margin_drop < 10 / 11  # the three that stay lose a part of their margin
    assert first.where == "at the bottom right"
    assert first.corner_share == 1
    assert first.position_counts[-3:, -3:].sum() == first.windows
    assert first.appearance_similarity > 0.95
    assert first.position_similarity > 0.9
    assert 'of 1, is in "fish", at the bottom right: 90.9 % of the 11 predictions' in result.sentences()[-1]
    assert "63.6 % of them flip" in result.sentences()[-1]


def test_the_difference_to_the_control_has_an_interval(audited: tuple[Audit, Path]) -> None:
    (first, *_) = audited[0].of_class(FISH)
    difference = first.margin_drop_over_control
    assert difference.value == pytest.approx(first.margin_drop - first.control_margin_drop)
    assert 0 < difference.low < difference.value < difference.high < 1


def test_where_else_it_is(audited: tuple[Audit, Path]) -> None:
    (first, *_) = audited[0].of_class(FISH)
    assert (first.class_images, first.present_in_class) == (12, 9)
    assert (first.other_images, first.present_elsewhere) == (8, 1)
    assert (first.present_and_predicted, first.absent_and_predicted) == (1, 0)


def test_honest_evidence_scores_less(audited: tuple[Audit, Path]) -> None:
    """Leaves are green in one place or another, and stay leaves with it masked: there is nothing else that they could be."""
    for pattern in audited[0].of_class(LEAF):
        assert pattern.flips == 0
        assert pattern.score < audited[0].of_class(FISH)[0].score


def test_mistakes_and_what_caused_them(audited: tuple[Audit, Path]) -> None:
    """Two fish are more green than red; a leaf has the mark, and is right without it."""
    fish, leaf = audited[0].confusions
    assert (fish.true, fish.predicted, fish.images, fish.class_images) == (FISH, LEAF, 2, 12)
    assert (leaf.true, leaf.predicted, leaf.images, leaf.class_images) == (LEAF, FISH, 1, 8)
    assert (leaf.masked.flips_to_true, leaf.masked.flips_to_other, leaf.masked.true_ahead) == (1, 0, 1)
    (cause,) = leaf.causes
    assert (cause.windows, cause.masked) == (3, leaf.masked)
    (example,) = cause.examples
    assert (example.true, example.predicted) == (LEAF, FISH)


def without_time(result: Audit) -> dict[str, object]:
    return {**result.to_dict(), "seconds": 0}


@pytest.mark.parametrize(
    ("stage", "left"),
    [("finding the windows that decide", 12 + 20), ("masking them", 12), ("cutting them out", 0)],
)
def test_interrupted_and_resumed(
    audited: tuple[Audit, Path], data: Path, tmp_path: Path, stage: str, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever a run stops, the next one goes on there and says the same; nothing is done twice."""
    whole, whole_out = audited

    def stop(progress: Progress) -> None:
        if progress.stage == stage and progress.done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit(colour_bagnet(), data, tmp_path, workers=0, batch_size=4, progress=stop)
    assert not (tmp_path / "audit.json").exists()
    seen: list[int] = []
    features = BagNet.features

    def counted(model: BagNet, x: torch.Tensor) -> torch.Tensor:
        if x.shape[2] == SIDE and x.shape[0] == 2:  # a batch of images; a masked part of one is smaller
            seen.append(len(x))
        return features(model, x)

    monkeypatch.setattr(BagNet, "features", counted)
    result = audit(colour_bagnet(), data, tmp_path, workers=0, batch_size=2)
    assert sum(seen) == left
    assert without_time(result) == without_time(whole)
    assert (tmp_path / "windows.csv").read_text() == (whole_out / "windows.csv").read_text()
    assert not (tmp_path / UNFINISHED).exists()


def test_another_model_does_not_go_on(data: Path, tmp_path: Path) -> None:
    def stop(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit(colour_bagnet(), data, tmp_path, workers=0, progress=stop)
    model = colour_bagnet()
    with torch.no_grad():
        model.fc.bias += 1
    with pytest.raises(OtherRun, match="other weights"):
        audit(model, data, tmp_path, workers=0)


def test_an_audit_is_replaced_only_on_request(data: Path, tmp_path: Path) -> None:
    (tmp_path / "audit.json").write_text("{}")
    with pytest.raises(FileExistsError, match="holds an audit already"):
        audit(colour_bagnet(), data, tmp_path, workers=0)
    assert (tmp_path / "audit.json").read_text() == "{}"
    audit(colour_bagnet(), data, tmp_path, workers=0, overwrite=True)
    assert (tmp_path / "audit.json").read_text() != "{}"


def test_a_prepared_model_finds_the_same(audited: tuple[Audit, Path], data: Path, tmp_path: Path) -> None:
    """But for the order of windows that are equal up to rounding."""
    result = bagnet.audit(prepare(colour_bagnet()), data, tmp_path, workers=0)
    first, same = result.of_class(FISH)[0], audited[0].of_class(FISH)[0]
    for measure in ("images", "flips", "where", "present_in_class", "present_and_predicted"):
        assert getattr(first, measure) == getattr(same, measure)
    assert [confusion.masked for confusion in result.confusions] == [confusion.masked for confusion in audited[0].confusions]


def test_bad_images_are_listed_and_left_out(audited: tuple[Audit, Path], tmp_path: Path) -> None:
    """One that is no image, and one smaller than a window: the rest is as it was."""
    data = folder(tmp_path / "data")
    (data / "val" / "leaf" / "broken.png").write_bytes(b"no image")
    Image.new("RGB", (20, 8)).save(data / "val" / "leaf" / "tiny.png")
    result = audit(colour_bagnet(), data, tmp_path / "out", workers=0)
    assert [name for name, _ in result.bad] == ["leaf/broken.png", "leaf/tiny.png"]
    assert result.bad[1][1].startswith("leaf/tiny.png: an image of 8 x 20 pixels (height x width) is too small for windows of 9")
    assert {**without_time(result), "bad": []} == without_time(audited[0])
    assert "broken.png" in (tmp_path / "out" / "audit.html").read_text()


def test_without_an_image_that_can_be_used(tmp_path: Path) -> None:
    data = folder(tmp_path / "data")
    for path in (data / "val").rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(BadImage, match="none of 20 images"):
        audit(colour_bagnet(), data, tmp_path / "out", workers=0)
    assert not (tmp_path / "out" / UNFINISHED).exists()


def test_images_of_several_sizes(tmp_path: Path) -> None:
    """Each has a grid of its own; a window's position is relative to it."""
    data = folder(tmp_path / "data")
    for path in sorted((data / "val" / "fish").glob("*.png"))[:4]:
        wide = Image.new("RGB", (SIDE + 8, SIDE))
        wide.paste(Image.open(path), (8, 0))
        wide.save(path)
    (first, *_) = audit(colour_bagnet(), data, tmp_path / "out", workers=0).of_class(FISH)
    assert (first.images, first.where) == (10, "at the bottom right")
    assert first.position_counts.shape == (7, 9)


def test_what_cannot_be_audited(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"reader\.colours: is not a bag of windows"):
        audit(reader(["fish", "leaf"]), data, tmp_path)  # type: ignore[arg-type]
    model = colour_bagnet()
    assert model.card is not None
    model.card = replace(model.card, multilabel=True)
    with pytest.raises(BadLabels, match="yes or no to each class"):
        audit(model, data, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="file: is a file; name a folder"):
        audit(colour_bagnet(), data, tmp_path / "file")
    with pytest.raises(ValueError, match="at least 1 window"):
        audit(colour_bagnet(), data, tmp_path, windows=0)


def test_images_that_cannot_be_audited(tmp_path: Path) -> None:
    np.savez(tmp_path / "several.npz", val_images=np.zeros((2, 9, 9), np.uint8), val_labels=np.array([[0, 1], [1, 1]]))
    several = colour_bagnet()
    assert several.card is not None
    several.card = replace(several.card, classes=type(several.classes).numbered(2))
    with pytest.raises(BadLabels, match="several labels each"):
        audit(several, tmp_path / "several.npz", tmp_path)
    for name in ("zebra", "fish"):
        (tmp_path / "more" / "val" / name).mkdir(parents=True)
        Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "more" / "val" / name / "0.png")
    with pytest.raises(UnknownClass, match="zebra"):
        audit(colour_bagnet(), tmp_path / "more", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="val"):
        audit(colour_bagnet(), tmp_path / "empty", tmp_path / "out")
