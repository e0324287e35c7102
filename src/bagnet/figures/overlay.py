"""The evidence laid over the photograph: plain pixels, fast enough for every frame of a film."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ..evidence import Evidence
from ..geometry import Box, Geometry
from .colours import coloured

OPACITY = 0.7  # of the strongest cells


def overlay(
    evidence: Evidence,
    target: int | str | None = None,
    versus: int | str | None = None,
    *,
    scale: float | None = None,
    opacity: float = OPACITY,
) -> Image.Image:
    """The photograph with its evidence laid over it, as plain pixels: for film, and for pages that draw their own frame.

    A cell's colour is its logit's, its opacity grows with the logit's size: where nothing speaks, the photograph stays.

    Args:
        evidence: of the photograph.
        target: the class; the best one where None.
        versus: lay over the difference to this class instead of the map itself.
        scale: the logit at both ends of the colours, to compare frames; the largest in this map where None.
        opacity: of the strongest cells, from 0 to 1.

    Raises:
        UnknownClass, AmbiguousClass: as `Evidence.map`.
        ValueError: a scale that is not positive, or an opacity outside 0 to 1.
    """
    check_scale(scale)
    if not 0 <= opacity <= 1:
        raise ValueError(f"the opacity must be between 0 and 1, got {opacity}")
    index = int(evidence.logits.argmax()) if target is None else evidence.classes.find(target)
    values = evidence.map(index) if versus is None else evidence.difference(index, versus)
    limit = scale or float(np.abs(values).max()) or 1.0
    strength = np.minimum(np.abs(values) / limit, 1) * opacity * 255
    cells = Image.fromarray(np.dstack([coloured(values, limit), np.rint(strength).astype(np.uint8)]), "RGBA")
    box = cells_box(evidence, evidence.geometry, *values.shape)
    layer = cells.resize((max(1, box.width), max(1, box.height)), Image.Resampling.NEAREST)
    picture = evidence.image.copy()
    picture.paste(layer, (box.left, box.top), layer)
    return picture


def cells_box(evidence: Evidence, geometry: Geometry, rows: int, columns: int) -> Box:
    """Where the cells of a map lie on the photograph: each is a stride x stride square about its window's centre.

    Args:
        evidence: of the photograph.
        geometry: of the map's windows: the evidence's own, or that of a finer map.
        rows: of the map.
        columns: of the map.
    """
    first, last = geometry.centre_square(0, 0), geometry.centre_square(rows - 1, columns - 1)
    return evidence.placement.display_box(Box(first.left, first.top, last.right, last.bottom))


def check_scale(scale: float | None) -> None:
    """See that the logit at both ends of the colours is one, where it is not left open. ValueError: it is not."""
    if scale is not None and not 0 < scale < float("inf"):
        raise ValueError(f"the scale must be a positive number of logits, got {scale}")
