"""bagnet explain: what it prints and draws, and how it refuses."""

from __future__ import annotations

import json
import pickle
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import bagnet
from bagnet.evidence import tiled

from .conftest import Run, assert_refused


def test_one_photograph(run: Run, weights: Path, photograph: Path, tmp_path: Path) -> None:
    result = run("explain", photograph, "--model", weights, "--out", tmp_path / "new" / "folder")
    assert result.code == 0, result.err
    assert Image.open(tmp_path / "new" / "folder" / "photograph.why.png").width > 500
    lines = result.out.splitlines()
    assert lines[0] == str(photograph)
    assert len(lines) == 7  # the name, five classes, the picture
    shares = [float(line.split("%")[0]) for line in lines[1:6]]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.3)


def test_json(run: Run, weights: Path, photograph: Path, tmp_path: Path) -> None:
    picture = tmp_path / "out.png"
    result = run("explain", photograph, "--model", weights, "--out", picture, "--json", "--class", "tabby")
    record = json.loads(result.out)
    assert record["model"] == "bagnet17.test"
    assert record["failed"] == []
    (image,) = record["images"]
    assert image["picture"] == str(picture)
    assert picture.stat().st_size > 1000
    assert image["shown"]["name"] == "tabby"
    logits = [answer["logit"] for answer in image["top"]]
    assert logits == sorted(logits, reverse=True)
    assert len(image["windows"]) == 3
    assert image["grid"] == [6, 6]


def test_a_picture_of_each_class(run: Run, weights: Path, photograph: Path, tmp_path: Path) -> None:
    words = ("explain", photograph, "--model", weights, "--out", tmp_path, "--class", "tabby", "--class", "dog")
    result = run(*words)
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert [line.split("/")[-1] for line in lines[-2:]] == ["photograph.tabby.why.png", "photograph.dog.why.png"]
    assert sum("%" in line for line in lines) == 5, "the answers once"
    assert all((tmp_path / f"photograph.{name}.why.png").stat().st_size > 1000 for name in ("tabby", "dog"))
    records = json.loads(run(*words, "--json").out)["images"]
    assert [record["shown"]["name"] for record in records] == ["tabby", "dog"]


def test_grey_levels_of_more_than_eight_bits(run: Run, weights: Path, tmp_path: Path) -> None:
    """Levels that 8 bits cannot hold have no picture until somebody says which are black and white."""
    scan = tmp_path / "ct.tif"
    Image.fromarray(np.linspace(-160, 240, 90 * 70, dtype=np.float32).reshape(90, 70)).save(scan)
    words = ("explain", scan, "--model", weights, "--out", tmp_path / "why.png", "--json")
    assert_refused(run(*words), "ct.tif: floating-point grey levels run from -160 to 240: say which are black and white (--grey")
    assert_refused(run(*words, "--grey", "240,-160"), "grey must be two levels")
    logits = []
    for grey in ("-160,240", "0,100"):
        result = run(*words, "--grey", grey)
        assert result.code == 0, result.err
        logits.append(json.loads(result.out)["images"][0]["top"][0]["logit"])
    assert logits[0] != logits[1]


def test_input_size_makes_the_grid_finer(run: Run, weights: Path, photograph: Path, tmp_path: Path) -> None:
    """The size is that of the shorter side of the whole photograph, which has 90 x 70 pixels."""
    result = run("explain", photograph, "--model", weights, "--out", tmp_path, "--json", "--size", "97")
    assert json.loads(result.out)["images"][0]["grid"] == [11, 14]  # of 97 x 124 pixels


def test_one_bad_image_among_many(run: Run, weights: Path, photograph: Path, tmp_path: Path) -> None:
    again = tmp_path / "again" / "photograph.png"
    again.parent.mkdir()
    Image.open(photograph).save(again)
    out = tmp_path / "out"
    result = run("explain", photograph, tmp_path / "none.jpg", again, "--model", weights, "--out", out)
    assert_refused(result, "none.jpg", "no such file")
    assert result.out.splitlines()[-1] == "2 explained, 1 failed"
    assert sorted(path.name for path in out.iterdir()) == ["photograph.why-2.png", "photograph.why.png"]
    result = run("explain", photograph, tmp_path / "none.jpg", "--model", weights, "--out", out, "--json")
    record = json.loads(result.out)
    assert len(record["images"]) == 1
    assert record["failed"][0]["image"] == str(tmp_path / "none.jpg")


