"""bagnet certify: what it prints and writes, and how it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bagnet.certificates.voting import MASKS
from bagnet.data.transforms import Preprocessing
from bagnet.model import BagNet

from .conftest import Run, assert_refused


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    return path


def test_one_image_has_a_picture(run: Run, weights: Path, photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "proofs"
    result = run("certify", photo, "--model", weights, "--patch", "2photo", "--out", out, "--check", "--json", "--workers", 0)
    assert result.code == 0, result.err
    said = json.loads(result.out)
    assert said["picture"] == str(out / "photo.weakest.png")
    assert Image.open(said["picture"]).size[0] > 500
    assert said["results"][0]["claim"] == "2 x 2 px of the photo, voting"
    assert (out / "certificates.csv").is_file()


def test_the_best_within_a_region(run: Run, weights: Path, photo: Path, tmp_path: Path) -> None:
    words = ("--patch", "2photo", "--method", "margin", "--best", 2, "--region", "0,0,20,10", "--workers", 0)
    result = run("certify", photo, "--model", weights, *words, "--out", tmp_path / "proofs")
    assert result.code == 0, result.err
    assert "2 x 2 px of the photo within 0, 0, 20, 10, margin of probabilities, among the best 2" in result.out
    assert result.out.splitlines()[1].split()[3:] == ["certified", "unwavering"], "of no labels nothing is right"
    assert "proved each certificate again" not in result.out


def test_masks_along_an_axis(run: Run, weights: Path, photo: Path, tmp_path: Path) -> None:
    words = ("certify", photo, "--model", weights, "--patch", "2photo", "--workers", 0, "--json", "--out", tmp_path / "proofs")
    claims = {}
    for masks in (None, MASKS, 2):
        result = run(*words, "--overwrite", *(() if masks is None else ("--masks", masks)))
        assert result.code == 0, result.err
        claims[masks] = json.loads(result.out)["results"][0]["claim"]
    assert claims[None] == claims[MASKS] == "2 x 2 px of the photo, voting"
    assert claims[2] == "2 x 2 px of the photo, voting, at most 2 masks along an axis"
    assert_refused(run(*words, "--masks", 2, "--method", "margin"), "--masks is for voting: margin needs none")


def test_models_vote_together(run: Run, weights: Path, photo: Path, tmp_path: Path) -> None:
    words = ("--model", weights, "--model", weights, "--patch", "2x4photo,4x2photo", "--check", "--workers", 0)
    result = run("certify", photo, *words, "--out", tmp_path / "proofs")
    assert result.code == 0, result.err
    assert "2 x 4 px of the photo or 4 x 2 px of the photo, voting" in result.out
    assert "The independent checker proved each certificate again." in result.out
    assert (tmp_path / "proofs" / "photo.weakest.png").is_file()
    assert_refused(run("certify", photo, *words, "--method", "margin"), "margin proves what one model says")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--best", "2"), "voting proves one patch and the best class alone"),
        (("--region", "1,2"), "give left,top,right,bottom"),
        (("--region", "0,0,4,4", "--patch", "5photo"), "does not fit into the region"),
        (("--label", "dog"), "--label is for multi-label models"),
        (("--patch", "65photo"), "is larger than the image"),
        (("--method", "magic"), "there is no method 'magic'"),
    ],
)
def test_refusals(run: Run, weights: Path, photo: Path, tmp_path: Path, words: tuple[str, ...], reason: str) -> None:
    assert_refused(run("certify", photo, "--model", weights, *words, "--out", tmp_path / "out", "--workers", 0), reason)


def test_labelled_arrays(run: Run, small: Callable[..., BagNet], tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 50, 50, 3), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", val_images=images, val_labels=np.arange(4) % 2)
    model = small(kernel3=(1, 1, 0, 0), num_classes=2)
    assert model.card is not None
    model.card = replace(model.card, preprocessing=Preprocessing(50, None))
    model.save(tmp_path / "two.safetensors")
    words = ("--model", tmp_path / "two.safetensors", "--patch", "2photo", "--out", tmp_path / "proofs", "--json")
    result = run("certify", tmp_path / "data.npz", *words)
    assert result.code == 0, result.err
    said = json.loads(result.out)
    assert said["results"][0]["images"] == 4
    assert said["results"][0]["clean"] is not None
    assert said["picture"] is None
    table = run("certify", tmp_path / "data.npz", *words[:-1], "--overwrite").out.splitlines()
    assert table[1].split()[3:] == ["right", "certified", "unwavering"]
