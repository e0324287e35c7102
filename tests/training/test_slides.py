"""Networks trained from slides with one label each: made slides, in half of which a texture is planted."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bagnet
from bagnet.data.decode import BadImage
from bagnet.data.labelled import open_labelled
from bagnet.geometry import Box
from bagnet.runs.store import OtherRun
from bagnet.slides.readers import TiffReader
from bagnet.slides.tiles import Tiling, seen_by
from bagnet.training import fitting
from bagnet.training.checkpoints import read_log
from bagnet.training.recipe import Recipe, recipe
from bagnet.training.run import Run, train
from bagnet.zoo.windowed import windowed

from .conftest import PREPROCESSING, SMALL

SIDE, PLANTED = 40, 100
SLIDES, OF_VAL = 24, 12


def slide_pixels(number: int) -> tuple[np.ndarray[Any, Any], Box]:
    """A slide, white around noise, and where, if its number is odd, stripes as bright are planted."""
    random = np.random.default_rng(number)
    pixels = np.full((200, 260, 3), 250, np.uint8)
    pixels[20:180, 30:220] = random.integers(100, 156, (160, 190, 3))
    top, left = int(random.integers(20, 180 - PLANTED)), int(random.integers(30, 220 - PLANTED))
    if number % 2:
        stripes = np.where(np.arange(PLANTED) // 2 % 2, 158, 98)[:, None, None]
        pixels[top : top + PLANTED, left : left + PLANTED] = stripes + random.integers(-20, 21, (PLANTED, PLANTED, 3))
    return pixels, Box(left, top, left + PLANTED, top + PLANTED)


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of pyramids: the second level has half of the pixels, of half a micrometre."""
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("zarr")
    folder = tmp_path_factory.mktemp("slides")
    rows = [("slide", "label", "split", "patient")]
    for number in range(SLIDES + OF_VAL):
        pixels, _ = slide_pixels(number)
        name = f"{number:02}.tif"
        options: dict[str, Any] = {"tile": (64, 64), "photometric": "rgb", "compression": "zlib"}
        with tifffile.TiffWriter(folder / name) as file:
            twice = pixels.repeat(2, 0).repeat(2, 1)
            file.write(twice, subifds=1, resolution=(40_000, 40_000), resolutionunit="CENTIMETER", **options)
            file.write(pixels, subfiletype=1, **options)
        rows.append((name, ("plain", "striped")[number % 2], "train" if number < SLIDES else "val", f"patient {number // 4}"))
    write(folder / "slides.csv", rows)
    return folder / "slides.csv"


