"""Tiled is whole; a run that was killed goes on; what cannot be read is missing and never invented."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

import bagnet
from bagnet.data.decode import BadImage
from bagnet.engine.classifier import Classifier
from bagnet.geometry import Box
from bagnet.runs.store import OtherRun
from bagnet.slides import reading
from bagnet.slides import run as module
from bagnet.slides.readers import ArrayReader
from bagnet.slides.run import merge_slides, open_slide, slide, tile_rows
from bagnet.weights import storable, write

from ..engine.classifiers import small_bagnet, small_windowed
from .made import colour_model

PIXELS = np.random.default_rng(0).integers(0, 256, (150, 233, 3), np.uint8)
SMALL = 60 * 60  # pixels of a tile


@pytest.fixture
def image(tmp_path: Path) -> Path:
    np.save(tmp_path / "image.npy", PIXELS)
    return tmp_path / "image.npy"


def whole(model: Classifier, pixels: np.ndarray[Any, Any] = PIXELS) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Logits and evidence from one pass."""
    x = model.transform.normalise(torch.from_numpy(pixels).permute(2, 0, 1)[None])
    with torch.inference_mode():
        logits, evidence = model.logits_and_evidence(x)
    return logits[0].numpy(), evidence[0].numpy()


@pytest.mark.parametrize("build", [small_bagnet, lambda: small_bagnet(padded=True), small_windowed])
@pytest.mark.parametrize("tile", [SMALL, 90 * 90, 1 << 20])
def test_tiled_is_whole(build: Callable[[], Classifier], tile: int, image: Path, tmp_path: Path) -> None:
    model = build()
    logits, evidence = whole(model)
    result = slide(model, image, [2, 0], tmp_path / "out", tile_pixels=tile)
    largest = np.abs(logits).max()
    assert np.abs(result.evidence - evidence[[2, 0]]).max() < 1e-5 * max(largest, np.abs(evidence).max())
    assert np.abs(result.logits - logits).max() < 1e-5 * largest
    assert (result.size, result.level, result.skipped, result.bad) == ((150, 233), 0, 0, ())
    assert np.array_equal(result.map(str(model.classes[0])), result.evidence[1])
    assert np.nanmean(result.map(0), dtype=np.float64) == pytest.approx(float(result.logits[2]), abs=1e-5 * float(largest))


def test_a_finer_stride_is_another_grid(image: Path, tmp_path: Path) -> None:
    model = small_bagnet().at_stride(4)
    result = slide(model, image, [0], tmp_path / "out", tile_pixels=SMALL)
    assert result.geometry.stride == 4
    assert np.abs(result.evidence[0] - whole(model)[1][0]).max() < 1e-4


