"""Every way of training learns what it should, and says so on the card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import bagnet
from bagnet.architecture import ExternalArchitecture
from bagnet.model import BagNet
from bagnet.runs.store import OtherRun
from bagnet.training.checkpoints import read_log
from bagnet.training.recipe import Recipe, recipe
from bagnet.training.run import Run, finetune, train
from bagnet.zoo.external import ExternalNetwork
from bagnet.zoo.windowed import windowed

from .conftest import PREPROCESSING, SMALL, textures


@pytest.fixture(scope="session")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """By the modern recipe."""
    return again(data, tmp_path_factory.mktemp("trained"))


def again(data: Path, folder: Path) -> Run:
    quick = recipe("modern", epochs=4, batch_size=24, select=0.05, learning_rate=0.02, augment="none")
    return train(data, folder, quick, shape=SMALL, preprocessing=PREPROCESSING, tag="textures", command="bagnet train textures")


@pytest.fixture
def _without_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its charts take as long as a short run; see `test_report.py`."""
    monkeypatch.setattr("bagnet.training.run.report", lambda *_: None)


def accuracy(run: Run) -> float:
    assert run.evaluation is not None
    return run.evaluation.top(1)


def test_the_modern_recipe(trained: Run) -> None:
    assert accuracy(trained) > 0.95
    card = trained.card
    assert card.name == "bagnet9s4.textures"
    assert card.scores[0].top1 == 100 * accuracy(trained)
    assert card.scores[0].images == 60
    assert card.more["recipe"]["ema"] == 0.999, "the moving average is good after few steps, too"
    assert recipe(trained.folder / "recipe.toml") == Recipe(**card.more["recipe"])
    assert bagnet.load(trained.path).card == card
    steps = [int(row["step"]) for row in read_log(trained.folder / "log.csv") if row["loss"]]
    assert steps == list(range(1, 37))  # 228 images in batches of 24, four times
    assert (trained.folder / "report.html").is_file()


@pytest.mark.slow
def test_defaults_learn_a_small_set_of_unequal_classes(tmp_path: Path) -> None:
    images, labels = textures(399, 0)
    rows = np.concatenate([np.flatnonzero(labels == index)[:count] for index, count in enumerate((130, 50, 20))])
    val = textures(90, 1)
    np.savez(tmp_path / "few.npz", train_images=images[rows], train_labels=labels[rows], val_images=val[0], val_labels=val[1])
    run = train(tmp_path / "few.npz", tmp_path / "run", shape=SMALL, preprocessing=PREPROCESSING)
    assert run.evaluation is not None
    assert run.evaluation.balanced_accuracy > 0.9
    assert run.evaluation.one_answer == ""


def test_a_run_that_learns_nothing_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images, labels = textures(60, 0)
    np.savez(tmp_path / "few.npz", train_images=images, train_labels=labels, val_images=images, val_labels=labels)
    nothing = recipe("modern", epochs=1, learning_rate=1e-12)
    run = train(tmp_path / "few.npz", tmp_path / "run", nothing, shape=SMALL, preprocessing=PREPROCESSING)
    assert "of the answers are" in caplog.text
    assert "nothing was learnt" in (run.folder / "report.html").read_text()


@pytest.mark.usefixtures("_without_page")
@pytest.mark.parametrize("here", [False, True])
def test_bf16_where_the_processor_has_none(
    data: Path, tmp_path: Path, quick: Recipe, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, here: bool
) -> None:
    monkeypatch.setattr("bagnet.training.run.cpu_has_bf16", lambda: here)
    monkeypatch.setattr("bagnet.training.run.device", lambda: torch.device("cpu"))
    monkeypatch.setattr("bagnet.training.run.fit", lambda *_, **__: pytest.fail("trained"))
    caplog.set_level("INFO", "bagnet")
    with pytest.raises(pytest.fail.Exception, match="trained"):
        train(data, tmp_path / "run", replace(quick, precision="bf16"), shape=SMALL, preprocessing=PREPROCESSING)
    assert ("has no bf16" in caplog.text) is not here


