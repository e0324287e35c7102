"""The threat: stickers of a size, anywhere on an image, and the windows that they can touch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil, sqrt
from typing import Literal

from ..geometry import Axis, Box, Geometry, Placement, Span

Frame = Literal["photo", "input"]
_SIZE = re.compile(r"(?P<height>\d+)(?:x(?P<width>\d+))?(?P<frame>photo|input|px)?")
_SHARE = re.compile(r"(?P<share>\d+(?:\.\d+)?)\s*%")


@dataclass(frozen=True, slots=True)
class Patch:
    """Rectangles of pixels that an adversary may set to anything.

    Args:
        height: in pixels of `frame`; 0 where `share` says it.
        width: likewise.
        share: of the image's area, of a square; 0 where height and width say it.
        frame: "photo" for pixels of the upright photograph, with all that the resize makes of them, or "input" for pixels of the
            network's input; "" for either, where both are the same.
        count: of patches at once, each of that size.
        region: pixels of the frame within which all of each patch lies; anywhere where None.
        words: how it was named, where it stands for several sizes.

    Raises:
        ValueError: it has no size, or two.
    """

    height: int = 0
    width: int = 0
    share: float = 0.0
    frame: Frame | Literal[""] = "photo"
    count: int = 1
    region: Box | None = None
    words: str = ""

    def __post_init__(self) -> None:
        by_pixels = self.height > 0 and self.width > 0
        if by_pixels == (0 < self.share < 1) or min(self.height, self.width, self.count - 1) < 0:
            raise ValueError(f"a patch has a height and a width, or a share of the image between 0 and 1, got {self}")

    @classmethod
    def parse(cls, text: str, count: int = 1, region: Box | None = None) -> Patch:
        """From "2%" of the photograph, "32photo", "24x60input" (height x width), or "32" where both frames are the same.

        Of several sizes, as in "24x60photo,60x24photo", the least rectangle that holds each of them, which can do all that they
        can, and more where none of them holds the others.

        Raises:
            ValueError: it is none of these; or several sizes are of several kinds.
        """
        sizes = [part.strip() for part in text.split(",")]
        if len(sizes) > 1:
            return cls._holding([cls.parse(size, count, region) for size in sizes])
        if match := _SHARE.fullmatch(text.strip()):
            return cls(share=float(match["share"]) / 100, count=count, region=region)
        if match := _SIZE.fullmatch(text.strip()):
            height = int(match["height"])
            frame: Frame | Literal[""] = "photo" if match["frame"] == "photo" else "input" if match["frame"] == "input" else ""
            return cls(height, int(match["width"] or height), frame=frame, count=count, region=region)
        raise ValueError(f"{text!r} is no size of a patch: say 2% (of the photograph), 32photo, 24x60photo (pixels) or 32input")

    @classmethod
    def _holding(cls, patches: Sequence[Patch]) -> Patch:
        """The least patch that holds each of some, of one frame."""
        if len({(patch.frame, patch.share > 0) for patch in patches}) > 1:
            raise ValueError(
                f"sizes of several kinds ({' and '.join(str(patch) for patch in patches)}): give all in the same pixels"
            )
        height, width = (max(getattr(patch, side) for patch in patches) for side in ("height", "width"))
        words = " or ".join(str(replace(patch, count=1, region=None)) for patch in patches)
        return replace(patches[0], height=height, width=width, share=max(patch.share for patch in patches), words=words)

    def __str__(self) -> str:
        size = self.words or self._size()
        within = "" if self.region is None else f" within {', '.join(str(edge) for edge in self.region)}"
        return f"{f'{self.count} patches of ' if self.count > 1 else ''}{size}{within}"

    def _size(self) -> str:
        size = f"{100 * self.share:g} %" if self.share else f"{self.height} x {self.width} px"
        return size if self.share or not self.frame else f"{size} of the {self.frame}"

    def size_on(self, placement: Placement) -> tuple[int, int]:
        """(height, width) in pixels of the frame. ValueError: it is larger than the image, or could be of either frame."""
        if not self.frame and placement != Placement.identity(*placement.input_size):
            raise ValueError(
                f"a patch of {self.height} x {self.width} px: of the photograph or of the network's input, which is resized? "
                f"Say {self.height}photo or {self.height}input"
            )
        height, width = _frame_size(self.frame, placement)
        if self.share:
            side = ceil(sqrt(self.share * height * width))
            size = min(side, height), min(side, width)
        else:
            size = self.height, self.width
        if size[0] > height or size[1] > width:
            raise ValueError(f"a patch of {size[0]} x {size[1]} px is larger than the image, {height} x {width}")
        return size

    def region_on(self, placement: Placement) -> Box:
        """Where it may lie, in pixels of the frame. ValueError: it does not fit there, or the region is not on the image."""
        (height, width), image = self.size_on(placement), Box(0, 0, *reversed(_frame_size(self.frame, placement)))
        region = self.region or image
        if region.intersect(image) != region:
            raise ValueError(f"the region {tuple(region)} is not within the image, {image.height} x {image.width} px")
        if height > region.height or width > region.width:
            raise ValueError(f"a patch of {height} x {width} px does not fit into the region {tuple(region)}")
        return region

    def runs(self, geometry: Geometry, placement: Placement) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
        """The rows and the columns of cells that one patch can touch: whatever it touches lies in a run of each.

        Only the longest runs: no run lies within another. A patch that sticks out of the image touches nothing more than one
        that does not.

        Raises:
            ValueError: as `size_on`.
        """
        rows, columns = self.joint_runs([(geometry, placement)])
        return tuple(run for (run,) in rows), tuple(run for (run,) in columns)

    def joint_runs(
        self, windows: Sequence[tuple[Geometry, Placement]]
    ) -> tuple[tuple[tuple[Span, ...], ...], tuple[tuple[Span, ...], ...]]:
        """The rows, and the columns, of cells of several grids that one patch can touch at once: a run of each grid.

        Args:
            windows: where those of each grid lie, and how the same image became the input that they are on.

        Raises:
            ValueError: as `size_on`; or the grids are of several images, or of inputs that pixels of "input" cannot mean at once.
        """
        placements = [placement for _, placement in windows]
        frame = "photo" if self.frame == "photo" else "input"
        if len({_frame_size(frame, placement) for placement in placements}) > 1:
            raise ValueError(f"grids on images of several sizes: a patch in pixels of the {frame} is not the same on each")
        height, width = self.size_on(placements[0])
        region, of_photo = self.region_on(placements[0]), self.frame == "photo"
        down = tuple((geometry, placement.vertical) for geometry, placement in windows)
        across = tuple((geometry, placement.horizontal) for geometry, placement in windows)
        return (
            _runs(down, height, Span(region.top, region.bottom), of_photo),
            _runs(across, width, Span(region.left, region.right), of_photo),
        )


def _frame_size(frame: str, placement: Placement) -> tuple[int, int]:
    if frame == "photo":
        width, height = placement.image_size
        return height, width
    return placement.input_size


@lru_cache(maxsize=256)
def _runs(windows: tuple[tuple[Geometry, Axis], ...], pixels: int, within: Span, of_photo: bool) -> tuple[tuple[Span, ...], ...]:
    """The longest runs of cells along an axis that a run of pixels touches, of all grids at once, in order."""
    starts = range(within.start, within.stop - pixels + 1)
    touched = [_touched(windows, Span(start, start + pixels), of_photo) for start in starts]
    distinct = list(dict.fromkeys(runs for runs in touched if any(run.length for run in runs)))
    # Both ends move with the pixels, so that a run within another is within its neighbour on that side, too.
    neighbours = zip(distinct, [(), *distinct], [*distinct[1:], ()], strict=False)
    return tuple(runs for runs, *both in neighbours if not any(wider and _within(runs, wider) for wider in both))


def _touched(windows: Sequence[tuple[Geometry, Axis]], pixels: Span, of_photo: bool) -> tuple[Span, ...]:
    """The cells of each grid along an axis that a run of pixels touches; empty runs all alike."""
    spans = (geometry.touched(axis.influenced(pixels) if of_photo else pixels, axis.length) for geometry, axis in windows)
    return tuple(span if span.length else Span(0, 0) for span in spans)


def _within(runs: Sequence[Span], wider: Sequence[Span]) -> bool:
    pairs = zip(runs, wider, strict=True)
    return all(not run.length or (wide.start <= run.start and run.stop <= wide.stop) for run, wide in pairs)
