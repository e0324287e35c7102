"""All colours: of text and frames, of models, and of evidence, where blue speaks against, white is silent and red speaks for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.colors import LinearSegmentedColormap

    from ..evidence.evidence import Floats

INK, SOFT, GREY, LINE, PAPER = "#1d2433", "#6b7385", "#8a91a0", "#e8eaef", "#ffffff"  # from text to the ground under it
BLUE, PALE, RED = "#2f74b5", "#d3e4f0", "#cf4a41"
OUTLINE = "#12141a"  # of windows on photographs and maps
INSIDE, OUTSIDE, HATCH = "#f8f9fb", "#eceef2", "#b4bac6"  # where a photograph is the network's input, and where no window sees it
ANCHORS = ("#123c75", BLUE, "#7db1d8", PALE, PAPER, "#f8dbcb", "#ec9a7a", RED, "#7f1228")  # equally dark at equal distance from 0
PAGE = {  # of text on paper and on ground: at least 4.5 to 1, darker than figures need it
    "ink": INK,
    "soft": "#5b6375",
    "grey": GREY,
    "line": "#dfe2ea",
    "paper": PAPER,
    "ground": "#f6f7fa",
    "blue": "#2463a0",
    "pale": PALE,
    "red": "#b23a32",
}
DARK_PAGE = {
    "ink": "#e4e7ee",
    "soft": "#a6afc0",
    "grey": "#6b7385",
    "line": "#2f3646",
    "paper": "#141821",
    "ground": "#1c212c",
    "blue": "#7fb5e6",
    "pale": "#24405f",
    "red": "#f08a82",
}
_STEPS = 128  # to either side of white
_WINDOWS = ("#9ecae9", "#4c93c9", "#1f5a99", "#0f2f5c")  # of BagNets, from the smallest windows to the largest
_OTHERS = ("#d9822b", "#7a5195", "#3a8f5c", "#b5485d", "#8a6d3b", "#5b6b7a")


def coloured(values: Floats, limit: float) -> NDArray[np.uint8]:
    """The colours of logits from -limit to limit, and those of the ends beyond: (...) -> (..., 3) uint8."""
    share = np.clip(np.asarray(values, dtype=np.float64) / limit, -1, 1)
    colours: NDArray[np.uint8] = table()[np.rint(share * _STEPS).astype(np.intp) + _STEPS]
    return colours


@cache
def table() -> NDArray[np.uint8]:
    """(257, 3): the colours of evidence in order; the middle one is white."""
    anchors = np.array([[int(code[start : start + 2], 16) for start in (1, 3, 5)] for code in ANCHORS], dtype=np.float64)
    positions: NDArray[Any] = np.linspace(0, len(ANCHORS) - 1, 2 * _STEPS + 1)
    channels = [np.interp(positions, np.arange(len(ANCHORS)), anchors[:, channel]) for channel in range(3)]
    colours: NDArray[np.uint8] = np.rint(np.stack(channels, 1)).astype(np.uint8)
    colours.setflags(write=False)
    return colours


def evidence_colours() -> LinearSegmentedColormap:
    """The same for matplotlib."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("evidence", ANCHORS)


def share_colours() -> LinearSegmentedColormap:
    """Of shares from 0, white, to 1, dark blue."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("shares", ANCHORS[len(ANCHORS) // 2 :: -1])


def model_colours(windows: Sequence[int | None]) -> list[str]:
    """A colour for each model, given the side of its windows: blues for BagNets, darker with the window; None for others."""
    sizes = sorted({window for window in windows if window is not None})
    others = iter(range(len(windows)))
    colours = []
    for window in windows:
        if window is None:
            colours.append(_OTHERS[next(others) % len(_OTHERS)])
        else:
            rank = sizes.index(window) * (len(_WINDOWS) - 1) / max(1, len(sizes) - 1) if len(sizes) > 1 else 1
            colours.append(_WINDOWS[round(rank)])
    return colours
