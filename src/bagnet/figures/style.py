"""Names by which the experiments of the paper still ask for what lies in `words`, `colours` and `charts`."""

from __future__ import annotations

from .charts import MARGIN, labels, panel_title, quiet_frame, side_by_side
from .colours import BLUE, GREY, INK, PALE, RED, SOFT, model_colours
from .words import abridged, short, wrapped

__all__ = [
    "BLUE",
    "GREY",
    "INK",
    "MARGIN",
    "PALE",
    "RED",
    "SOFT",
    "abridged",
    "labels",
    "model_colours",
    "panel_title",
    "quiet_frame",
    "short",
    "side_by_side",
    "wrapped",
]
