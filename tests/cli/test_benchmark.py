"""bagnet benchmark: what it prints and writes, and how it refuses."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from bagnet.attribution import METHODS
from bagnet.evaluation.faithfulness import MEASURES
from bagnet.model import BagNet

from .conftest import Run, assert_refused

cli = importlib.import_module("bagnet.cli.benchmark")


def test_it_tells_each_measure(run: Run, small: Callable[..., BagNet], tmp_path: Path) -> None:
    small(kernel3=(1, 1, 0, 0), num_classes=2, classes=("ape", "bee")).save(tmp_path / "two.safetensors")
    lines = ["image,left,top,right,bottom"]
    for number in range(4):
        folder = tmp_path / "images" / "val" / ("ape", "bee")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (256, 256, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        lines.append(f"{number}.png,60,60,200,200")
    (tmp_path / "regions.csv").write_text("\n".join(lines))
    words = ("benchmark", tmp_path / "images", "--model", tmp_path / "two.safetensors", "--workers", 0)
    measures = ("--measure", "single_deletion", "--measure", "energy", "--regions", tmp_path / "regions.csv")
    result = run(*words, *measures, "--out", tmp_path / "out", "--json")
    assert result.code == 0, result.err
    found = {(each["method"], each["measure"]) for each in json.loads(result.out)["results"]}
    assert found == {
        (method, measure) for method in ("evidence", "random") for measure in ("single_deletion", "energy", "object_share")
    }
    result = run(*words, *measures, "--out", tmp_path / "again")
    assert "4 images; means and 95 % intervals" in result.out
    assert_refused(run(*words, "--measure", "luck"), "there is no measure 'luck'")
    assert_refused(run(*words, "--regions", tmp_path / "none.csv", "--out", tmp_path / "third"), "none.csv")


def test_the_help_names_every_measure_and_method() -> None:
    """They are written out there, so that help needs no torch."""
    assert cli._MEASURES == MEASURES
    assert {*cli._METHODS, "random"} == set(METHODS)
