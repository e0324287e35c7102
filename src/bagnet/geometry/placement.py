"""Placement: where the network's input lies in a person's image, through EXIF rotation, antialiased resize and crop."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from .boxes import Box, Span


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a Placement: how `source` pixels became `resized` ones, of which the network sees `length` from `start`.

    Args:
        source: pixels of the person's image along this axis.
        resized: pixels after the resize.
        start: first resized pixel that the network sees; negative where the crop pads.
        length: pixels that the network sees.
        filter_radius: half-width of the resize filter in output pixels (1 for bilinear, 2 bicubic, 3 Lanczos), as Pillow
            defines it: it widens with the reduction, and never shrinks when enlarging. Unused where nothing is resized.
    """

    source: int
    resized: int
    start: int
    length: int
    filter_radius: float

    @property
    def scale(self) -> float:
        """Source pixels per resized pixel."""
        return self.source / self.resized

    def display(self, span: Span) -> Span:
        """Network pixels -> source pixels, edges rounded, clipped to the image."""
        start, stop = (round((edge + self.start) * self.scale) for edge in span)
        return Span(min(max(start, 0), self.source), min(max(stop, 0), self.source))

    def input_positions(self) -> NDArray[np.float64]:
        """(source,) where the centre of each source pixel lies on the network's input, in its pixels."""
        positions: NDArray[np.float64] = (np.arange(self.source, dtype=np.float64) + 0.5) / self.scale - self.start
        return positions

    def influence(self, span: Span) -> Span:
        """Network pixels -> an outer bound on the source pixels that they were computed from."""
        first, last = max(span.start + self.start, 0), min(span.stop + self.start, self.resized) - 1
        if last < first:
            return Span(0, 0)
        return Span(self._taps(first).start, self._taps(last).stop)

    def influenced(self, span: Span) -> Span:
        """Source pixels -> an outer bound on the network pixels that were computed from any of them."""
        start, stop = max(span.start, 0), min(span.stop, self.source)
        if stop <= start:
            return Span(0, 0)
        # Taps move right with the pixel, so the touched pixels are a run and its two ends can be bisected.
        first = bisect_right(range(self.resized), start, key=lambda pixel: self._taps(pixel).stop)
        last = bisect_left(range(self.resized), stop, key=lambda pixel: self._taps(pixel).start)
        first, last = max(first - self.start, 0), min(last - self.start, self.length)
        return Span(first, max(first, last))

    def _taps(self, pixel: int) -> Span:
        """Source pixels with a place in the filter of one resized pixel: Pillow's own rounding, widened by one pixel."""
        if self.source == self.resized:
            return Span(pixel, pixel + 1)
        centre, radius = (pixel + 0.5) * self.scale, self.filter_radius * max(self.scale, 1.0)
        return Span(max(floor(centre - radius) - 1, 0), min(ceil(centre + radius) + 1, self.source))


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the network's input lies in the person's image, through rotation, antialiased resize and crop.

    Boxes of the person's image are in pixels of the upright picture, as every viewer shows it and as
    `PIL.ImageOps.exif_transpose` returns it; `stored_box` turns one into pixels of the file as stored.

    Args:
        horizontal: the columns.
        vertical: the rows.
        orientation: EXIF orientation of the file, 1 to 8; 1 is upright.
    """

    horizontal: Axis
    vertical: Axis
    orientation: int = 1

    @classmethod
    def identity(cls, height: int, width: int) -> Placement:
        """The placement of an image that is given to the network as it is."""
        return cls(Axis(width, width, 0, width, 0.0), Axis(height, height, 0, height, 0.0))

    @property
    def image_size(self) -> tuple[int, int]:
        """(width, height) of the person's image, upright, in pixels."""
        return self.horizontal.source, self.vertical.source

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the network's input in pixels."""
        return self.vertical.length, self.horizontal.length

    def display_box(self, box: Box) -> Box:
        """A box of the network's input as a box of the person's image, rounded and clipped: for pictures."""
        columns, rows = Span(box.left, box.right), Span(box.top, box.bottom)
        return Box.from_spans(self.horizontal.display(columns), self.vertical.display(rows))

    def influence_box(self, box: Box) -> Box:
        """A box of the person's image that holds every pixel on which the given box of the network's input depends.

        An outer bound, for proofs and edits: it includes the support of the resize filter.
        """
        columns, rows = Span(box.left, box.right), Span(box.top, box.bottom)
        return Box.from_spans(self.horizontal.influence(columns), self.vertical.influence(rows))

    def influenced_box(self, box: Box) -> Box:
        """A box of the network's input that holds every pixel which depends on the given box of the person's image.

        The other way round than `influence_box`, and an outer bound too: what an edit of the image may change.
        """
        columns, rows = Span(box.left, box.right), Span(box.top, box.bottom)
        return Box.from_spans(self.horizontal.influenced(columns), self.vertical.influenced(rows))

    def stored_box(self, box: Box) -> Box:
        """A box of the upright image in pixels of the file as stored, before its EXIF orientation is applied."""
        width, height = self.image_size
        if self.orientation >= 5:  # the stored file is transposed, so its width is the upright height
            mirrored = {5: (False, False), 6: (True, False), 7: (True, True), 8: (False, True)}
        else:
            mirrored = {1: (False, False), 2: (True, False), 3: (True, True), 4: (False, True)}
        # Whether the upright x, and the upright y, runs against the stored axis it lies on.
        against_x, against_y = mirrored[self.orientation]
        left, right = (width - box.right, width - box.left) if against_x else (box.left, box.right)
        top, bottom = (height - box.bottom, height - box.top) if against_y else (box.top, box.bottom)
        return Box(top, left, bottom, right) if self.orientation >= 5 else Box(left, top, right, bottom)