def test_pictures_of_two_photographs_of_a_name(run: Run, weights: Path, photograph: Path, tmp_path: Path) -> None:
    """One call after the other, into one folder; a photograph that is explained again has the same picture as before."""
    out = tmp_path / "out"
    paths = [tmp_path / name / "1.png" for name in ("a", "b")]
    for path, turned in zip(paths, (0, 180), strict=True):
        path.parent.mkdir()
        Image.open(photograph).rotate(turned).save(path)

    def picture_of(path: Path) -> str:
        result = run("explain", path, "--model", weights, "--out", out, "--json")
        return Path(json.loads(result.out)["images"][0]["picture"]).name

    assert [picture_of(path) for path in paths] == ["1.why.png", "1.why-2.png"]
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert [picture_of(path) for path in reversed(paths)] == ["1.why-2.png", "1.why.png"]
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    (out / "1.why.png").write_bytes(b"somebody's notes")
    assert picture_of(paths[0]) == "1.why-3.png"
    assert (out / "1.why.png").read_bytes() == b"somebody's notes"


def test_names_that_would_steer_a_terminal(run: Run, weights: Path, photograph: Path, tmp_path: Path) -> None:
    odd = photograph.rename(tmp_path / "a\nb\x1b[2J.jpg")
    result = run("explain", odd, "--model", weights, "--out", tmp_path)
    assert result.code == 0
    lines = result.out.splitlines()
    assert (len(lines), lines[0]) == (7, f"{tmp_path}/a\\nb\\x1b[2J.jpg")
    assert lines[-1] == f"  -> {tmp_path}/a\\nb\\x1b[2J.why.png"


def test_a_photograph_with_the_longest_name(run: Run, weights: Path, photograph: Path, tmp_path: Path) -> None:
    long = photograph.rename(tmp_path / f"{'x' * 251}.jpg")
    out = tmp_path / "out"
    assert run("explain", long, "--model", weights, "--out", out).code == 0
    assert [path.name for path in out.iterdir()] == [f"{'x' * 247}.why.png"]
    too_long = out / f"{'y' * 252}.png"
    assert_refused(run("explain", long, "--model", weights, "--out", too_long), "yyy.png: File name too long")


def bomb() -> bytes:
    """A PNG whose header claims 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("missing.jpg", None, "no such file"),
        ("empty.jpg", b"", "empty"),
        ("truncated.jpg", "half", "incomplete"),
        ("text.jpg", b"once upon a time", "not an image"),
        ("bomb.png", bomb(), "pixels"),
    ],
)
def test_bad_images(
    run: Run, weights: Path, photograph: Path, tmp_path: Path, name: str, content: bytes | str | None, word: str
) -> None:
    path = tmp_path / name
    if content == "half":
        content = photograph.read_bytes()[:800]
    if isinstance(content, bytes):
        path.write_bytes(content)
    assert_refused(run("explain", path, "--model", weights, "--out", tmp_path / "out"), name, word)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_is_no_image(run: Run, weights: Path, tmp_path: Path) -> None:
    assert_refused(run("explain", tmp_path, "--model", weights, "--out", tmp_path / "out"), "folder")


def test_images_and_inputs_that_are_too_small(run: Run, weights: Path, photograph: Path, tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), "red").save(tmp_path / "pixel.png")
    command = ("--model", weights, "--out", tmp_path / "out")
    assert_refused(run("explain", tmp_path / "pixel.png", *command), "pixel.png: 1 x 1 pixels is too small")
    assert_refused(run("explain", photograph, *command, "--size", "16"), "smallest size is 17 x 17")


def test_a_photograph_is_never_overwritten(run: Run, weights: Path, photograph: Path) -> None:
    before = photograph.read_bytes()
    assert_refused(run("explain", photograph, "--model", weights, "--out", photograph), "is one of the photographs")
    assert photograph.read_bytes() == before


def test_a_page_without_the_service_is_refused_at_once(
    run: Run, weights: Path, photograph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fastapi", None)
    result = run("explain", photograph, "--model", weights, "--out", tmp_path / "page.png", "--open")
    assert_refused(result, "this needs the package 'fastapi': pip install 'bagnet[serve]'")
    assert not (tmp_path / "page.png").exists()


def test_finer_maps(run: Run, weights: Path, photograph: Path, tmp_path: Path) -> None:
    for style in ("evidence", "paper"):
        command = ("explain", photograph, "--model", weights, "--out", tmp_path / f"{style}.png", "--style", style)
        assert run(*command, "--stride", "1").code == 0
    assert_refused(run(*command, "--stride", "9"), "coarser than the evidence")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--class", "zebra"), "no class is called 'zebra'"),
        (("--class", "crane"), "n02012849"),
        (("--versus", "99"), "there is no class 99"),
        (("--style", "oil"), "no style 'oil'"),
        (("--class", "tabby", "--versus", "Tabby cat"), "compared with itself"),
        (("--model", "bagnet34.orig_in1k"), "did you mean bagnet33.orig_in1k"),
    ],
)
def test_bad_requests(run: Run, weights: Path, photograph: Path, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    model = () if "--model" in words else ("--model", weights)
    assert_refused(run("explain", photograph, *model, *words, "--out", tmp_path / "out"), message)


def test_an_output_that_cannot_be_written(run: Run, weights: Path, photograph: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out in (tmp_path / "file" / "folder", tmp_path / "file" / "why.png"):
        assert_refused(run("explain", photograph, "--model", weights, "--out", out), "cannot be written")


class Malice:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("open('harm', 'w')",))


def test_a_malicious_checkpoint_is_refused_and_does_not_run(
    run: Run, photograph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Malice()}, tmp_path / "zip.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Malice()))
    for name in ("zip.pth", "raw.pth"):
        assert_refused(run("explain", photograph, "--model", name), name)
    assert not (tmp_path / "harm").exists()


def test_a_checkpoint_of_another_network_is_refused(run: Run, photograph: Path, tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "vgg.pth")
    assert_refused(run("explain", photograph, "--model", tmp_path / "vgg.pth"), "vgg.pth", "features.0.weight")


def test_a_large_photograph(run: Run, weights: Path, photograph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In tiles, of which the first says what to expect; the indices in the record are the model's, whatever is kept."""
    command = ("explain", photograph, "--model", weights, "--size", "300", "--json", "--class", "house", "--versus", "dog")
    whole = json.loads(run(*command, "--out", tmp_path / "whole.png").out)["images"][0]
    monkeypatch.setattr(tiled, "PIXELS", 60**2)
    monkeypatch.setattr(tiled, "STRONGEST", 2)
    monkeypatch.setattr(tiled, "MAPS", 1)
    result = run(*command, "--out", tmp_path / "tiles.png")
    assert result.code == 0, result.err
    (line,) = result.err.splitlines()
    assert line.startswith(f"{photograph}: an input of 385 x 300 pixels, 1,692 windows; about ")
    record = json.loads(result.out)["images"][0]
    assert record["shown"]["index"] == whole["shown"]["index"] == 4
    assert record["top"][0]["index"] == whole["top"][0]["index"]
    assert record["shown"]["probability"] == pytest.approx(whole["shown"]["probability"], rel=1e-4)
    assert record["windows"][0]["box"] == whole["windows"][0]["box"]
    assert record["grid"] == whole["grid"]


