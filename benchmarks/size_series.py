"""BagNets of every window size, by one recipe and by a second, beside a larger one: trained side by side on one GPU.

python benchmarks/size_series.py tiny-imagenet --out runs --epochs 32

Networks so small leave most of a GPU idle, each step being a few hundred short kernels: so all of them train at once, a process
each (NVIDIA's multi-process service lets their kernels run side by side, where it was started). The first column's teachers are
asked about each image once, by the first run that learns from them; the second's sees each view that its students see. The same
command goes on where it was cut short.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

NETWORKS = Path(__file__).parent / "networks"
WIDE = (NETWORKS / "windowed128s128.tiny_in200.safetensors",)  # which has seen ImageNet
SMALL = (NETWORKS / "small_vgg.tiny_in200.safetensors", NETWORKS / "small_resnet.tiny_in200.safetensors")
KERNELS = {9: "1,1,0,0", 17: "1,1,1,0", 33: "1,1,1,2"}  # window -> 3x3 blocks per stage
SHAPE = {"strides": "2,2,1,1", "layers": "2,2,3,2"}
STUDENT = {
    "resize": "64",
    "crop": "61",
    "train-crop": "53",
    "final-epochs": "4",
    "batch-size": "256",
    "augment": "none",
    "warm-up": "0.05",
    "ema": "0.999",
    "label-smoothing": "0",
    "distil": "0.8",
    "temperature": "2",
    "precision": "bf16",
    "licence": "Non-commercial research: trained on ImageNet images",
}
CONSISTENT = {"consistent": "", "mixup": "0.2", "cutmix": "1"}
ASKING, MIXING = 6, 3  # processes that read images for teachers, that mix them for a student
TRAINED_ON = "Tiny-ImageNet-200, train split but for a fixed 5 %"
SEEN = f"{TRAINED_ON}; its teacher has seen ImageNet-1k"


@dataclass(frozen=True)
class Training:
    """A run of the series.

    Args:
        name: of its folder.
        options: of `bagnet train`.
        teachers: files of those whose answers it learns.
        workers: processes that prepare images for it.
        after: name of the run whose weights it starts from; random ones where empty.
    """

    name: str
    options: dict[str, str]
    teachers: tuple[Path, ...]
    workers: int = 1
    after: str = ""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("data", type=Path)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--epochs", type=int, default=40, help="of the series; others follow from it")
    options.add_argument("--width", type=int, default=24)
    options.add_argument("--only", nargs="*", help="names of some runs")
    given = options.parse_args()
    runs = [run for run in series(given.width, given.epochs) if not given.only or run.name in given.only]
    started = started_together(runs, given.data, given.out)
    failed = [name for name, process in started.items() if process.wait()]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; the reasons are in log.txt of their folders")


def series(width: int, epochs: int) -> list[Training]:
    """Both columns of sizes, one of them trained on for certificates, and a large network."""
    runs = []
    for size, kernel3 in KERNELS.items():
        shape = SHAPE | {"kernel3": kernel3, "width": str(width)}
        small = STUDENT | {"epochs": str(epochs), "tag": "tiny_in200", "trained-on": TRAINED_ON}
        wide = STUDENT | CONSISTENT | {"epochs": str(epochs), "tag": "lite_tiny_in200", "trained-on": SEEN}
        runs += [Training(f"small-{size}", shape | small, SMALL), Training(f"wide-{size}", shape | wide, WIDE, MIXING)]
        if size == 17:
            masked = wide | {"masked": "0.02", "tag": "masked_tiny_in200", "epochs": str(max(5, epochs // 4))}
            runs.append(Training(f"masked-{size}", masked, WIDE, MIXING, after=f"wide-{size}"))
    large = SHAPE | STUDENT | CONSISTENT | {"kernel3": KERNELS[33], "width": "40", "tag": "large_tiny_in200", "trained-on": SEEN}
    return [*runs, Training("large", large | {"epochs": str(3 * epochs // 2), "batch-size": "512"}, WIDE, MIXING)]


def started_together(runs: Sequence[Training], data: Path, out: Path) -> dict[str, subprocess.Popen[bytes]]:
    """Runs by name, each started as soon as what it learns from is there.

    Of those whose teachers answer once, the first asks them, and the others get the answers.
    """
    asking: dict[tuple[Path, ...], Training] = {}
    for run in runs:
        if "consistent" not in run.options:
            asking.setdefault(run.teachers, run)
    started = {run.name: start(replace(run, workers=ASKING), data, out) for run in asking.values()}
    for run in sorted(runs, key=lambda run: (bool(run.after), "consistent" not in run.options)):
        if run.name not in started:
            if run.after in started:
                started[run.after].wait()
            if "consistent" not in run.options:
                share_answers(out, asking[run.teachers], started[asking[run.teachers].name], run)
            started[run.name] = start(run, data, out)
    return started


def start(run: Training, data: Path, out: Path) -> subprocess.Popen[bytes]:
    """`bagnet train`, which writes what it says into log.txt of its folder."""
    folder = out / run.name
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "bagnet", "train", str(data), "--out", str(folder), "--workers", str(run.workers)]
    for name, value in run.options.items():
        command += [f"--{name}", value] if value else [f"--{name}"]
    if run.after:
        (weights,) = (out / run.after).glob("*.safetensors")
        command += ["--start", str(weights)]
    for taught_by in run.teachers:
        command += ["--teacher", str(taught_by)]
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"})


def share_answers(out: Path, asked: Training, process: subprocess.Popen[bytes], run: Training) -> None:
    """Wait until a run has asked its teachers, and give another their answers."""
    while process.poll() is None and "to train on, " not in (out / asked.name / "log.txt").read_text(errors="replace"):
        time.sleep(0.5)
    shutil.copytree(out / asked.name / "teacher", out / run.name / "teacher", dirs_exist_ok=True)


if __name__ == "__main__":
    main()
