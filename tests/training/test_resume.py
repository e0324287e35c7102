"""A run that is interrupted anywhere goes on to the very weights that it would have reached."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Trainer
from PIL import Image
from safetensors.torch import load_file

from bagnet.data.labelled import open_labelled
from bagnet.data.labels import LabelledImages
from bagnet.runs.store import OtherRun
from bagnet.training import fitting
from bagnet.training.checkpoints import read_log
from bagnet.training.recipe import Recipe
from bagnet.training.run import train

from .conftest import PREPROCESSING, SMALL, fitted, fresh, textures


class Cut(BaseException):
    """Nobody expects it."""


def run(data: Path, out: Path, recipe: Recipe) -> None:
    train(data, out, recipe, shape=SMALL, preprocessing=PREPROCESSING)


def steps_and_losses(folder: Path) -> list[tuple[str, ...]]:
    return [tuple(value for name, value in row.items() if name != "seconds") for row in read_log(folder / "log.csv")]


@pytest.fixture
def table(tmp_path: Path) -> LabelledImages:
    """The same few images as a Parquet table, read in groups of 20 rows."""
    import pyarrow as arrow
    from pyarrow import parquet

    images, labels = textures(80, 0)
    files = [io.BytesIO() for _ in labels]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image).save(file, "PNG")
    columns = {"image": [file.getvalue() for file in files], "label": labels}
    (tmp_path / "table").mkdir()
    parquet.write_table(arrow.table(columns), tmp_path / "table" / "train.parquet", row_group_size=20)
    return open_labelled(tmp_path / "table", "train", stream=True)


@pytest.mark.parametrize(("accumulate", "stream"), [(1, False), (2, False), (1, True)])
def test_cut_at_random_steps(
    accumulate: int,
    stream: bool,
    few: LabelledImages,
    tmp_path: Path,
    short: Recipe,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of twelve steps in two epochs, with a checkpoint every four; in training or while the selection images are looked at."""
    monkeypatch.setattr(fitting, "CHECKPOINT_STEPS", 4)
    images = request.getfixturevalue("table") if stream else few
    recipe = short.changed(mixup=0.2, augment="trivial", accumulate=accumulate)
    whole = fitted(images, recipe, tmp_path / "whole", stream=stream).network.state_dict()
    random = np.random.default_rng(accumulate)
    calls, cuts = 0, 0

    def cut(*_: object) -> None:
        nonlocal calls
        calls -= 1
        if calls == 0:
            raise Cut

    for _ in range(4):
        calls = int(random.integers(2, 8 * accumulate))
        network = fresh(images)
        network.register_forward_pre_hook(cut)
        try:
            fitted(images, recipe, tmp_path / "cut", network=network, stream=stream)
        except Cut:
            cuts += 1
    assert cuts >= 2
    after = fitted(images, recipe, tmp_path / "cut", stream=stream).network.state_dict()
    assert all(torch.equal(value, whole[name]) for name, value in after.items())
    assert steps_and_losses(tmp_path / "whole") == steps_and_losses(tmp_path / "cut")


def _hear_ctrl_c() -> None:
    """In a process that starts: background jobs of a shell ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def same_weights(whole: Path, killed: Path) -> bool:
    (first,), (second,) = whole.glob("*.safetensors"), killed.glob("*.safetensors")
    a, b = load_file(first), load_file(second)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "how"), [("0", signal.SIGKILL), ("2", signal.SIGKILL), ("0", signal.SIGINT), ("2", signal.SIGINT)]
)
def test_killed(workers: str, how: signal.Signals, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`kill -9` or Ctrl-C twice, at moments of chance, of the command; Ctrl-C reaches all its processes, as in a terminal."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # threads that wait for each other take the time of both cores
    shape = "--kernel3 1,1,0,0 --strides 2,2,1,1 --layers 1,1,1,1 --width 4 --crop 17 --resize 20"
    recipe = "--epochs 8 --batch-size 24 --learning-rate 0.01 --ema 0.8"
    command = [sys.executable, "-m", "bagnet", "train", str(data), *shape.split(), *recipe.split(), "--workers"]
    subprocess.run([*command, "0", "--out", str(tmp_path / "whole")], check=True, capture_output=True)
    command += [workers, "--out", str(tmp_path / "killed")]
    random = np.random.default_rng(how)
    log = tmp_path / "killed" / "log.csv"
    for _ in range(2):
        process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=_hear_ctrl_c,  # noqa: PLW1509
            text=True,
        )
        before = log.stat().st_size if log.exists() else 0
        while process.poll() is None and (not log.exists() or log.stat().st_size <= before):
            time.sleep(0.01)
        time.sleep(float(random.uniform(0, 1)))
        if process.poll() is None:
            (os.kill if how is signal.SIGKILL else os.killpg)(process.pid, how)
        _, err = process.communicate(timeout=60)  # until the last process that could write there has ended
        assert process.returncode in (0, -signal.SIGKILL, -signal.SIGINT, 130)
        assert "Traceback" not in err
    subprocess.run(command, check=True, capture_output=True)
    assert same_weights(tmp_path / "whole", tmp_path / "killed")
    assert steps_and_losses(tmp_path / "whole") == steps_and_losses(tmp_path / "killed")


@pytest.mark.parametrize("finished", [True, False])
def test_a_run_is_lengthened(finished: bool, data: Path, tmp_path: Path, quick: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on from where its learning rate began to fall, or would have, to what a run as long from the start reaches."""
    short = quick.changed(schedule="late", epochs=3, fall_epochs=1, warm_up=0.0, ema=0.9)
    long = short.changed(epochs=5, fall_epochs=2)
    run(data, tmp_path / "whole", long)
    if finished:
        run(data, tmp_path / "lengthened", short)
    else:
        with monkeypatch.context() as patched:
            patched.setattr(fitting.Log, "on_train_epoch_start", _cut_second, raising=False)
            with pytest.raises(Cut):
                run(data, tmp_path / "lengthened", short)
    run(data, tmp_path / "lengthened", long)
    assert same_weights(tmp_path / "whole", tmp_path / "lengthened")
    assert steps_and_losses(tmp_path / "whole") == steps_and_losses(tmp_path / "lengthened")
    with pytest.raises(OtherRun):
        run(data, tmp_path / "lengthened", short)


def test_a_run_of_an_earlier_version_goes_on(data: Path, tmp_path: Path, quick: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which did not yet know a field of the recipe: its default is what was done then. Another value is another run."""
    recipe = quick.changed(epochs=3, schedule="late", fall_epochs=1)
    run(data, tmp_path / "whole", recipe)
    with monkeypatch.context() as patched:
        patched.setattr(fitting.Log, "on_train_epoch_start", _cut_second, raising=False)
        with pytest.raises(Cut):
            run(data, tmp_path / "cut", recipe)
    manifest = tmp_path / "cut" / "run.json"
    kept = json.loads(manifest.read_text())
    del kept["settings"]["recipe"]["sparsity"]
    manifest.write_text(json.dumps(kept))
    with pytest.raises(OtherRun, match=r"sparsity None instead of 0\.5"):
        run(data, tmp_path / "cut", recipe.changed(sparsity=0.5))
    run(data, tmp_path / "cut", recipe)
    assert same_weights(tmp_path / "whole", tmp_path / "cut")
    assert steps_and_losses(tmp_path / "whole") == steps_and_losses(tmp_path / "cut")
    assert json.loads(manifest.read_text())["settings"]["recipe"]["sparsity"] == 0


def _cut_second(_: object, trainer: Trainer, __: object) -> None:
    if trainer.current_epoch == 1:
        raise Cut