def test_a_killed_run_goes_on_to_the_same_numbers(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_bagnet()
    undisturbed = slide(model, image, [0, 1], tmp_path / "undisturbed", tile_pixels=SMALL)
    compute, calls = module._Work._compute, list[int]()

    def dies(self: Any, *arguments: Any) -> Any:
        if len(calls) == 3:
            calls.clear()
            raise KeyboardInterrupt
        calls.append(1)
        return compute(self, *arguments)

    monkeypatch.setattr(module._Work, "_compute", dies)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            slide(model, image, [0, 1], tmp_path / "out", tile_pixels=SMALL)
        with pytest.raises(ValueError, match="a slide that is not finished"):
            open_slide(tmp_path / "out")
    monkeypatch.setattr(module._Work, "_compute", compute)
    result = slide(model, image, [0, 1], tmp_path / "out", tile_pixels=SMALL)
    for name in ("evidence.npy", "sums.npy"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()
    assert np.array_equal(result.logits, undisturbed.logits)
    monkeypatch.setattr(module._Work, "_compute", lambda *_: pytest.fail("all was computed already"))
    slide(model, image, [0, 1], tmp_path / "out", tile_pixels=SMALL)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
def test_killed_five_times_at_random_the_store_is_the_same_to_the_byte(tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", np.random.default_rng(1).integers(0, 256, (2000, 3000, 3), np.uint8))
    write(tmp_path / "model.safetensors", *storable(small_bagnet()))
    program = (
        "import bagnet, sys, torch; torch.set_num_threads(1); "
        f"bagnet.slide(bagnet.load({str(tmp_path / 'model.safetensors')!r}), {str(tmp_path / 'image.npy')!r}, ['dog', 'cow'], "
        "sys.argv[1], tile_pixels=100 * 100)"
    )
    random, killed, rows = Random(0), 0, tmp_path / "killed" / "tiles.jsonl"
    while killed < 5:
        before = rows.stat().st_size if rows.exists() else 0
        process = subprocess.Popen([sys.executable, "-c", program, tmp_path / "killed"])
        while process.poll() is None and (rows.stat().st_size if rows.exists() else 0) == before:
            time.sleep(0.01)
        time.sleep(random.random() / 4)
        assert process.poll() is None, "it is at work"
        process.kill()
        process.wait()
        killed += 1
        assert not (tmp_path / "killed" / "finished.npz").exists()
    for folder in ("killed", "undisturbed"):
        subprocess.run([sys.executable, "-c", program, tmp_path / folder], check=True)
    assert contents(tmp_path / "killed") == contents(tmp_path / "undisturbed")


def test_a_full_disk_is_said_and_costs_a_tile_at_most(image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_bagnet()
    slide(model, image, [0, 1], tmp_path / "undisturbed", tile_pixels=SMALL)
    sync, calls = os.fsync, list[int]()

    def full(file: int) -> None:
        calls.append(file)
        if len(calls) % 4 == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(file)

    for _ in range(2):
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"tiles\.jsonl: cannot be written \(No space left on device\)"):
            slide(model, image, [0, 1], tmp_path / "out", tile_pixels=SMALL)
        with pytest.raises(ValueError, match="a slide that is not finished"):
            open_slide(tmp_path / "out")
    monkeypatch.setattr(os, "fsync", sync)
    slide(model, image, [0, 1], tmp_path / "out", tile_pixels=SMALL)
    assert contents(tmp_path / "out") == contents(tmp_path / "undisturbed")


def test_what_it_takes_and_how_long_the_network_waited_is_said(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "bagnet")
    monkeypatch.setattr(reading, "_WORTH_SAYING", 0.0)
    slide(small_bagnet(), image, [0], tmp_path / "out", tile_pixels=SMALL)
    _, expected, waited = (record.getMessage() for record in caplog.records)
    assert re.fullmatch(r"233 x 150 pixels, 476 windows: \d+ tiles, about \d+ s and \d+\.\d GB of memory", expected)
    assert re.fullmatch(r"\d+ tiles; the network waited \d+ % of the time for pixels", waited)

    def slow(self: ArrayReader, level: int, box: Box) -> Any:
        time.sleep(0.05)
        return read(self, level, box)

    read = ArrayReader.read
    monkeypatch.setattr(ArrayReader, "read", slow)
    caplog.clear()
    slide(small_bagnet(), image, [0], tmp_path / "slow", tile_pixels=SMALL, readers=1)
    share = re.search(r"waited (\d+) %", caplog.text)
    assert share is not None
    assert int(share[1]) > 50


def test_a_model_of_scaled_images_is_said_to_be_shown_pixels_as_they_are(
    image: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "bagnet")
    assert small_bagnet().transform.resize == 256
    slide(small_bagnet(), image, [0], tmp_path / "scaled")
    assert "was trained on images scaled to 256 pixels, and sees these pixels as they are, in windows of 17" in caplog.text
    caplog.clear()
    slide(colour_model(), image, [0], tmp_path / "native")
    assert "as they are" not in caplog.text


def test_a_disk_too_small_for_the_map_is_said_before_any_work(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    monkeypatch.setattr(module._Work, "_compute", lambda *_: pytest.fail("there is no room for what is computed"))
    with pytest.raises(OSError, match=r"evidence\.npy: cannot be written \(No space left on device\)"):
        slide(small_bagnet(), image, [0], tmp_path / "out")


def test_another_model_or_image_is_refused_with_what_differs(image: Path, tmp_path: Path) -> None:
    slide(small_bagnet(), image, [0], tmp_path / "out")
    with pytest.raises(OtherRun, match="other weights"):
        slide(small_bagnet(seed=1), image, [0], tmp_path / "out")
    with pytest.raises(OtherRun, match=r"classes \[0\] instead of \[1\]"):
        slide(small_bagnet(), image, [1], tmp_path / "out")
    np.save(image, PIXELS[:-1])
    with pytest.raises(OtherRun, match="height 150 instead of 149"):
        slide(small_bagnet(), image, [0], tmp_path / "out")
    assert slide(small_bagnet(), image, [0], tmp_path / "out", overwrite=True).size == (149, 233)


def test_what_cannot_be_read_is_missing_and_the_rest_is_done(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = ArrayReader.read

    def corrupt(self: ArrayReader, level: int, box: Box) -> Any:
        if box.left <= 120 < box.right and box.top <= 100 < box.bottom:
            raise BadImage("image.npy: a tile is corrupt")
        return read(self, level, box)

    monkeypatch.setattr(ArrayReader, "read", corrupt)
    model = small_bagnet()
    result = slide(model, image, [0], tmp_path / "out", tile_pixels=SMALL)
    missing = np.isnan(result.evidence[0])
    assert 0 < missing.sum() < missing.size
    assert all(re.fullmatch(r"image.npy: a tile is corrupt: \d+ of its \d+ windows are missing", why) for _, why in result.bad)
    evidence = whole(model)[1]
    assert np.abs(result.evidence[0] - evidence[0])[~missing].max() < 1e-4
    assert result.logits == pytest.approx(evidence[:, ~missing].mean(1), abs=1e-4)
    monkeypatch.setattr(ArrayReader, "read", _unreadable)
    with pytest.raises(BadImage, match="nothing can be read"):
        slide(model, image, [0], tmp_path / "none", tile_pixels=SMALL)
    assert not (tmp_path / "none").exists()


def as_pyramid(path: Path, pixels: np.ndarray[Any, Any], levels: int = 3, **options: Any) -> Path:
    """A TIFF in levels of half the size each, in tiles of 64 pixels, the largest ones of half a micrometre."""
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("imagecodecs")
    about = {"tile": (64, 64), "photometric": "rgb", "resolutionunit": "CENTIMETER", **options}
    with tifffile.TiffWriter(path) as file:
        for level in range(levels):
            per_centimetre = 20_000 / 2**level
            part = pixels[:: 2**level, :: 2**level]
            file.write(part, subfiletype=int(level > 0), resolution=(per_centimetre, per_centimetre), **about)
    return path


def test_a_level_of_a_pyramid_is_seen_as_the_image_it_is(tmp_path: Path) -> None:
    image, model = as_pyramid(tmp_path / "scan.tif", PIXELS), small_bagnet()
    by_number = slide(model, image, [0], tmp_path / "level", level=1, tile_pixels=SMALL)
    assert (by_number.level, by_number.downsample, by_number.size) == (1, 233 / 117, (75, 117))
    assert by_number.microns_per_pixel == pytest.approx(0.5 * 233 / 117)
    assert np.abs(by_number.evidence[0] - whole(model, PIXELS[::2, ::2])[1][0]).max() < 1e-4
    by_size = slide(model, image, [0], tmp_path / "microns", microns=1.9, tile_pixels=SMALL)
    assert by_size.level == 2
    with pytest.raises(ValueError, match=r"scan\.tif: there is no level 3: there are 0 to 2"):
        slide(model, image, [0], tmp_path / "none", level=3)


@pytest.mark.parametrize(("scale", "level", "words"), [((0, 1.1), 1, "1.1 microns per pixel"), ((2, 0.0), 2, "level 2")])
def test_the_scale_that_a_model_was_trained_at(
    scale: tuple[int, float], level: int, words: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The card says it, the log repeats it, and what is asked for comes first."""
    caplog.set_level("INFO", "bagnet")
    model, image = copy(small_bagnet()), as_pyramid(tmp_path / "scan.tif", PIXELS, compression="zlib")
    assert model.card is not None
    fields = {"tiles": 4, "train_crop": 40, "level": scale[0], "microns": scale[1], "skip_white": True}
    model.card = replace(model.card, more={"recipe": fields})
    assert slide(model, image, [0], tmp_path / "card").level == level
    assert f"pixels are seen at {words}, as {model.card.name} was trained" in caplog.messages
    assert tile_rows(model, image) == tile_rows(model, image, level=level)
    caplog.clear()
    assert slide(model, image, [0], tmp_path / "level", level=0).level == 0
    assert slide(model, image, [0], tmp_path / "microns", microns=0.5).level == 0
    assert not [line for line in caplog.messages if "are seen at" in line]


def test_of_a_corrupt_tile_only_what_sees_it_is_missing(tmp_path: Path) -> None:
    image = as_pyramid(tmp_path / "scan.tif", PIXELS, levels=1, compression="zlib")
    with pytest.importorskip("tifffile").TiffFile(image) as file:
        offset = file.pages[0].dataoffsets[5]  # of four tiles a row: the pixels (64, 64) to (128, 128)
    content = bytearray(image.read_bytes())
    content[offset : offset + 40] = bytes(40)
    image.write_bytes(content)
    model = small_bagnet()
    result = slide(model, image, [0], tmp_path / "out")
    ((_, reason),) = result.bad
    touched = np.zeros(result.evidence.shape[1:], bool)
    touched[model.geometry.cells_touching(Box(64, 64, 128, 128), 150, 233).slices] = True
    missing = np.isnan(result.evidence[0])
    assert missing[touched].all()
    assert not missing[:, 17:].any(), "cells of another piece"
    assert f"{missing.sum()} of its {missing.size} windows are missing" in reason
    evidence = whole(model)[1]
    assert np.abs(result.evidence[0] - evidence[0])[~missing].max() < 1e-4
    assert result.logits == pytest.approx(evidence[:, ~missing].mean(1), abs=1e-4)


def _unreadable(*_: Any) -> Any:
    raise BadImage("nothing can be read")


def test_white_tiles_are_skipped_where_that_is_asked_for(tmp_path: Path) -> None:
    pixels = PIXELS.copy()
    pixels[:, :120] = 240
    np.save(tmp_path / "image.npy", pixels)
    model = small_bagnet()
    evidence = whole(model, pixels)[1]
    result = slide(model, tmp_path / "image.npy", [0], tmp_path / "out", skip_white=True, tile_pixels=SMALL)
    known = np.isfinite(result.evidence[0])
    assert result.skipped > 0
    assert 0 < known.sum() < known.size
    columns = np.flatnonzero(~known.any(0))
    assert model.geometry.window(0, int(columns.max())).right <= 120, "only windows that see nothing but white"
    assert result.logits == pytest.approx(evidence[:, known].mean(1), abs=1e-4)
    np.save(tmp_path / "blank.npy", np.full((100, 100, 3), 255, np.uint8))
    with pytest.raises(BadImage, match="every tile is white"):
        slide(model, tmp_path / "blank.npy", [0], tmp_path / "blank", skip_white=True)


def test_wrong_words_are_refused_before_any_work(image: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name the classes"):
        slide(small_bagnet(), image, [], tmp_path / "out")
    with pytest.raises(ValueError, match="there is no level 1"):
        slide(small_bagnet(), image, [0], tmp_path / "out", level=1)
    np.save(tmp_path / "small.npy", PIXELS[:10, :10])
    with pytest.raises(ValueError, match="too small for windows of 17"):
        slide(small_bagnet(), tmp_path / "small.npy", [0], tmp_path / "out")
    with pytest.raises(ValueError, match="nothing of a slide"):
        open_slide(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert bagnet.slide is slide


def test_parts_merge_into_what_one_run_gives(image: Path, tmp_path: Path) -> None:
    model = small_bagnet()
    whole_run = slide(model, image, [2, 0], tmp_path / "whole", tile_pixels=SMALL)
    folders = [tmp_path / f"part{number}" for number in (1, 2, 3)]
    for number, folder in enumerate(folders, 1):
        part = slide(model, image, [2, 0], folder, shard=(number, 3), tile_pixels=SMALL)
        rows = slice(part.first_row, part.first_row + part.evidence.shape[1])
        computed = np.isfinite(part.evidence)
        assert 0 < computed[0].sum() < whole_run.evidence[0].size
        assert np.array_equal(part.evidence[computed], whole_run.evidence[:, rows][computed])
    merged = merge_slides(folders[::-1], tmp_path / "out")
    assert (tmp_path / "out" / "evidence.npy").read_bytes() == (tmp_path / "whole" / "evidence.npy").read_bytes()
    assert merged.logits == pytest.approx(whole_run.logits, abs=1e-5 * float(np.abs(whole_run.logits).max()))
    slide(model, image, [2, 0], tmp_path / "all", shard=(1, 1), tile_pixels=SMALL)
    merge_slides([tmp_path / "all"], tmp_path / "merged of one")
    assert (tmp_path / "merged of one" / "evidence.npy").read_bytes() == (tmp_path / "whole" / "evidence.npy").read_bytes()
    with pytest.raises(ValueError, match=r"there are the parts 1/3, 3/3: to be merged there must be 1/3 to 3/3, each once"):
        merge_slides(folders[::2], tmp_path / "other")
    slide(model, image, [1], folders[1], shard=(2, 3), tile_pixels=SMALL, overwrite=True)
    with pytest.raises(ValueError, match=r"part2: is of another run than .*part1, with classes \[2, 0\] instead of \[1\]"):
        merge_slides(folders, tmp_path / "other")
    with pytest.raises(ValueError, match="there is no part 4 of 3"):
        slide(model, image, [1], tmp_path / "other", shard=(4, 3))
    assert not (tmp_path / "other").exists()