def test_a_finished_run_is_not_run_again(trained: Run, data: Path) -> None:
    log = (trained.folder / "log.csv").read_text()
    assert again(data, trained.folder).card == trained.card
    assert (trained.folder / "log.csv").read_text() == log


def test_a_folder_that_does_not_say_any_more_what_run_it_holds(data: Path, tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"")
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ValueError, match=r"run\.json: does not say any more what run this is"):
        again(data, tmp_path)


@pytest.mark.usefixtures("_without_page")
def test_fine_tuning_a_new_head(trained: Run, tmp_path: Path) -> None:
    """Other classes, frozen backbone: the head alone changes."""
    images, labels = textures(120, 2)
    np.savez(tmp_path / "two.npz", train_images=images, train_labels=labels > 0, val_images=images, val_labels=labels > 0)
    assert isinstance(trained.model, BagNet)
    run = finetune(
        trained.model, tmp_path / "two.npz", tmp_path / "run", epochs=6, batch_size=24, learning_rate=0.05, freeze=True
    )
    assert accuracy(run) > 0.95
    assert len(run.model.classes) == 2
    before, after = trained.model.state_dict(), run.model.state_dict()
    changed = {name for name in before if before[name].shape != after[name].shape or not torch.equal(before[name], after[name])}
    assert changed == {"fc.weight", "fc.bias"}


@pytest.mark.usefixtures("_without_page")
def test_fine_tuning_all_of_it_at_two_rates(trained: Run, data: Path, tmp_path: Path, quick: Recipe) -> None:
    assert isinstance(trained.model, BagNet)
    run = finetune(trained.model, data, tmp_path, quick.changed(learning_rate=1e-3, epochs=1), backbone_rate=0.1)
    assert accuracy(run) > 0.95


@pytest.mark.usefixtures("_without_page")
def test_distillation(trained: Run, data: Path, tmp_path: Path, quick: Recipe) -> None:
    """From a teacher alone, whose answers are kept and asked for once."""
    told = quick.changed(distil=1.0, temperature=2.0, epochs=5)
    arguments = {"shape": SMALL, "preprocessing": PREPROCESSING, "teacher": str(trained.path)}
    assert accuracy(train(data, tmp_path, told, **arguments)) > 0.95  # type: ignore[arg-type]
    (kept,) = (tmp_path / "teacher").rglob("*.npy")
    assert np.load(kept).shape == (228, 3)


@pytest.mark.usefixtures("_without_page")
def test_a_yes_or_no_has_one_logit(tmp_path: Path, quick: Recipe) -> None:
    images, labels = textures(240, 0)
    np.savez(tmp_path / "two.npz", train_images=images, train_labels=labels == 1)
    run = train(tmp_path / "two.npz", tmp_path / "run", quick.changed(head="sigmoid"), shape=SMALL, preprocessing=PREPROCESSING)
    assert [str(entry) for entry in run.model.classes] == ["class 1"]
    hardest = quick.changed(head="sigmoid", masked=0.01, masked_at="hardest")
    with pytest.raises(ValueError, match="masked_at=hardest asks for the lead of one label"):
        train(tmp_path / "two.npz", tmp_path / "other", hardest, shape=SMALL, preprocessing=PREPROCESSING)
    assert run.card.multilabel
    assert run.evaluation is None  # there is no val
    x = torch.stack([PREPROCESSING.of_pixels(image) for image in images])
    with torch.inference_mode():
        logits = run.model(x)[:, 0]
    assert ((logits > 0).numpy() == (labels == 1)).mean() > 0.95
    assert isinstance(run.model, BagNet)
    assert bagnet.explain(run.model, x[0]).top(1)[0].probability == pytest.approx(float(logits[0].sigmoid()))


