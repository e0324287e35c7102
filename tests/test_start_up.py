"""Starting costs little: processor seconds of whole processes, against `import torch` in the same minute."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from statistics import median

import pyarrow as arrow
import pytest
import skimage
from PIL import Image
from pyarrow import parquet

from bagnet.zoo.catalogue import card_of
from bagnet.zoo.names import DEFAULT

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
    assert ratio(sys.executable, "-m", "bagnet", "explain", str(PHOTO), "--out", str(tmp_path)) <= 4


# What README's first page shows runs without any extra.
EXTRAS = ("captum", "datasets", "lightning", "nncf", "onnx", "onnxruntime", "onnxscript", "openvino", "tensorboard")
FIRST_PAGE = """
import sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None
from bagnet.cli import main
for words in sys.argv[2:]:
    try:
        main(words.split())
    except SystemExit as end:
        assert not end.code, words
"""


def test_the_first_page_needs_no_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    Image.open(PHOTO).save("photos/a.jpg")
    Image.open(PHOTO).rotate(90).save("photos/b.jpg")
    Path("list.txt").write_text("photos/b.jpg\n")
    parquet.write_table(arrow.table({"image": [Path("photos/a.jpg").read_bytes()]}), "images.parquet")
    lines = [
        "explain photos/a.jpg",
        "explain photos/a.jpg --stride 4 --model bagnet25s4.tiny_in200 --out fine.png",
        "models list",
        "models info bagnet33.orig_in1k",
        "predict photos/ --out table.parquet",
        "predict images.parquet --out from-a-table.parquet --model bagnet25s4.tiny_in200",
        "predict photos/a.jpg photos/b.jpg --out table.jsonl --model bagnet25s4.tiny_in200",
        "predict list.txt --out table.csv --model bagnet25s4.tiny_in200",
    ]
    command = [sys.executable, "-c", FIRST_PAGE, ",".join(EXTRAS), *lines]
    process = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (process.returncode, process.stderr) == (0, "")
    table = parquet.read_table("table.parquet")
    assert table["image"].to_pylist() == ["a.jpg", "b.jpg"]
    assert table.schema.metadata[b"bagnet.model"].decode() == DEFAULT
    settings = json.loads(table.schema.metadata[b"bagnet.settings"])
    assert settings["transform"] == card_of(DEFAULT).preprocessing.to_dict()
    assert (settings["top"], settings["runtime"], settings["precision"]) == (5, "torch", "float32")


def test_a_probe_needs_the_core_alone() -> None:
    extras = "{'lightning', 'datasets', 'captum', 'openvino', 'onnxruntime'}"
    code = f"import sys, bagnet; bagnet.probe; print({extras} & set(sys.modules))"
    process = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert process.stdout == "set()\n"


def test_help_needs_no_torch() -> None:
    code = "import sys; from bagnet.cli import main\ntry: main(['--help'])\nexcept SystemExit: print('torch' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert process.stdout.splitlines()[-1] == "False"
