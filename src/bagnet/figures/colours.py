"""The colours of evidence: blue speaks against, white is silent, red speaks for."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ..evidence.evidence import Floats

# Equally dark at equal distance from zero.
ANCHORS = ("#123c75", "#2f74b5", "#7db1d8", "#d3e4f0", "#ffffff", "#f8dbcb", "#ec9a7a", "#cf4a41", "#7f1228")
_STEPS = 128  # to either side of white


def coloured(values: Floats, limit: float) -> NDArray[np.uint8]:
    """The colours of logits from -limit to limit, and those of the ends beyond: (...) -> (..., 3) uint8."""
    share = np.clip(np.asarray(values, dtype=np.float64) / limit, -1, 1)
    colours: NDArray[np.uint8] = table()[np.rint(share * _STEPS).astype(np.intp) + _STEPS]
    return colours


@cache
def table() -> NDArray[np.uint8]:
    """(257, 3): all of them in order; the middle one is white."""
    anchors = np.array([[int(code[place : place + 2], 16) for place in (1, 3, 5)] for code in ANCHORS], dtype=np.float64)
    places: NDArray[Any] = np.linspace(0, len(ANCHORS) - 1, 2 * _STEPS + 1)
    channels = [np.interp(places, np.arange(len(ANCHORS)), anchors[:, channel]) for channel in range(3)]
    found: NDArray[np.uint8] = np.rint(np.stack(channels, 1)).astype(np.uint8)
    found.setflags(write=False)
    return found
