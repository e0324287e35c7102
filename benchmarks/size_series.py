"""BagNets of every window size, with one recipe, beside larger ones: trained side by side on one GPU.

python benchmarks/size_series.py tiny-imagenet --out runs --wide-teacher TEACHER.safetensors --epochs 40

Networks so small leave most of a GPU idle, each step being a few hundred short kernels: so all of them train at once, a process
each. Teachers are asked once, by the first run that learns from them. The same command goes on where it was cut short.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

NETWORKS = Path(__file__).parent / "networks"
SMALL = (NETWORKS / "small_vgg.tiny_in200.safetensors", NETWORKS / "small_resnet.tiny_in200.safetensors")
KERNELS = {9: "1,1,0,0", 17: "1,1,1,0", 33: "1,1,1,2"}  # window -> 3x3 blocks per stage
SHARED = {
    "strides": "2,2,1,1",
    "layers": "2,2,3,2",
    "resize": "64",
    "crop": "61",
    "train-crop": "53",
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
ASKING = 6  # processes that read images for teachers
TRAINED_ON = "Tiny-ImageNet-200, train split but for a fixed 5 %"
SEEN = f"{TRAINED_ON}; its teacher has seen ImageNet-1k"


@dataclass(frozen=True)
class Training:
    """A run of the series.

    Args:
        name: of its folder.
        options: of `bagnet train`, beside those of all.
        teachers: files of those whose answers it learns.
        workers: processes that read images for it.
    """

    name: str
    options: dict[str, str]
    teachers: tuple[Path, ...]
    workers: int = 1


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("data", type=Path)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--wide-teacher", type=Path, required=True, help="who teaches the second column and the large networks")
    options.add_argument("--epochs", type=int, default=40)
    options.add_argument("--final-epochs", type=int, default=4)
    options.add_argument("--width", type=int, default=24)
    options.add_argument("--only", nargs="*", help="names of some runs")
    given = options.parse_args()
    runs = [run for run in series(given.wide_teacher, given.width) if not given.only or run.name in given.only]
    lengths = {"epochs": str(given.epochs), "final-epochs": str(given.final_epochs)}
    first: dict[tuple[Path, ...], Training] = {}
    for run in runs:
        first.setdefault(run.teachers, run)
    started = {run.name: start(replace(run, workers=ASKING), given.data, given.out, lengths) for run in first.values()}
    for run in runs:
        if run.name not in started:
            share_answers(given.out, first[run.teachers], started[first[run.teachers].name], run)
            started[run.name] = start(run, given.data, given.out, lengths)
    failed = [name for name, process in started.items() if process.wait()]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; the reasons are in log.txt of their folders")


def series(wide_teacher: Path, width: int) -> list[Training]:
    """Both columns of sizes, two trained for certificates, and two large networks of one shape by different recipes."""
    runs = []
    for size, kernel3 in KERNELS.items():
        options = {"kernel3": kernel3, "width": str(width)}
        runs.append(Training(f"small-{size}", options | {"tag": "tiny_in200", "trained-on": TRAINED_ON}, SMALL))
        runs.append(Training(f"wide-{size}", options | {"tag": "lite_tiny_in200", "trained-on": SEEN}, (wide_teacher,)))
    for size in (9, 17):
        options = {
            "kernel3": KERNELS[size],
            "width": str(width),
            "masked": "0.02",
            "tag": "masked_tiny_in200",
            "trained-on": SEEN,
        }
        runs.append(Training(f"masked-{size}", options, (wide_teacher,)))
    large = {"kernel3": KERNELS[33], "width": "40", "tag": "large_tiny_in200", "trained-on": SEEN}
    runs.append(Training("large", large, (wide_teacher,)))
    runs.append(Training("large-mixed", large | {"mixup": "0.2", "cutmix": "1"}, (wide_teacher,), workers=3))
    return runs


def start(run: Training, data: Path, out: Path, lengths: dict[str, str]) -> subprocess.Popen[bytes]:
    """`bagnet train`, which writes what it says into log.txt of its folder."""
    folder = out / run.name
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "bagnet", "train", str(data), "--out", str(folder), "--workers", str(run.workers)]
    for name, value in (SHARED | lengths | run.options).items():
        command += [f"--{name}", value]
    for teacher in run.teachers:
        command += ["--teacher", str(teacher)]
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def share_answers(out: Path, asked: Training, process: subprocess.Popen[bytes], run: Training) -> None:
    """Wait until a run has asked its teachers, and give another their answers."""
    while process.poll() is None and "to train on, " not in (out / asked.name / "log.txt").read_text(errors="replace"):
        time.sleep(0.5)
    shutil.copytree(out / asked.name / "teacher", out / run.name / "teacher", dirs_exist_ok=True)


if __name__ == "__main__":
    main()
