"""A made slide whose evidence is known: a pyramid with a red square, white at the right, and a tile that cannot be read."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from bagnet.data.transforms import Preprocessing
from bagnet.slides.run import slide
from bagnet.windowed_network import WindowedNetwork
from bagnet.zoo.windowed import windowed

HEIGHT, WIDTH, SIZE, STRIDE, TILE = 640, 900, 16, 2, 128
RED = (100, 200)  # row and column where the red square begins, which is as large as a window
BROKEN = (slice(512, 640), slice(128, 256))  # what cannot be read
CLASSES = ("red", "dark")
HEAD = np.array([[8, -4, -4], [-1, -1, -1]], np.float32)  # logits of the mean colour of a window


@cache
def pixels() -> NDArray[np.uint8]:
    """(640, 900, 3): noise, white from column 620 on, and the square with green to its right and beneath it."""
    noise = np.random.default_rng(0).integers(40, 200, (HEIGHT, WIDTH, 3), np.uint8)
    noise[:, 620:] = 255
    row, column = RED
    noise[row : row + 2 * SIZE, column : column + 2 * SIZE] = (0, 255, 0)
    noise[row : row + SIZE, column : column + SIZE] = (255, 0, 0)
    return noise


@cache
def colour_model() -> WindowedNetwork:
    """Windows of 16 pixels every 2, of whose mean colour a logit is a linear function."""
    with torch.inference_mode(False):
        head = nn.Linear(3, 2, bias=False)
        head.weight.data = torch.from_numpy(HEAD)
        network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval()
        seen_as_is = Preprocessing(None, None, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        return windowed(network, SIZE, STRIDE, scale="native", classes=CLASSES, preprocessing=seen_as_is)


def expected_map(number: int) -> NDArray[np.float64]:
    """(h, w) logits of a class at every window, as if all could be read."""
    sums = np.pad(pixels() / 255.0, ((1, 0), (1, 0), (0, 0))).cumsum(0).cumsum(1)
    windows = sums[SIZE:, SIZE:] - sums[:-SIZE, SIZE:] - sums[SIZE:, :-SIZE] + sums[:-SIZE, :-SIZE]
    logits: NDArray[np.float64] = (windows[::STRIDE, ::STRIDE] / SIZE**2) @ HEAD[number].astype(np.float64)
    return logits


def pyramid(folder: Path) -> Path:
    """The image at full size, half and a quarter, half a micrometre a pixel, in tiles of which one is broken."""
    tifffile = pytest.importorskip("tifffile")
    pytest.importorskip("zarr")
    options: dict[str, Any] = {"tile": (TILE, TILE), "photometric": "rgb", "compression": "zlib"}
    with tifffile.TiffWriter(folder / "made.tif") as file:
        file.write(pixels(), subifds=2, resolution=(20_000, 20_000), resolutionunit="CENTIMETER", **options)
        for step in (2, 4):
            file.write(pixels()[::step, ::step], subfiletype=1, **options)
    with tifffile.TiffFile(folder / "made.tif") as file:
        number = BROKEN[0].start // TILE * -(-WIDTH // TILE) + BROKEN[1].start // TILE
        start, length = file.pages[0].dataoffsets[number], file.pages[0].databytecounts[number]
    with (folder / "made.tif").open("r+b") as file:
        file.seek(start)
        file.write(bytes(length))
    return folder / "made.tif"


def made_slide(folder: Path, **options: Any) -> Path:
    """The folder of the evidence of the pyramid, which lies beside it."""
    image = folder / "made.tif"
    slide(
        colour_model(),
        image if image.exists() else pyramid(folder),
        list(CLASSES),
        folder / "evidence",
        skip_white=True,
        tile_pixels=TILE * TILE,
        **options,
    )
    return folder / "evidence"
