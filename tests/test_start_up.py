"""Starting costs little: processor seconds of whole processes, against `import torch` in the same minute."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest
import skimage

PHOTO = Path(skimage.__file__).parent / "data" / "chelsea.png"


def processor_seconds(*command: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def ratio(*command: str) -> float:
    """To `import torch`, medians of three, taken in turn."""
    pairs = [(processor_seconds(*command), processor_seconds(sys.executable, "-c", "import torch")) for _ in range(3)]
    return median(ours for ours, _ in pairs) / median(torch for _, torch in pairs)


@pytest.mark.slow
def test_import_takes_little_longer_than_torch() -> None:
    assert ratio(sys.executable, "-c", "import bagnet; bagnet.load, bagnet.explain, bagnet.Evidence") <= 1.3


@pytest.mark.slow
def test_explaining_a_photograph_takes_little_longer_than_torch(tmp_path: Path) -> None:
    assert ratio(sys.executable, "-m", "bagnet", "explain", str(PHOTO), "--out", str(tmp_path)) <= 2.5


def test_help_needs_no_torch() -> None:
    code = "import sys; from bagnet.cli import main\ntry: main(['--help'])\nexcept SystemExit: print('torch' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert process.stdout.splitlines()[-1] == "False"