def write(path: Path, rows: list[tuple[str, ...]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture
def few(slides: Path, tmp_path: Path) -> Path:
    """A list of twelve of them, without val."""
    with slides.open(newline="") as file:
        rows = [(str(slides.parent / row["slide"]), row["label"]) for row in csv.DictReader(file)][:12]
    write(tmp_path / "few.csv", [("slide", "label"), *rows])
    return tmp_path / "few.csv"


RECIPE = recipe(
    "modern",
    tiles=8,
    train_crop=SIDE,
    microns=0.5,
    epochs=8,
    batch_size=4,
    select=0.2,
    learning_rate=0.02,
    augment="none",
    ema=0.8,
)
SHORT = RECIPE.changed(epochs=2, tiles=2, batch_size=2)


def run(source: Path, folder: Path, how: Recipe, **keywords: Any) -> Run:
    keywords = {"shape": SMALL, "preprocessing": PREPROCESSING, "workers": 0, **keywords}
    return train(source, folder, how, **keywords)


@pytest.fixture(scope="module")
def trained(slides: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(slides, tmp_path_factory.mktemp("run"), RECIPE, group="patient")


def test_a_planted_texture_is_learnt_from_a_label_a_slide(trained: Run, slides: Path, tmp_path: Path) -> None:
    assert trained.evaluation is not None
    assert (trained.evaluation.data, trained.evaluation.images, trained.evaluation.independent) == ("slides.csv val", OF_VAL, 3)
    assert trained.evaluation.top(1) >= 10 / 12
    (area,) = (measure.estimate.value for measure in trained.evaluation.measures() if measure.key == "roc_auc")
    assert area > 0.95
    result = bagnet.slide(
        bagnet.load(trained.path), slides.parent / "25.tif", ["striped"], tmp_path, microns=0.5, skip_white=True
    )
    row, column = np.unravel_index(np.nanargmax(result.map("striped")), result.evidence.shape[1:])
    assert slide_pixels(25)[1].intersect(result.geometry.window(int(row), int(column))).area > 0


def test_the_card_says_how_slides_are_seen(trained: Run) -> None:
    card = trained.card
    assert (card.preprocessing.resize, card.preprocessing.crop) == (None, None), "pixels are seen as they are"
    assert (card.more["recipe"]["tiles"], card.more["recipe"]["train_crop"]) == (8, SIDE)
    assert (card.more["recipe"]["microns"], card.more["recipe"]["skip_white"]) == (0.5, True)
    assert card.scores[0].images == OF_VAL
    page = (trained.folder / "report.html").read_text()
    assert "slides.csv val (12 images" in page
    assert 'class="samples"' not in page, "a slide is no picture"


def test_the_answer_is_the_mean_over_the_windows_of_all_tiles(trained: Run, slides: Path) -> None:
    """What is measured, from evidence of each tile by itself."""
    val = Tiling(8, SIDE, microns=0.5).of(open_labelled(slides, "val"))
    model = bagnet.load(trained.path)
    assert trained.evaluation is not None
    for row in range(3):
        tiles = model.transform.of_pixels(val.images.pixels(row, 3))
        with torch.inference_mode():
            evidence = model.evidence(tiles)
        expected = evidence.double().mean((0, 2, 3)).numpy()
        assert np.abs(trained.evaluation.scores[row] - expected).max() < 1e-4 * np.abs(expected).max()


def test_it_is_judged_on_slides_as_at_its_end(trained: Run, slides: Path, tmp_path: Path) -> None:
    """By the tiles that its card says, whether all at once or in parts."""
    model = bagnet.load(trained.path)
    assert trained.evaluation is not None
    evaluation = bagnet.evaluate(model, slides, seen_as=seen_by(model))
    assert np.array_equal(evaluation.scores, trained.evaluation.scores)
    assert evaluation.seen == trained.evaluation.seen == "at most 32 tiles of 40 px at 0.5 microns per pixel"
    for number in (1, 2):
        bagnet.evaluate_part(model, slides, (number, 2), tmp_path / str(number), seen_as=seen_by(model))
    merged = bagnet.merge_evaluations([tmp_path / "1", tmp_path / "2"])
    assert np.array_equal(merged.scores, evaluation.scores)
    assert merged.seen == evaluation.seen
    fewer = bagnet.evaluate(model, slides, seen_as=seen_by(model, 1))
    assert fewer.seen == "at most 4 tiles of 40 px at 0.5 microns per pixel"
    assert not np.array_equal(fewer.scores, evaluation.scores)
    with pytest.raises(OtherRun, match=r"seen .at most 32 tiles .* instead of .at most 4 tiles"):
        bagnet.evaluate_part(model, slides, (1, 2), tmp_path / "1", seen_as=seen_by(model, 1))


class Cut(BaseException):
    """Nobody expects it."""


@pytest.fixture
def _without_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bagnet.training.run.report", lambda *_: None)


@pytest.mark.usefixtures("_without_page")
@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_run_that_is_cut_short_goes_on_to_the_same_weights(
    workers: int, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads the slides."""
    monkeypatch.setattr(fitting, "CHECKPOINT_STEPS", 2)
    how = SHORT.changed(mixup=0.2, augment="trivial", scale=0.5)
    whole = run(few, tmp_path / "whole", how)
    step, calls = fitting.Training.training_step, list[int]()

    def cut(self: Any, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) in (4, 8):
            raise Cut
        return step(self, *arguments)

    monkeypatch.setattr(fitting.Training, "training_step", cut)
    for _ in range(2):
        with pytest.raises(Cut):
            run(few, tmp_path / "cut", how)
    after = run(few, tmp_path / "cut", how, workers=workers)
    before = whole.model.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in after.model.state_dict().items())
    logs = [[{**row, "seconds": ""} for row in read_log(tmp_path / name / "log.csv")] for name in ("whole", "cut")]
    assert logs[0] == logs[1]
    with pytest.raises(OtherRun, match="tiles"):
        run(few, tmp_path / "cut", how.changed(tiles=3))


@pytest.mark.usefixtures("_without_page")
@pytest.mark.parametrize(("crop", "windows"), [(None, 1), (24, 4)])
def test_a_windowed_network_sees_tiles_of_its_windows(
    few: Path, tmp_path: Path, crop: int | None, windows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As large as a window, unless another size is said: then of so many windows each."""
    start = windowed("tests.training.conftest:plain", 16, 8, scale="native")
    seen = []
    embed = type(start).embed

    def listening(self: Any, images: torch.Tensor) -> torch.Tensor:
        if self.training:
            seen.append(tuple(images.shape))
        return embed(self, images)

    monkeypatch.setattr(type(start), "embed", listening)
    how = SHORT.changed(epochs=1, train_crop=crop or 0)
    result = run(few, tmp_path / "run", how, start=start, shape=None, preprocessing=None)
    assert set(seen) == {(2 * 2 * windows, 3, 16, 16)}
    assert result.card.more["recipe"]["train_crop"] == (crop or 16)


@pytest.mark.usefixtures("_without_page")
def test_slides_that_cannot_be_used_are_skipped_and_listed(few: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "small.npy", np.zeros((30, 200, 3), np.uint8))
    np.save(tmp_path / "white.npy", np.full((100, 100, 3), 255, np.uint8))
    rows = few.read_text() + "gone.tif,plain\nsmall.npy,striped\nwhite.npy,plain\n"
    few.write_text(rows)
    result = run(few, tmp_path / "run", SHORT.changed(microns=0.0, unreadable=0.5))
    reasons = dict(result.unreadable)
    assert len(reasons) == 3
    assert any("gone.tif: there is no such file" in reason for reason in reasons.values())
    assert any("200 x 30 pixels (level 0) are smaller than a tile of 40" in reason for reason in reasons.values())
    assert any("white.npy: every tile is white" in reason for reason in reasons.values())
    with pytest.raises(BadImage, match="images cannot be read, more than 1%"):
        run(few, tmp_path / "strict", SHORT.changed(microns=0.0))


Tile = tuple[str, str, str]


@pytest.fixture
def corrupt(monkeypatch: pytest.MonkeyPatch) -> set[Tile]:
    """(slide, tile, reason) of what was asked for: of slide 3 nothing left of column 90 can be read."""
    asked: set[Tile] = set()
    read = TiffReader.read

    def refuses(self: TiffReader, level: int, box: Box) -> Any:
        name = str(self._path)
        if name.endswith("03.tif") and box.left < 90:
            asked.add((name, f"{box.width} x {box.height} at ({box.left}, {box.top}), level {level}", "corrupt"))
            raise BadImage("corrupt")
        return read(self, level, box)

    monkeypatch.setattr(TiffReader, "read", refuses)
    return asked


@pytest.mark.usefixtures("_without_page")
def test_tiles_that_cannot_be_read_are_counted_and_listed(
    few: Path, tmp_path: Path, corrupt: set[Tile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of training slides, also where the run was cut short."""
    monkeypatch.setattr(fitting, "CHECKPOINT_STEPS", 1)
    how = SHORT.changed(tiles=4, unreadable=0.5)
    result = run(few, tmp_path / "whole", how)
    assert result.unreadable == ()
    assert len(result.bad_tiles) >= 3
    assert set(result.bad_tiles) <= corrupt
    with (tmp_path / "whole" / "unreadable.csv").open(newline="") as file:
        rows = [(row["image"], row["tile"], row["reason"]) for row in csv.DictReader(file)]
    assert rows == list(result.bad_tiles)
    step, calls = fitting.Training.training_step, list[int]()

    def cut(self: Any, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 7:
            raise Cut
        return step(self, *arguments)

    monkeypatch.setattr(fitting.Training, "training_step", cut)
    with pytest.raises(Cut):
        run(few, tmp_path / "cut", how)
    assert run(few, tmp_path / "cut", how).bad_tiles == result.bad_tiles
    message = r"\d of 40 tiles of an epoch cannot be read, more than 2% \(unreadable in the recipe\); the first: corrupt"
    with pytest.raises(BadImage, match=message):
        run(few, tmp_path / "strict", how.changed(unreadable=0.02))


def test_a_slide_without_tiles_and_tiles_without_slides(few: Path, data: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "slide.npy", np.zeros((30, 200, 3), np.uint8))
    few.write_text(few.read_text() + "slide.npy,plain\n")
    with pytest.raises(ValueError, match=r"slide\.npy: is a slide: say how many tiles of each are to be seen .*--tiles 16"):
        run(few, tmp_path / "run", recipe("modern", epochs=1))
    with pytest.raises(ValueError, match="tiles are of slides, each a file: name a CSV"):
        run(data, tmp_path / "run", SHORT)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"masked": 0.02}, "masked is for images that are seen at once"),
        ({"margin": 1.0}, "margin is for images that are seen at once"),
        ({"cutmix": 1.0}, "cutmix is for images that are seen at once"),
        ({"level": 1}, "level and microns are two answers to one question"),
        ({"windows": 4}, "tiles are of slides and windows of whole images"),
        ({"tiles": 0}, "level and microns are of slides"),
        ({"train_crop": 8}, "too small for windows of 9"),
    ],
)
def test_a_recipe_that_does_not_fit(few: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(few, tmp_path / "run", SHORT.changed(**changes))


def test_a_network_that_does_not_fit(few: Path, tmp_path: Path) -> None:
    grey = PREPROCESSING.with_channels(1)
    with pytest.raises(ValueError, match="tiles of slides have three channels, and bagnet9s4 takes 1"):
        run(few, tmp_path / "run", SHORT, preprocessing=grey)
    other = bagnet.architecture.ExternalArchitecture("tests.training.conftest:plain")
    with pytest.raises(ValueError, match="tiles are for bags of windows, whose answer for a slide is a mean"):
        run(few, tmp_path / "run", SHORT, shape=other)
    whole = replace(PREPROCESSING, crop=None)
    with pytest.raises(ValueError, match="says no input size, and so not how large a tile is"):
        run(few, tmp_path / "run", SHORT.changed(train_crop=0), preprocessing=whole)