@pytest.mark.usefixtures("_without_page")
def test_another_network_by_the_same_recipe(data: Path, tmp_path: Path, quick: Recipe) -> None:
    shape = ExternalArchitecture("tests.training.conftest:plain")
    run = train(data, tmp_path, quick, shape=shape, preprocessing=PREPROCESSING)
    assert isinstance(run.model, ExternalNetwork)
    assert run.path.name == "plain.mine.safetensors"
    assert accuracy(run) > 0.95
    with pytest.raises(ValueError, match=r"is not a bag of windows but a tests\.training\.conftest:plain"):
        bagnet.load(run.path)


def test_the_folder_of_another_run(trained: Run, data: Path) -> None:
    faster = Recipe(**trained.card.more["recipe"]).changed(learning_rate=0.1)
    with pytest.raises(OtherRun, match=r"holds a run with learning_rate 0.02 instead of 0.1; choose another output$"):
        train(data, trained.folder, faster, shape=SMALL, preprocessing=PREPROCESSING)
    same = Recipe(**trained.card.more["recipe"])
    with pytest.raises(OtherRun, match="holds a run with crop 17 instead of 12"):
        train(data, trained.folder, same, shape=SMALL, preprocessing=PREPROCESSING.with_crop(12))
    with pytest.raises(OtherRun, match="other weights to start from"):
        train(data, trained.folder, same, start=trained.model, preprocessing=PREPROCESSING)  # type: ignore[arg-type]


def pictures(folder: Path, names: Sequence[str], count: int, side: int = 20) -> Path:
    """A folder of plain pictures for each class, in a colour by its first letter; every second picture is a pixel wider."""
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            colour = tuple(200 - number if letter == name[0] else 30 for letter in "abc")
            Image.new("RGB", (side + number % 2, side), colour).save(folder / name / f"{number:02d}.png")
    return folder


def test_val_may_lack_a_class(tmp_path: Path, quick: Recipe) -> None:
    """What is shown on the page is by the network's numbers of classes, not by those of val."""
    pictures(tmp_path / "data/train", ["ape", "bee", "cow"], 20)
    pictures(tmp_path / "data/val", ["ape", "cow"], 3)
    recipe = quick.changed(batch_size=8, epochs=12)
    run = train(tmp_path / "data", tmp_path / "run", recipe, shape=SMALL, preprocessing=PREPROCESSING)
    assert run.evaluation is not None
    assert run.evaluation.top(1) == 1.0
    assert 'class="wrong"' not in (tmp_path / "run/report.html").read_text()


def test_what_would_fail_at_the_end_is_refused_at_once(tmp_path: Path, quick: Recipe) -> None:
    pictures(tmp_path / "data/train", ["ape", "bee"], 4)
    pictures(tmp_path / "data/val", ["ape", "bee", "cow"], 1)
    arguments = {"shape": SMALL, "preprocessing": PREPROCESSING}
    with pytest.raises(ValueError, match=r"the val split of .* does not fit its train split: 1 of 3 classes.*cow"):
        train(tmp_path / "data", tmp_path / "run", quick, **arguments)  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()
    for inside in ("data/train", "data/train/run"):
        with pytest.raises(ValueError, match="lies among the images"):
            train(tmp_path / "data/train", tmp_path / inside, quick, **arguments)  # type: ignore[arg-type]
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="file: is a file; name a folder"):
        train(tmp_path / "data/train", tmp_path / "file", quick, **arguments)  # type: ignore[arg-type]


@pytest.mark.usefixtures("_without_page")
def test_unreadable_images_of_several_sizes_end_a_run_early(
    tmp_path: Path, quick: Recipe, caplog: pytest.LogCaptureFixture
) -> None:
    """They are found as they are read; the same folder may go on with a larger share, and all are listed once."""
    folder = pictures(tmp_path / "images", ["ape", "bee"], 20)
    broken = [folder / "ape/07.png", folder / "bee/11.png", folder / "bee/12.png"]
    for path in broken:
        path.write_bytes(b"no image")
    recipe = quick.changed(batch_size=8, epochs=3)
    caplog.set_level("INFO", "bagnet")
    arguments = {"shape": SMALL, "preprocessing": PREPROCESSING}
    with pytest.raises(ValueError, match=r"of 38 images cannot be read, more than 1%"):
        train(folder, tmp_path / "run", recipe, **arguments)  # type: ignore[arg-type]
    assert "images to train on" in caplog.text
    assert "epoch 3" not in caplog.text
    run = train(folder, tmp_path / "run", recipe.changed(unreadable=0.2), **arguments)  # type: ignore[arg-type]
    assert sorted(name for name, _ in run.unreadable) == ["ape/07.png", "bee/11.png", "bee/12.png"]


