"""`bagnet train`: every field a flag, one-line errors, a result that the other commands take."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bagnet
from bagnet.data.decode import BadImage
from bagnet.geometry import Box
from bagnet.slides.readers import ArrayReader, Pixels
from bagnet.training.checkpoints import read_log
from bagnet.training.recipe import Recipe, recipe

from .conftest import Run, assert_refused

NETWORK = [
    "--kernel3",
    "1,1,0,0",
    "--strides",
    "2,2,1,1",
    "--layers",
    "1,1,1,1",
    "--width",
    "4",
    "--resize",
    "20",
    "--crop",
    "17",
]
QUICK = ["--epochs", "4", "--batch-size", "12", "--learning-rate", "0.02", "--ema", "0.8", "--augment", "none"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of files: dark ones and light ones."""
    root = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for split, count in (("train", 60), ("val", 20)):
        for name, shade in (("dark", 40), ("light", 180)):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(shade, shade + 40, (20, 24, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{number}.png")
    return root


def test_a_folder(run: Run, folder: Path, tmp_path: Path) -> None:
    result = run("train", folder, "--out", tmp_path, *NETWORK, *QUICK, "--tag", "shades")
    assert result.code == 0, result.err
    assert "bagnet9s4.shades: balanced accuracy 100.00 % [" in result.out
    assert "ROC AUC 1.000 [" in result.out
    assert "top-5" not in result.out
    assert [line.split()[:2] for line in result.out.splitlines() if "100.0 %" in line] == [["dark", "20"], ["light", "20"]]
    assert "epoch 4 of 4: balanced accuracy" in result.err
    assert "<h2>Recipe</h2>" in (tmp_path / "report.html").read_text()
    assert recipe(tmp_path / "recipe.toml").learning_rate == 0.02
    weights = tmp_path / "bagnet9s4.shades.safetensors"
    assert bagnet.explain(bagnet.load(weights), folder / "val" / "dark" / "0.png").top(1)[0].name == "dark"


@pytest.mark.parametrize("words", [(*NETWORK, *QUICK), ("--start", "bagnet25s4.tiny_in200", "--resize", "30", "--probe")])
def test_scans_whose_levels_are_all_among_the_darkest(run: Run, tmp_path: Path, words: tuple[str, ...]) -> None:
    """Their upper 8 bits are 0 in both classes: only who says what is black and white sees anything, and the card keeps it."""
    random, data = np.random.default_rng(0), tmp_path / "scans"
    for split, count in (("train", 40), ("val", 10)):
        for name, level in (("dense", 0), ("loose", 150)):
            (data / split / name).mkdir(parents=True)
            for number in range(count):
                levels = random.integers(level, level + 100, (30, 30)).astype(np.uint16)
                Image.fromarray(levels).save(data / split / name / f"{number}.png")
    result = run("train", data, "--out", tmp_path / "run", "--grey", "0,250", "--tag", "scans", "--json", *words)
    assert result.code == 0, result.err
    assert json.loads(result.out)["val"]["top1"] == 1.0
    (weights,) = (tmp_path / "run").glob("*.scans.safetensors")
    assert bagnet.load(weights).transform.grey == (0, 250)
    for grey, right in (((), 1.0), (("--grey", "0,65535"), 0.5)):
        evaluated = run("evaluate", data, "--model", weights, "--out", tmp_path / "report", "--json", *grey)
        (measured,) = json.loads(evaluated.out)["models"]
        assert measured["top1"] == right
    assert "0 is black and 250 white" in run("models", "info", weights).out.replace("\n", " ")


@pytest.mark.slow
def test_two_runs_into_one_folder(folder: Path, tmp_path: Path) -> None:
    """Started together: one trains to its end, the other is told at once who does; then the folder is free again."""
    command = [sys.executable, "-m", "bagnet", "train", str(folder), "--out", str(tmp_path / "run"), *NETWORK, *QUICK]
    processes = [
        subprocess.Popen([*command, "--tag", tag], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for tag in "ab"
    ]
    results = [(process, *process.communicate()) for process in processes]
    (winner, out, _), (loser, nothing, err) = sorted(results, key=lambda result: result[0].returncode)
    assert (winner.returncode, loser.returncode, nothing) == (0, 2, "")
    assert "top-1 100.00 %" in out
    (line,) = err.splitlines()
    assert line.startswith(f"bagnet: {tmp_path / 'run'}: another run is writing it (process {winner.pid} on ")
    assert len(list((tmp_path / "run").glob("*.safetensors"))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    steps = [row["step"] for row in read_log(tmp_path / "run" / "log.csv") if row["loss"]]
    assert len(steps) == len(set(steps))


def test_from_a_toml_file_and_a_start(run: Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('recipe = "paper"\nepochs = 1\nbatch_size = 30\nlearning_rate = 0.01\n')
    command = ("train", folder, "--recipe", tmp_path / "mine.toml", "--start", "bagnet25s4.tiny_in200", "--freeze")
    result = run(*command, "--crop", "25", "--out", tmp_path / "run", "--json")
    assert result.code == 0, result.err
    printed = json.loads(result.out)
    assert printed["unreadable"] == 0
    assert printed["val"]["images"] == 40
    kept = recipe(tmp_path / "run" / "recipe.toml")
    assert (kept.optimiser, kept.epochs, kept.freeze) == ("sgd", 1, True)


def test_a_probe(run: Run, folder: Path, tmp_path: Path) -> None:
    command = ("train", folder, "--out", tmp_path, "--start", "bagnet25s4.tiny_in200", "--resize", "30", "--probe")
    result = run(*command, "--folds", "4", "--tag", "shades")
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert lines[0].startswith("bagnet25s4.shades: balanced accuracy 100.00 % [")
    assert lines[0].endswith(f"on {folder.name} train, cross-validated in 4 folds (120 images)")
    assert lines[1].endswith(f"on {folder.name} val (40 images)")
    assert lines[-1] == f"-> {tmp_path / 'bagnet25s4.shades.safetensors'}"
    assert "features of windows of 25 px every 4 of 120 images" in result.err
    page = (tmp_path / "report.html").read_text()
    assert "cross-validated in 4 folds (120 images" in page
    assert "loss of cross-validation by the penalty" in page
    printed = json.loads(run(*command, "--folds", "4", "--tag", "shades", "--json").out)
    assert (printed["val"]["images"], printed["cross_validation"]["images"]) == (40, 120)
    assert bagnet.load(tmp_path / "bagnet25s4.shades.safetensors").transform.crop is None


def test_every_field_of_a_recipe_is_a_flag() -> None:
    import typer

    from bagnet.cli import app

    command = typer.main.get_command(app).commands["train"]  # type: ignore[attr-defined]
    flags = {flag for parameter in command.params for flag in parameter.opts}
    assert {f"--{field.name.replace('_', '-')}" for field in fields(Recipe)} <= flags
    assert all(field.metadata["help"] for field in fields(Recipe))


def slides(folder: Path, count: int = 12) -> Path:
    """A list of slides, dark ones and light ones."""
    random = np.random.default_rng(0)
    lines = ["slide,label"]
    for number in range(count):
        shade = (40, 180)[number % 2]
        np.save(folder / f"{number}.npy", random.integers(shade, shade + 40, (60, 90, 3)).astype(np.uint8))
        lines.append(f"{number}.npy,{('dark', 'light')[number % 2]}")
    (folder / "slides.csv").write_text("\n".join(lines))
    return folder / "slides.csv"


def test_slides(run: Run, tmp_path: Path) -> None:
    words = ["--tiles", "2", "--out", tmp_path / "run", *NETWORK, *QUICK, "--batch-size", "4", "--workers", "0", "--epochs", "2"]
    result = run("train", slides(tmp_path), *words)
    assert result.code == 0, result.err
    model = tmp_path / "run" / "bagnet9s4.mine.safetensors"
    assert str(model) in result.out
    mapped = run("slide", tmp_path / "0.npy", "--model", model, "--class", "dark", "--out", tmp_path / "map")
    assert mapped.code == 0, mapped.err
    assert "pixels are seen at level 0, as bagnet9s4.mine was trained" in mapped.err
    judged = ("evaluate", tmp_path / "slides.csv", "--split", "train", "--model", model, "--workers", 0)
    assert "bagnet9s4.mine sees at most 8 tiles of 17 px at level 0 of each" in run(*judged).out.splitlines()[1]
    (record,) = json.loads(run(*judged, "--tiles", 1, "--json").out)["models"]
    assert (record["images"], record["seen"]) == (12, "at most 4 tiles of 17 px at level 0")
    assert_refused(run(*judged, "--tiles", 0), "0.npy: is a slide: say how many tiles of each are to be seen (--tiles 16)")
    assert_refused(run(*judged, "--tiles", 2, "--size", 30), "--size is of images that are seen whole")
    assert_refused(run(*judged, "--sparseness"), "--sparseness is of images that are seen whole")
    assert_refused(run(*judged, "--microns", 1), "0.npy: the file does not say how large its pixels are")


def test_tiles_that_cannot_be_read(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = ArrayReader.read

    def corrupt(self: ArrayReader, level: int, box: Box) -> Pixels:
        if box.left < 30:
            raise BadImage("corrupt")
        return read(self, level, box)

    monkeypatch.setattr(ArrayReader, "read", corrupt)
    words = ["--tiles", "2", "--out", tmp_path / "run", *NETWORK, *QUICK, "--batch-size", "4", "--workers", "0", "--epochs", "1"]
    result = run("train", slides(tmp_path), *words, "--unreadable", "0.9")
    assert result.code == 0, result.err
    table = tmp_path / "run" / "unreadable.csv"
    rows = table.read_text().splitlines()
    count = len({row.split(",")[0] for row in rows[1:]})
    assert f"{len(rows) - 1} tiles of {count} slides cannot be read, and others stood in for them: {table}" in result.err
    assert rows[0] == "image,reason,tile"
    strict = run("train", tmp_path / "slides.csv", *words[:2], "--out", tmp_path / "strict", *words[4:])
    assert strict.code == 2
    assert "tiles of an epoch cannot be read, more than 1% (unreadable in the recipe)" in strict.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("lines", "words", "reason"),
    [
        ("slide\n0.npy", ["--tiles", "2"], "slides.csv: has no column 'label', but slide"),
        ("slide,label\n0.npy,a\n1.npy,", ["--tiles", "2"], "slides.csv: row 1 has no label"),
        ("slide,label\n0.npy,a\n1.npy,b", [], "0.npy: is a slide: say how many tiles of each are to be seen (--tiles 16)"),
        ("", ["--tiles", "2"], "has no column 'image' or 'slide'"),
        (None, ["--tiles", "2", "--network", "timm:resnet18"], "tiles are for bags of windows"),
        (None, ["--tiles", "2", "--level", "1", "--microns", "2"], "level and microns are two answers to one question"),
        (None, ["--level", "1"], "level and microns are of slides"),
        (None, ["--tiles", "2", "--probe"], "--tiles is for training, and a probe makes the head alone"),
        (None, ["--tiles", "2", "--group", "patient"], "has no column 'patient', but slide, label"),
    ],
)
def test_wrong_usage_with_slides(run: Run, tmp_path: Path, lines: str | None, words: list[str], reason: str) -> None:
    path = slides(tmp_path, 4)
    if lines is not None:
        path.write_text(lines)
    assert_refused(run("train", path, *words, "--out", tmp_path / "run"), reason)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--tiles", "2", "--crop", "70"], "60 pixels (level 0) are smaller than a tile of 70"),
        (["--tiles", "2", "--level", "3"], "there is no level 3"),
        (["--tiles", "2", "--microns", "1"], "does not say how large its pixels are"),
    ],
)
def test_slides_none_of_which_can_be_used(run: Run, tmp_path: Path, words: list[str], reason: str) -> None:
    result = run("train", slides(tmp_path, 4), *NETWORK, *words, "--workers", "0", "--out", tmp_path / "run")
    assert result.code == 2, result
    assert "none of the 2 images can be read" in result.err or "images cannot be read" in result.err
    assert reason in result.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["missing"], "missing: there is no such folder"),
        (["{folder}", "--recipe", "best"], "there is no recipe 'best'"),
        (["{folder}", "--epochs", "-1"], "epochs must be at least 0, got -1"),
        (["{folder}", "--optimiser", "adam"], "optimiser must be one of adamw, sgd"),
        (["{folder}", "--distil", "0.5"], "name a teacher"),
        (["{folder}", "--teacher", "bagnet25s4.tiny_in200"], "distils nothing"),
        (["{folder}", "--start", "bagnet25s4.tiny_in200", "--width", "8"], "--width shapes a new BagNet"),
        (["{folder}", "--network", "timm:resnet18", "--layers", "1,1,1,1"], "--layers shapes a new BagNet"),
        (["{folder}", "--start", "bagnet34"], "no model is called 'bagnet34'"),
        (["{folder}", "--network", "timm:nothing"], "timm:nothing"),
        (["{folder}", "--strides", "2,2"], "is not four whole numbers"),
        (["{folder}", "--grey", "0"], "--grey 0: is not two levels such as 0,4095"),
        (["{folder}", "--grey", "9,3"], "grey must be two levels"),
        (
            ["{folder}", "--probe", "--epochs", "3"],
            "--epochs is for training, and a probe makes the head alone",
        ),
        (["{folder}", "--probe", "--network", "timm:resnet18"], "--network is for training"),
        (["{folder}", "--probe", "--distil", "0.5"], "--distil is for training"),
        (["{folder}", "--probe", "--logger", "csv"], "--logger is for training"),
        (["{folder}", "--logger", "neptune"], "there is no logger 'neptune': there are tensorboard, csv, wandb, mlflow, none"),
        (["{folder}", "--probe", "--balance", "sampler"], "--balance sampler draws images for the steps of training"),
        (["{folder}", "--probe", "--ordinal", "--head", "sigmoid"], "are two different heads"),
        (["{folder}", "--probe", "--window", "64,x"], "--window '64,x' is not one or several whole numbers"),
        (["{folder}", "--probe", "--resize", "large"], "--resize 'large' is neither a number of pixels nor native"),
        (["{folder}", "--probe", "--start", "bagnet25s4.tiny_in200", "--window", "9"], "is a bag of local features already"),
        (["{folder}", "--probe", "--group", "patient"], "no CSV says what the images belong to in a column 'patient'"),
        (["{folder}", "--probe", "--folds", "61"], "class dark has 60 images, fewer than 61 folds"),
        (["{folder}", "--ordinal"], "--ordinal is for --probe: leave --ordinal out"),
        (["{folder}", "--window", "9"], "--window is for windowed networks: name one with --start"),
        (["{folder}", "--start", "default", "--window", "9,12"], "several are tried by --probe"),
        (["{folder}/train/dark"], "has no folders of classes"),
        (["{folder}/train/dark/0.png"], "there is no such folder"),
        (["{folder}", *NETWORK[:-2], "--crop", "3"], "too small for windows of 9 pixels"),
    ],
)
def test_wrong_usage(run: Run, words: list[str], reason: str, folder: Path, tmp_path: Path) -> None:
    words = [word.replace("{folder}", str(folder)) for word in words]
    assert_refused(run("train", *words, "--out", tmp_path / "run"), reason)
    assert not (tmp_path / "run").exists()
