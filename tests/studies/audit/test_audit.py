"""An audit of a network whose weights are set by hand, on images of which everything is known."""

from __future__ import annotations

import csv
import json
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
from bagnet.studies.audit.decisive import strongest
from bagnet.studies.audit.findings import Audit
from bagnet.studies.audit.patterns import cluster
from bagnet.studies.audit.run import UNFINISHED, audit

from ...evaluation.colours import reader
from .colours import MARK, SIDE, colour_bagnet, folder

FISH, LEAF = 0, 1
MARKED = bagnet.Box(SIDE - MARK - 2, SIDE - MARK - 2, SIDE - 2, SIDE - 2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("images") / "data")


@pytest.fixture(scope="module")
def made(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Audit, Path]:
    """(what was found, where it was written)"""
    out = tmp_path_factory.mktemp("report") / "new"
    return audit(colour_bagnet(), data, out, workers=0), out


def windows(out: Path) -> list[dict[str, str]]:
    with (out / "windows.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_watermark_is_the_first_shortcut(made: tuple[Audit, Path]) -> None:
    """Ten fish and the leaf with the mark are taken for fish; six of the fish and the leaf are not, without it."""
    found, _ = made
    assert (found.images, found.right) == (20, 17)
    assert found.predictions.tolist() == [11, 9]
    (first, *_) = found.of_class(FISH)
    assert found.worst(1) == (first,)
    assert (first.rank, first.predictions, first.images, first.falls) == (1, 11, 10, 7)
    assert first.coverage == pytest.approx(10 / 11)
    assert first.share_falling == pytest.approx(7 / 11)
    assert first.control_falls <= 1
    assert 7 / 11 < first.lost < 10 / 11  # the three that stay lose a part of their lead
    assert first.where == "at the bottom right"
    assert first.corner == 1
    assert first.places[-3:, -3:].sum() == first.windows
    assert first.look > 0.95
    assert first.place > 0.9
    assert first.score == pytest.approx((first.lost - first.control_lost) * (first.look + first.place) / 2)
    assert 'of 1, is in "fish", at the bottom right: 90.9 % of the 11 predictions' in found.sentences()[-1]
    assert "63.6 % of them fall" in found.sentences()[-1]


def test_chance_finds_are_not_named(made: tuple[Audit, Path]) -> None:
    found, _ = made
    (first, *_) = found.of_class(FISH)
    assert first.beyond.value == pytest.approx(first.lost - first.control_lost)
    assert 0 < first.beyond.low < first.beyond.value < first.beyond.high < 1
    chance = replace(first, beyond=replace(first.beyond, low=-0.01))
    unsure = replace(found, shortcuts=(chance,))
    assert unsure.worst(10) == ()
    assert "No class has a pattern" in unsure.sentences()[-1]
    assert unsure.to_dict()["classes"][FISH]["shortcuts"], "it is still in the figures"


def test_where_else_it_is(made: tuple[Audit, Path]) -> None:
    (first, *_) = made[0].of_class(FISH)
    assert (first.own, first.own_having) == (12, 9)
    assert (first.others, first.others_having, first.taken_having, first.taken_without) == (8, 1, 1, 0)


def test_honest_evidence_is_no_shortcut(made: tuple[Audit, Path]) -> None:
    """Leaves are green in one place or another, and stay leaves with it masked: there is nothing else that they could be."""
    for one in made[0].of_class(LEAF):
        assert one.falls == 0
        assert one.score < made[0].of_class(FISH)[0].score


def test_the_falls_are_those_of_masked_images(made: tuple[Audit, Path], data: Path) -> None:
    """Masked by hand, from the table: the prediction of a whole pass over the image falls as often."""
    model, (found, out) = colour_bagnet(), made
    by_image: dict[str, list[bagnet.Box]] = {}
    for row in windows(out):
        if (row["predicted"], row["cluster"], row["speaks"]) == ("fish", "1", "for the predicted class"):
            box = bagnet.Box(*(int(row[edge]) for edge in ("left", "top", "right", "bottom")))
            assert box.intersect(MARKED).area > 0
            by_image.setdefault(row["image"], []).append(box)
    assert len(by_image) == found.of_class(FISH)[0].images
    falls, areas = 0, []
    for name, boxes in by_image.items():
        pixels = np.array(Image.open(data / "val" / name))
        masked = np.zeros(pixels.shape[:2], bool)
        for box in boxes:
            masked[box.slices] = True
        pixels[masked] = 0  # the mean of this network's preprocessing
        falls += bagnet.explain(model, pixels).top(1)[0].index != FISH
        areas.append(masked.mean())
    assert falls == found.of_class(FISH)[0].falls
    assert np.mean(areas) == pytest.approx(found.of_class(FISH)[0].area)


def test_mistakes_and_what_caused_them(made: tuple[Audit, Path]) -> None:
    """Two fish are more green than red; a leaf has the mark, and is right without it."""
    fish, leaf = made[0].confusions
    assert (fish.true, fish.predicted, fish.images, fish.shown) == (FISH, LEAF, 2, 12)
    assert (leaf.true, leaf.predicted, leaf.images, leaf.shown) == (LEAF, FISH, 1, 8)
    assert (leaf.flips.to_true, leaf.flips.to_other, leaf.flips.ahead) == (1, 0, 1)
    (cause,) = leaf.causes
    assert (cause.windows, cause.flips) == (3, leaf.flips)
    (example,) = cause.examples
    assert (example.true, example.predicted) == (LEAF, FISH)


def test_the_files(made: tuple[Audit, Path]) -> None:
    found, out = made
    assert sorted(path.name for path in out.iterdir()) == ["audit.html", "audit.json", "windows.csv"]
    assert json.loads((out / "audit.json").read_text()) == json.loads(json.dumps(found.to_dict()))
    rows = windows(out)
    kinds = [row["speaks"] for row in rows]
    assert kinds.count("for the predicted class") == 3 * 20
    assert kinds.count("for the predicted class against the true one") == 3 * 3
    first = next(row for row in rows if row["image"] == "fish/00.png")
    assert (first["true"], first["predicted"], first["row"], first["column"]) == ("fish", "fish", "6", "6")
    assert [first[edge] for edge in ("left", "top", "right", "bottom")] == ["24", "24", "33", "33"]
    evidence = bagnet.explain(colour_bagnet(), folder_image(made, "fish/00.png"))
    assert float(first["logit"]) == pytest.approx(evidence.windows("fish", 1)[0].logit, rel=1e-5)
    text = (out / "audit.html").read_text()
    assert text.count("<article>") == len(found.worst(10)) + 2
    assert "http" not in text.replace("http-equiv", "")  # needs nothing beside it
    assert "7 of 11 predictions" in text


def folder_image(made: tuple[Audit, Path], name: str) -> Image.Image:
    """One of the images, made again."""
    from .colours import fish_and_leaves

    label, number = name.removesuffix(".png").split("/")
    return Image.fromarray(fish_and_leaves()[label][int(number)])


def plain(found: Audit) -> dict[str, object]:
    return {**found.to_dict(), "seconds": 0, "runtime": ""}


@pytest.mark.parametrize("stage", ["finding the windows that decide", "masking them", "cutting them out"])
def test_interrupted_and_resumed(
    made: tuple[Audit, Path], data: Path, tmp_path: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever a run stops, the next one goes on there and finds the same; nothing is done twice."""
    whole, whole_out = made

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
    found = audit(colour_bagnet(), data, tmp_path, workers=0, batch_size=2)
    left = {"finding the windows that decide": 12 + 20, "masking them": 12, "cutting them out": 0}
    assert sum(seen) == left[stage]
    assert plain(found) == plain(whole)
    assert (tmp_path / "windows.csv").read_text() == (whole_out / "windows.csv").read_text()
    assert not (tmp_path / UNFINISHED).exists()


def test_another_model_does_not_go_on(data: Path, tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit(colour_bagnet(), data, tmp_path, workers=0, progress=stop)
    model = colour_bagnet()
    with torch.no_grad():
        model.fc.bias += 1
    with pytest.raises(OtherRun, match="other weights"):
        audit(model, data, tmp_path, workers=0)


def test_a_prepared_model_finds_the_same(made: tuple[Audit, Path], data: Path, tmp_path: Path) -> None:
    """But for the order of windows that are equal up to rounding."""
    found = bagnet.audit(prepare(colour_bagnet()), data, tmp_path, workers=0)
    first, same = found.of_class(FISH)[0], made[0].of_class(FISH)[0]
    for measure in ("images", "falls", "where", "own_having", "taken_having"):
        assert getattr(first, measure) == getattr(same, measure)
    assert [one.flips for one in found.confusions] == [one.flips for one in made[0].confusions]


def test_bad_images_are_listed_and_left_out(made: tuple[Audit, Path], tmp_path: Path) -> None:
    """One that is no image, and one smaller than a window: the rest is as it was."""
    data = folder(tmp_path / "data")
    (data / "val" / "leaf" / "broken.png").write_bytes(b"no image")
    Image.new("RGB", (20, 8)).save(data / "val" / "leaf" / "tiny.png")
    found = audit(colour_bagnet(), data, tmp_path / "out", workers=0)
    assert [name for name, _ in found.bad] == ["leaf/broken.png", "leaf/tiny.png"]
    assert found.bad[1][1].startswith("leaf/tiny.png: an image of 8 x 20 pixels (height x width) is too small for windows of 9")
    assert {**plain(found), "bad": []} == plain(made[0])
    assert "broken.png" in (tmp_path / "out" / "audit.html").read_text()
    for path in (data / "val").rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(BadImage, match="none of 22 images"):
        audit(colour_bagnet(), data, tmp_path / "other", workers=0)


def test_images_of_several_sizes(data: Path, tmp_path: Path) -> None:
    """Each has a grid of its own; a window's place is relative to it."""
    copy = folder(tmp_path / "data")
    for path in sorted((copy / "val" / "fish").glob("*.png"))[:4]:
        wide = Image.new("RGB", (SIDE + 8, SIDE))
        wide.paste(Image.open(path), (8, 0))
        wide.save(path)
    found = audit(colour_bagnet(), copy, tmp_path / "out", workers=0)
    (first, *_) = found.of_class(FISH)
    assert (first.images, first.where) == (10, "at the bottom right")
    assert first.places.shape == (7, 9)


def test_what_cannot_be_audited(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"reader\.colours: is no BagNet"):
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
    np.savez(tmp_path / "several.npz", val_images=np.zeros((2, 9, 9), np.uint8), val_labels=np.array([[0, 1], [1, 1]]))
    several = colour_bagnet()
    several.card = replace(model.card, multilabel=False, classes=type(model.classes).numbered(2))
    with pytest.raises(BadLabels, match="several labels each"):
        audit(several, tmp_path / "several.npz", tmp_path)
    (data.parent / "more" / "val" / "zebra").mkdir(parents=True, exist_ok=True)
    (data.parent / "more" / "val" / "fish").mkdir(exist_ok=True)
    for name in ("zebra", "fish"):
        Image.new("RGB", (SIDE, SIDE)).save(data.parent / "more" / "val" / name / "0.png")
    with pytest.raises(UnknownClass, match="zebra"):
        audit(colour_bagnet(), data.parent / "more", tmp_path)
    Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "photo.png")
    with pytest.raises(FileNotFoundError, match="val"):
        audit(colour_bagnet(), tmp_path, tmp_path / "out")


def test_strongest_windows_are_those_of_evidence(sibling: BagNet) -> None:
    assert sibling.card is None
    size, stride = sibling.geometry.size, sibling.geometry.stride
    x = torch.rand(1, 3, size + 6 * stride, size + 4 * stride)
    values = sibling.evidence(x, [2])[0].detach().numpy()
    reach = max(0, -(-(size // 2) // stride) - 1)
    (cells,), _ = strongest(values, 3, reach)
    chosen: list[tuple[int, int]] = []
    for cell in np.argsort(-values[0], axis=None, kind="stable").tolist():
        row, column = divmod(cell, values.shape[2])
        if all(max(abs(row - r), abs(column - c)) * stride >= size // 2 for r, c in chosen) and len(chosen) < 3:
            chosen.append((row, column))
    assert [divmod(int(cell), values.shape[2]) for cell in cells if cell >= 0] == chosen


def test_a_clue_takes_its_neighbours_along() -> None:
    cells, clues = strongest(np.array([[[9.0, 8, 1, 0, 5], [7, 6, 1, 0, 0]]]), 3, 1)
    assert cells.tolist() == [[0, 4, 2]]
    assert clues.tolist() == [[[0, 0, 2, 1, 1], [0, 0, 2, 1, 1]]]
    assert strongest(np.ones((1, 1, 2)), 2, 1)[0].tolist() == [[0, -1]]  # the other one is the same clue


def test_clusters() -> None:
    """Three directions, of 20, 12 and 6 windows: three clusters, the largest first; more than are clustered join theirs."""
    random = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], [20, 12, 6])
    features = np.eye(8)[truth] + 0.01 * random.normal(size=(38, 8))
    groups = cluster(features, 0)
    for one in range(3):
        assert len(np.unique(groups[truth == one])) <= 5  # its own variance may be parted; no two are ever joined
    pairs = {(int(group), int(one)) for group, one in zip(groups, truth, strict=True)}
    assert len(pairs) == groups.max() + 1
    assert np.all(np.diff(np.bincount(groups)) <= 0)
    many = np.tile(features, (60, 1))
    assert len({(int(group), int(one)) for group, one in zip(cluster(many, 0), np.tile(truth, 60), strict=True)}) == 6
    assert cluster(features[:4], 0).tolist() == [0] * 4
