"""A run that is cut short anywhere goes on to the very weights that it would have reached."""

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

from bagnet.train import fitting, module
from bagnet.train.checkpoints import read_log
from bagnet.train.recipe import Recipe
from bagnet.train.run import Run, train

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
    real, saved = torch.save, 0

    def full(content: object, *given: object, **named: object) -> None:
        nonlocal saved
        saved += isinstance(content, dict) and "position" in content
        if saved == 3:
            raise OSError(28, "No space left on device")
        real(content, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"last\.ckpt: the checkpoint cannot be written: No space left on device \(the one before"):
        run(data, tmp_path / "full", quick)
    assert torch.load(tmp_path / "full" / "last.ckpt", weights_only=False)["global_step"] == 8
    run(data, tmp_path / "full", quick)
    run(data, tmp_path / "whole", quick)
    assert same_weights(tmp_path / "whole", tmp_path / "full")


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
