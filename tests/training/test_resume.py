"""A run that is interrupted anywhere goes on to the very weights that it would have reached."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from bagnet.training import fitting, module
from bagnet.training.checkpoints import WholeFiles, read_log
from bagnet.training.recipe import Recipe
from bagnet.training.run import Run, train

from .conftest import PREPROCESSING, SMALL


class Cut(BaseException):
    """Nobody expects it."""


def run(data: Path, out: Path, recipe: Recipe, stream: bool = False) -> Run:
    return train(data, out, recipe, shape=SMALL, preprocessing=PREPROCESSING, stream=stream)


def same_weights(one: Path, other: Path) -> bool:
    (first,), (second,) = one.glob("*.safetensors"), other.glob("*.safetensors")
    a, b = load_file(first), load_file(second)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def steps_and_losses(folder: Path) -> list[tuple[str, ...]]:
    return [tuple(value for name, value in row.items() if name != "seconds") for row in read_log(folder / "log.csv")]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "CHECKPOINT_STEPS", 4)


def table(data: Path, folder: Path) -> Path:
    """The same images as a Parquet table, in groups of 20 rows."""
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    with np.load(data) as arrays:
        files = [io.BytesIO() for _ in arrays["train_labels"]]
        for file, image in zip(files, arrays["train_images"], strict=True):
            Image.fromarray(image).save(file, "PNG")
        columns = {"image": [file.getvalue() for file in files], "label": arrays["train_labels"]}
    folder.mkdir()
    parquet.write_table(arrow.table(columns), folder / "train.parquet", row_group_size=20)
    return folder


@pytest.mark.parametrize(("accumulate", "stream"), [(1, False), (2, False), (1, True)])
def test_cut_at_random_steps(
    accumulate: int, stream: bool, data: Path, tmp_path: Path, quick: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    if stream:
        data = table(data, tmp_path / "table")
    recipe = quick.changed(epochs=2, mixup=0.2, augment="trivial", accumulate=accumulate)
    run(data, tmp_path / "whole", recipe, stream)
    random = np.random.default_rng(accumulate)
    real, left = module.classification, 0

    def cut_short(*given: object, **named: object) -> torch.Tensor:
        nonlocal left
        left -= 1
        if left == 0:
            raise Cut
        return real(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "classification", cut_short)
    cuts = 0
    for _ in range(4):
        left = int(random.integers(2, 16 * accumulate))
        try:
            run(data, tmp_path / "cut", recipe, stream)
        except Cut:
            cuts += 1
    left = -1
    run(data, tmp_path / "cut", recipe, stream)
    assert cuts >= 2
    assert same_weights(tmp_path / "whole", tmp_path / "cut")
    assert steps_and_losses(tmp_path / "whole") == steps_and_losses(tmp_path / "cut")


def test_a_finished_run_is_not_run_again(data: Path, tmp_path: Path, quick: Recipe) -> None:
    recipe = quick.changed(epochs=1)
    before = run(data, tmp_path, recipe).card
    log = (tmp_path / "log.csv").read_text()
    again = run(data, tmp_path, recipe)
    assert again.card.digest == before.digest
    assert (tmp_path / "log.csv").read_text() == log


def test_a_full_disk_leaves_the_old_checkpoint(
    data: Path, tmp_path: Path, quick: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third checkpoint finds no room: the second is there, whole, and the run goes on from it."""
    saved = 0

    def full(_: int) -> None:
        nonlocal saved
        saved += 1
        if saved == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"last\.ckpt: cannot be written \(No space left on device\); the one before is intact"):
        run(data, tmp_path / "full", quick)
    assert torch.load(tmp_path / "full" / "last.ckpt", weights_only=False)["global_step"] == 8
    run(data, tmp_path / "full", quick)
    run(data, tmp_path / "whole", quick)
    assert same_weights(tmp_path / "whole", tmp_path / "full")


def test_a_checkpoint_is_whole_before_it_takes_the_place_of_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written beside it, on the same disk, and not by way of the temporary folder."""
    path = tmp_path / "run/last.ckpt"
    WholeFiles().save_checkpoint({"step": 1}, path)
    monkeypatch.setattr("tempfile.mkstemp", None)
    seen: list[tuple[object, int]] = []

    def watched(_: int) -> None:
        (part,) = (one for one in path.parent.iterdir() if one != path)
        seen.append((torch.load(path), torch.load(part)["step"]))

    monkeypatch.setattr(os, "fsync", watched)
    WholeFiles().save_checkpoint({"step": 2}, path)
    assert seen == [({"step": 1}, 2)]
    assert torch.load(path) == {"step": 2}

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"last\.ckpt: cannot be written \(No space left on device\)"):
        WholeFiles().save_checkpoint({"step": 3}, path)
    assert torch.load(path) == {"step": 2}
    assert list(path.parent.iterdir()) == [path]


def test_a_broken_checkpoint_is_named(data: Path, tmp_path: Path, quick: Recipe) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"last\.ckpt: is no checkpoint of a run; take it away"):
        run(data, tmp_path, quick)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ValueError, match=r"run\.json: does not say any more what run this is"):
        run(data, tmp_path, quick)


@pytest.mark.slow
def test_killed(data: Path, tmp_path: Path) -> None:
    """`kill -9` three times, at moments of chance, of the command itself."""
    shape = "--kernel3 1,1,0,0 --strides 2,2,1,1 --layers 1,1,1,1 --width 4 --crop 17 --resize 20"
    recipe = "--epochs 12 --batch-size 24 --learning-rate 0.01 --ema 0.8"
    command = [sys.executable, "-m", "bagnet", "train", str(data), *shape.split(), *recipe.split(), "--out"]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    random = np.random.default_rng(time.time_ns())
    log = tmp_path / "killed" / "log.csv"
    for _ in range(3):
        process = subprocess.Popen([*command, str(tmp_path / "killed")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        known = log.stat().st_size if log.exists() else 0
        while process.poll() is None and (not log.exists() or log.stat().st_size <= known):
            time.sleep(0.01)
        time.sleep(float(random.uniform(0, 1)))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run([*command, str(tmp_path / "killed")], check=True, capture_output=True)
    assert same_weights(tmp_path / "whole", tmp_path / "killed")
    assert steps_and_losses(tmp_path / "whole") == steps_and_losses(tmp_path / "killed")
