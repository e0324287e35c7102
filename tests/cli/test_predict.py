"""bagnet predict, and how every command refuses a runtime, a precision or a model that it cannot have."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from PIL import Image

from bagnet.engine.runtimes import pytorch

from .conftest import Run, assert_refused


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        path = tmp_path / "photos" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (70, 80), (60 * number, 90, 200)).save(path)
    return tmp_path / "photos"


def test_a_folder_into_a_table_with_maps(run: Run, weights: Path, folder: Path, tmp_path: Path) -> None:
    out, maps = tmp_path / "out" / "table.csv", tmp_path / "maps"
    result = run("predict", folder, "--out", out, "--model", weights, "--top", 2, "--maps", maps, "--workers", 0)
    assert result.code == 0, result.err
    assert result.out.splitlines()[-1] == f"3 of 3 images predicted, 0 bad -> {out}"
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["0.png", "1.png", "2.png"]
    assert sorted(path.name for path in maps.glob("*.npz")) == sorted(row["map"] for row in rows)


def table(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_json_lines_have_numbers(run: Run, weights: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.jsonl"
    assert run("predict", folder, "--out", out, "--model", weights, "--top", 1).code == 0
    rows = table(out)
    assert [row["image"] for row in rows] == ["0.png", "1.png", "2.png"]
    assert [type(rows[0][name]) for name in ("index_1", "name_1", "logit_1", "probability_1")] == [int, str, float, float]


def test_several_image_files(run: Run, weights: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.jsonl"
    result = run("predict", folder / "2.png", folder / "0.png", "--out", out, "--model", weights)
    assert result.code == 0, result.err
    assert [row["image"] for row in table(out)] == [str(folder / "2.png"), str(folder / "0.png")]
    assert_refused(run("predict", folder / "2.png", folder / "2.png", "--model", weights), "2.png more than once")


@pytest.mark.parametrize("separator", ["\n", "\0"])
def test_a_list_on_stdin(
    run: Run, weights: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, separator: str
) -> None:
    def listing(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    monkeypatch.chdir(folder)
    listing(separator.join(["1.png", "2.png", ""]).encode())
    result = run("predict", "-", "--out", tmp_path / "t.jsonl", "--model", weights)
    assert result.code == 0, result.err
    assert [row["image"] for row in table(tmp_path / "t.jsonl")] == ["1.png", "2.png"]
    listing(b"")
    assert_refused(run("predict", "-", "--out", tmp_path / "u.jsonl", "--model", weights), "list", "is empty")
    listing(b"1.png")
    assert_refused(run("predict", "-", "2.png", "--out", tmp_path / "u.jsonl", "--model", weights), "- is a list of paths")
    assert not (tmp_path / "u.jsonl").exists()


def test_a_list_in_a_file(run: Run, weights: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{folder / '1.png'}\n{folder / 'none.png'}\n")
    result = run("predict", tmp_path / "list.txt", "--out", tmp_path / "t.jsonl", "--model", weights)
    assert_refused(result, "none.png: there is no such file")
    assert [row["image"] for row in table(tmp_path / "t.jsonl")] == [str(folder / "1.png"), str(folder / "none.png")]


def test_one_bad_image_is_named_and_the_rest_is_kept(run: Run, weights: Path, folder: Path, tmp_path: Path) -> None:
    (folder / "broken.png").write_bytes(b"no image")
    result = run("predict", folder, "--out", tmp_path / "t.csv", "--model", weights, "--json")
    assert_refused(result, "broken.png")
    summary = json.loads(result.out.splitlines()[-1])
    assert (summary["images"], summary["predicted"]) == (4, 3)


def test_the_plain_command_runs_a_prepared_model(
    run: Run, weights: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    pooled = pytorch.TorchRunner.pooled
    monkeypatch.setattr(pytorch.TorchRunner, "pooled", lambda self, x: called.append(self.executed) or pooled(self, x))
    assert run("predict", folder, "--out", tmp_path / "t.csv", "--model", weights).code == 0
    assert called == ["float32"]


def test_a_finished_table_is_kept(run: Run, weights: Path, folder: Path, tmp_path: Path) -> None:
    words = ("predict", folder, "--out", tmp_path / "t.csv", "--model", weights)
    assert run(*words).code == 0
    assert_refused(run(*words), "t.csv: is there already", "--overwrite")
    assert run(*words, "--overwrite").code == 0


def test_a_terminal_shows_progress(weights: Path, folder: Path, tmp_path: Path) -> None:
    """A real terminal: only there is the bar drawn."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "bagnet", "predict", folder, "--out", tmp_path / "t.csv", "--model", weights]
    process = subprocess.Popen([*command, "--batch-size", "1"], stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # Linux says so when the other end is closed
        while more := os.read(ours, 4096):
            shown += more
    os.close(ours)
    assert process.wait() == 0, shown.decode()
    assert b"predicting" in shown
    assert b"3 of 3 images predicted" in shown


def test_bad_requests(run: Run, weights: Path, folder: Path, tmp_path: Path) -> None:
    assert_refused(run("predict", tmp_path / "nowhere"), "nowhere", "no such file or folder")
    assert_refused(run("predict", folder, "--out", tmp_path / "t.xlsx", "--model", weights), "t.xlsx", ".csv")
    assert not list(tmp_path.glob("t.*"))


@pytest.mark.parametrize("command", ["predict", "explain"])
@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--runtime", "tensorrt"), "there is no runtime 'tensorrt'"),
        (("--precision", "fp8"), "there is no precision 'fp8'"),
        (("--precision", "int8"), "torch on the CPU runs"),
        (("--calibration", "."), "--calibration is for --precision int8"),
        (("--runtime", "openvino", "--precision", "int8"), "calibration images"),
    ],
)
def test_no_such_runtime_or_precision(
    run: Run, weights: Path, folder: Path, tmp_path: Path, command: str, words: tuple[str, ...], reason: str
) -> None:
    if "openvino" in words:
        pytest.importorskip("openvino")
    source = folder if command == "predict" else folder / "0.png"
    assert_refused(run(command, source, "--model", weights, "--out", tmp_path / "o.csv", *words), reason)
    assert not (tmp_path / "o.csv").exists()


def test_a_missing_package(run: Run, weights: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    result = run("predict", folder, "--model", weights, "--runtime", "onnxruntime")
    assert_refused(result, "pip install 'bagnet[export]'")


def test_a_processor_without_bf16(run: Run, weights: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pytorch, "cpu_has_bf16", lambda: False)
    assert_refused(run("predict", folder, "--model", weights, "--precision", "bf16"), "no bf16 instructions")


def test_weights_of_another_architecture(run: Run, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "resnet.pth"
    torch.save({"layer1.0.conv1.weight": torch.zeros(64, 64, 3, 3), "fc.weight": torch.zeros(10, 512)}, path)
    assert_refused(run("predict", folder, "--model", path), "resnet.pth")