def test_what_only_bagnets_can_do(data: Path, tmp_path: Path, quick: Recipe) -> None:
    shape = ExternalArchitecture("bagnet.zoo.comparison:small_vgg")
    for changed in ({"sparsity": 0.1}, {"freeze": True}, {"backbone_rate": 0.1}):
        with pytest.raises(ValueError, match=f"{next(iter(changed))} is for BagNets"):
            train(data, tmp_path, quick.changed(**changed), shape=shape, preprocessing=PREPROCESSING)
    with pytest.raises(ValueError, match="freeze trains the head alone"):
        train(data, tmp_path, quick.changed(freeze=True), shape=SMALL, preprocessing=PREPROCESSING)


@pytest.mark.usefixtures("_without_page")
def test_a_folder_that_holds_no_checkpoint_is_no_run(tmp_path: Path, quick: Recipe) -> None:
    """What failed at once may be begun again in another way."""
    images, labels = textures(40, 0)
    five = np.concatenate([images, images[..., :2]], 3)
    np.savez(tmp_path / "five.npz", train_images=five, train_labels=labels)
    arguments = {"shape": SMALL, "preprocessing": PREPROCESSING.with_channels(5)}
    with pytest.raises(ValueError, match="take augment none"):
        train(tmp_path / "five.npz", tmp_path / "run", quick.changed(augment="trivial"), **arguments)  # type: ignore[arg-type]
    assert not (tmp_path / "run/run.json").exists()
    run = train(tmp_path / "five.npz", tmp_path / "run", quick.changed(epochs=1), **arguments)  # type: ignore[arg-type]
    assert run.card.preprocessing.mean == (0.5,) * 5


@pytest.mark.usefixtures("_without_page")
def test_too_many_unreadable_images(tmp_path: Path, quick: Recipe) -> None:
    """One of two classes has a broken file: skipped and listed, or refused, as the recipe says."""
    for name, shade in (("dark", 40), ("light", 200)):
        for number in range(20):
            path = tmp_path / "images" / name / f"{number:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20, 20), (shade + number, shade, shade)).save(path)
    (tmp_path / "images" / "dark" / "07.png").write_bytes(b"no image")
    arguments = {"shape": SMALL, "preprocessing": PREPROCESSING}
    with pytest.raises(ValueError, match=r"1 of 38 images cannot be read, more than 1%.*dark/07\.png"):
        train(tmp_path / "images", tmp_path / "a", quick.changed(batch_size=8), **arguments)  # type: ignore[arg-type]
    lenient = quick.changed(batch_size=8, unreadable=0.1, epochs=1)
    run = train(tmp_path / "images", tmp_path / "b", lenient, **arguments)  # type: ignore[arg-type]
    assert [name for name, _ in run.unreadable] == ["dark/07.png"]
    assert "dark/07.png" in (tmp_path / "b" / "unreadable.csv").read_text()


def test_a_teacher_is_asked_for(data: Path, tmp_path: Path, quick: Recipe) -> None:
    with pytest.raises(ValueError, match="name a teacher"):
        train(data, tmp_path, quick.changed(distil=0.5), shape=SMALL, preprocessing=PREPROCESSING)


