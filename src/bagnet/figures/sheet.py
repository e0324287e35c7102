"""Sheets of small pictures, with a place for each word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ..geometry import Box
from .charts import MARGIN, SUBTITLE, heading
from .colours import INK, LINE, PAPER, SOFT
from .words import LINE_HEIGHT, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Sheet:
    """A figure on which everything has its place in inches from the top left corner.

    Args:
        width: in inches.
        below: height of what comes under the heading; it begins at `top`.
        title: of the figure.
        words: under the title, on as many lines as they need.
    """

    def __init__(self, width: float, below: float, title: str, words: str) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        lines = wrapped(words, width - 2 * MARGIN, SUBTITLE)
        self.top = 0.75 + (lines.count("\n") + 1) * LINE_HEIGHT * SUBTITLE / 72
        self.figure = Figure(figsize=(width, self.top + below), facecolor=PAPER)
        FigureCanvasAgg(self.figure)
        self._ground = self.panel(0, 0, width, self.top + below)
        self._ground.set_axis_off()
        self._ground.set(xlim=(0, width), ylim=(self.top + below, 0))
        heading(self.figure, title, "")
        self.text(MARGIN, 0.5, lines, SUBTITLE, color=SOFT)

    def panel(self, x: float, y: float, width: float, height: float) -> Axes:
        """Axes of their own at that place."""
        across, down = self.figure.get_size_inches()
        return self.figure.add_axes((x / across, 1 - (y + height) / down, width / across, height / down))

    def text(self, x: float, y: float, words: str, size: float = 8, **more: Any) -> None:
        """Words, the top of their first line at the place, in letters of a size in points."""
        for line, part in enumerate(words.split("\n")):
            base = y + (0.76 + LINE_HEIGHT * line) * size / 72  # by the base line, as tops jump with the letters
            self._ground.text(x, base, part, **{"fontsize": size, "color": INK, "va": "baseline", **more})

    def picture(self, x: float, y: float, side: float, image: Image.Image) -> None:
        """An image enlarged to fill a square in one direction at least, each of its pixels a square, in a thin frame."""
        from matplotlib.patches import Rectangle

        step = side / max(image.size)
        wide, high = image.width * step, image.height * step
        left, top = x + (side - wide) / 2, y + (side - high) / 2
        extent = (left, left + wide, top + high, top)
        self._ground.imshow(np.asarray(image), extent=extent, interpolation="nearest", aspect="auto")
        self._ground.add_patch(Rectangle((left, top), wide, high, fill=False, edgecolor=LINE, linewidth=0.8))


def cropped(image: Image.Image, box: Box) -> Image.Image:
    """A box of an image; at least one pixel, where the image is so small that a window is less."""
    left, top = min(box.left, image.width - 1), min(box.top, image.height - 1)
    return image.crop((left, top, max(box.right, left + 1), max(box.bottom, top + 1)))
