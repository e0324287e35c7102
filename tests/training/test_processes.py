"""Two processes train as one does: the same samples, the same steps, whatever prepares the images."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bagnet.training.processes import device, rank, ranks, trainer_options

from .conftest import PREPROCESSING, SMALL

# Its imports are its own: processes that prepare images start with what stands above.
_SCRIPT = """
import sys
from pathlib import Path

if __name__ == "__main__":
    import torch
    from bagnet.architecture import Architecture
    from bagnet.data.transforms import Preprocessing
    from bagnet.training import run
    from bagnet.training.processes import rank
    from bagnet.training.recipe import recipe

    data, out, workers = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    ten_steps = {"epochs": 1, "batch_size": 22, "learning_rate": 0.01, "ema": 0.8, "mixup": 0.2}
    one_epoch = recipe("modern", **ten_steps, precision="float64", freeze_norm=True)
    fit = run.fit
    def kept(*arguments, **keywords):
        fitted = fit(*arguments, **keywords)
        if rank() == 0:
            torch.save(fitted.network.state_dict(), out / "float64.pt")
        return fitted
    run.fit = kept
    run.train(data, out, one_epoch, shape={shape!r}, preprocessing={preprocessing!r}, workers=workers)
"""


def trained(data: Path, out: Path, processes: int, workers: int) -> dict[str, torch.Tensor]:
    """The weights in float64 after ten steps."""
    out.mkdir()
    script = out / "script.py"
    script.write_text(_SCRIPT.replace("{shape!r}", repr(SMALL)).replace("{preprocessing!r}", repr(PREPROCESSING)))
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    command = [sys.executable, *launch, str(script), str(data), str(out), str(workers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    weights: dict[str, torch.Tensor] = torch.load(out / "float64.pt", weights_only=True)
    return weights


@pytest.mark.parametrize(
    ("environment", "position", "options"),
    [
        ({}, (0, 1), {"devices": 1}),
        ({"RANK": "0", "WORLD_SIZE": "1"}, (0, 1), {"devices": 1}),
        ({"RANK": "1", "WORLD_SIZE": "2"}, (1, 2), {"devices": 2, "num_nodes": 1}),
        ({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}, (5, 8), {"devices": 4, "num_nodes": 2}),
    ],
)
def test_what_torchrun_says_of_the_processes(
    environment: dict[str, str], position: tuple[int, int], options: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert (rank(), ranks()) == position
    together = {"strategy": "ddp", "sync_batchnorm": False} if position[1] > 1 else {}
    assert trainer_options() == {"benchmark": False, **options, **together}


def test_each_process_has_a_gpu_of_its_own_where_there_are_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device() == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert device() == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert device() == torch.device("cuda", 3)


@pytest.mark.slow
def test_two_processes_are_one(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch normalisation frozen, ten steps: equal to 1e-9 in float64, with a worker each and with none."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # threads that wait for each other take the time of both cores
    alone = trained(data, tmp_path / "alone", 1, 0)
    together = trained(data, tmp_path / "together", 2, 1)
    assert alone.keys() == together.keys()
    for name, value in alone.items():
        if value.is_floating_point():
            assert value.dtype == torch.float64
            assert (value - together[name]).abs().max() <= 1e-9 * value.abs().max(), name