def test_a_network_of_somebody_is_trusted_by_name(
    run: Run, photograph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trusted_networks.py").write_text(
        "from torch import nn\n"
        "def small(num_classes=3, in_channels=3):\n"
        "    body = [nn.Conv2d(in_channels, 6, 5, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten()]\n"
        "    return nn.Sequential(*body, nn.Linear(6, num_classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    path, builder = tmp_path / "mine.safetensors", "trusted_networks:small"
    bagnet.windowed(builder, 20, scale=40).save(path)
    words = ("--model", path, "--out", tmp_path / "out")
    assert_refused(run("explain", photograph, *words), "trust it by name first")
    assert run("explain", photograph, *words, "--trust", builder).code == 0
    assert run("predict", photograph, "--model", path, "--out", tmp_path / "table.csv", "--trust", builder).code == 0
    assert run("models", "convert", path, "--out", tmp_path / "copy.safetensors", "--trust", builder).code == 0


def test_what_does_not_fit_goes_through_tiles(
    run: Run, weights: Path, photograph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("explain", photograph, "--model", weights, "--class", "dog", "--size", "native", "--json")
    whole = json.loads(run(*words, "--out", tmp_path / "whole").out)["images"][0]
    monkeypatch.setattr("bagnet.slides.large.available_memory", lambda: 1000)
    result = run(*words, "--out", tmp_path / "tiles")
    assert result.code == 0, result.err
    assert "in one piece" in result.err
    tiled = json.loads(result.out)["images"][0]
    assert tiled["picture"] == str(tmp_path / "tiles" / "photograph.slide" / "dog.png")
    assert Path(tiled["picture"]).exists()
    assert [answer["name"] for answer in tiled["top"]] == [answer["name"] for answer in whole["top"]]
    assert tiled["shown"]["logit"] == pytest.approx(whole["shown"]["logit"], abs=1e-4)
    assert tiled["windows"][0]["box"] == whole["windows"][0]["box"]
    assert tiled["grid"] == whole["grid"]
    assert_refused(run("explain", photograph, "--model", weights, "--size", "native", "--out", tmp_path / "o"), "needs --class")
    assert_refused(run("explain", photograph, "--model", weights, "--size", "large"), "--size large: is neither a number")


def test_int8_is_calibrated_on_the_levels_that_are_asked_for(run: Run, weights: Path, tmp_path: Path) -> None:
    """Levels without a picture of their own: what they are calibrated on cannot be read without --grey either."""
    pytest.importorskip("openvino")
    scans = tmp_path / "scans"
    scans.mkdir()
    for number in range(4):
        levels = np.random.default_rng(number).uniform(-160, 240, (90, 70)).astype(np.float32)
        Image.fromarray(levels).save(scans / f"{number}.tif")
    words = ("--runtime", "openvino", "--precision", "int8", "--calibration", scans, "--grey=-160,240", "--json")
    result = run("explain", scans / "0.tif", "--model", weights, "--out", tmp_path / "why.png", *words)
    assert result.code == 0, result.err
    assert "cannot be read" not in result.err