def test_a_teacher_that_lacks_a_class(trained: Run, tmp_path: Path, quick: Recipe) -> None:
    images, _labels = textures(40, 0)
    np.savez(tmp_path / "four.npz", train_images=images, train_labels=np.arange(40) % 4)
    arguments = {"shape": SMALL, "preprocessing": PREPROCESSING, "teacher": trained.model}
    with pytest.raises(ValueError, match="1 of 4 classes are not among the 3 known: class 3"):
        train(tmp_path / "four.npz", tmp_path / "run", quick.changed(distil=0.5), **arguments)  # type: ignore[arg-type]


def test_weights_cannot_start_another_shape(trained: Run, data: Path, tmp_path: Path, quick: Recipe) -> None:
    assert isinstance(trained.model, BagNet)
    with pytest.raises(ValueError, match="cannot start another network"):
        train(data, tmp_path, quick, shape=replace(SMALL, width=8), start=trained.model)


@pytest.mark.usefixtures("_without_page")
def test_a_windowed_network_is_trained_on_windows_of_whole_images(data: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    start = windowed("tests.training.conftest:plain", 9, 4)
    assert start.card is not None
    start.card = replace(start.card, preprocessing=replace(PREPROCESSING, crop=None))
    quick = recipe("modern", epochs=4, batch_size=24, select=0.05, learning_rate=0.02, augment="none", windows=3)
    run = train(data, tmp_path, quick, start=start, tag="textures")
    assert accuracy(run) > 0.95
    assert run.card.preprocessing.crop is None
    assert run.model.geometry == bagnet.Geometry(9, 4), "steps see windows at random places, and the result those of the grid"
    assert float(read_log(tmp_path / "log.csv")[-1]["select_top1"]) > 0.9


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"cutmix": 1.0}, "windows at random places have no such box: take mixup"),
        ({"windows": 4, "train_crop": 17}, "windows are sampled of whole images by windowed networks alone"),
        ({"masked": 0.02}, "masked leaves out windows of crops that are seen whole, as BagNets see them"),
        ({"blocks": 2}, "blocks must be at most 1, as windowed9s4 has no more, got 2"),
        ({"blocks": 1, "freeze": True}, "and leave freeze out"),
    ],
)
def test_what_windowed_networks_cannot_do(data: Path, tmp_path: Path, fields: dict[str, float], reason: str) -> None:
    start = windowed("tests.training.conftest:plain", 9, 4)
    assert start.card is not None
    start.card = replace(start.card, preprocessing=replace(PREPROCESSING, crop=None))
    with pytest.raises(ValueError, match=reason):
        train(data, tmp_path / "run", recipe("modern", **fields), start=start)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("_without_page")
def test_groups_are_held_out_whole(tmp_path: Path, quick: Recipe) -> None:
    images, labels = textures(60, 0)
    rows = ["image,part"]
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        (tmp_path / "data" / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "data" / str(label) / f"{number}.png")
        rows.append(f"{number}.png,{number // 6}")
    (tmp_path / "data.csv").write_text("\n".join(rows))
    short = quick.changed(epochs=1, batch_size=12, select=0.2)
    keywords = {"shape": SMALL, "preprocessing": PREPROCESSING}
    train(tmp_path / "data", tmp_path / "run", short, group="part", **keywords)
    with pytest.raises(ValueError, match="no CSV says what the images belong to in a column 'patient'"):
        train(tmp_path / "data", tmp_path / "other", short, group="patient", **keywords)


@pytest.mark.usefixtures("_without_page")
def test_a_start_that_may_have_seen_the_images_is_said(
    data: Path, tmp_path: Path, quick: Recipe, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(0)
    start = windowed("tests.training.conftest:plain", 9, 4)
    assert start.card is not None
    said = "was trained on textures.npz: it may have seen the images to select on"
    for trained_on, expected in (("photos", False), ("textures.npz", True)):
        start.card = replace(start.card, preprocessing=replace(PREPROCESSING, crop=None), trained_on=trained_on)
        caplog.clear()
        with caplog.at_level("INFO", "bagnet"):
            train(data, tmp_path / trained_on, quick.changed(epochs=1, windows=1), start=start)
        assert (said in caplog.text) is expected
