"""What a shell is offered while a command is typed, and that it need not wait for torch."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bagnet.architecture import PUBLISHED_SHAPES
from bagnet.cli.completion import among, models, sizes
from bagnet.studies.paper.catalogue import NAMES
from bagnet.training.recipe import RECIPES
from bagnet.zoo.names import model_names

from .conftest import Run


def asked(*words: str) -> dict[str, str]:
    """What bash says when tab is pressed after the last of these words."""
    return {"_BAGNET_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}


def test_words_that_begin_so() -> None:
    assert among("val", "train", "valid")("va") == ["val", "valid"]
    assert models("") == model_names()
    assert models("bagnet9") == [
        "bagnet9s4.certified_tiny_in200",
        "bagnet9s4.tiny_in200",
        "bagnet9.orig_in1k",
        "bagnet9_padded.v2_in1k",
    ]
    assert sizes("") == list(PUBLISHED_SHAPES)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("pre",), ["predict"]),
        (("models", "ver"), ["verify"]),
        (("models", "info", "bagnet33."), ["bagnet33.orig_in1k"]),
        (("explain", "--model", "bagnet17s4.tiny"), ["bagnet17s4.tiny_in200"]),
        (("evaluate", "--model", "bagnet17s4.tiny"), ["bagnet17s4.tiny_in200"]),
        (("train", "--start", "bagnet17s4.tiny"), ["bagnet17s4.tiny_in200"]),
        (("bench", "--model", "bagnet33"), ["bagnet33", "bagnet33_padded"]),
        (("predict", "--runtime", "o"), ["onnxruntime", "openvino"]),
        (("predict", "--precision", "b"), ["bf16"]),
        (("train", "--recipe", ""), list(RECIPES)),
        (("train", "--optimiser", ""), ["adamw", "sgd", "lamb"]),
        (("paper", ""), [*NAMES, "all"]),
        (("audit", "--split", ""), ["train", "val"]),
    ],
)
def test_offers(run: Run, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], offered: list[str]) -> None:
    for name, value in asked("bagnet", *words).items():
        monkeypatch.setenv(name, value)
    assert run().out.split() == offered


def test_a_script_for_the_shell(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Typer asks which shell started it, and tests may be started by none."""
    monkeypatch.setattr("shellingham.detect_shell", lambda: ("bash", "/bin/bash"))
    assert "_BAGNET_COMPLETE=complete_bash" in run("--show-completion").out


def test_no_torch_at_a_tab() -> None:
    code = "import sys; from bagnet.cli import main\ntry: main([])\nexcept SystemExit: print('torch' in sys.modules)"
    environment = {**os.environ, **asked("bagnet", "explain", "--model", "bagnet33.")}
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    assert result.stdout.split() == ["bagnet33.orig_in1k", "False"]
