"""The evidence laid over the photograph: plain pixels, fast enough for every frame of a film."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ..evidence import Evidence
from ..geometry import Box
from .colours import coloured


def overlay(
    evidence: Evidence,
    target: int | str | None = None,
    versus: int | str | None = None,
    *,
    scale: float | None = None,
    opacity: float = 0.7,
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
    if scale is not None and not 0 < scale < float("inf"):
        raise ValueError(f"the scale must be a positive number of logits, got {scale}")
    if not 0 <= opacity <= 1:
        raise ValueError(f"the opacity must be between 0 and 1, got {opacity}")
    index = int(evidence.logits.argmax()) if target is None else evidence.classes.find(target)
    values = evidence.map(index) if versus is None else evidence.difference(index, versus)
    limit = scale or float(np.abs(values).max()) or 1.0
    strength = np.minimum(np.abs(values) / limit, 1) * opacity * 255
    cells = Image.fromarray(np.dstack([coloured(values, limit), np.rint(strength).astype(np.uint8)]), "RGBA")
    rows, columns = values.shape
    first, last = evidence.geometry.centre_square(0, 0), evidence.geometry.centre_square(rows - 1, columns - 1)
    place = evidence.placement.display_box(Box(first.left, first.top, last.right, last.bottom))
    laid = cells.resize((max(1, place.width), max(1, place.height)), Image.Resampling.NEAREST)
    picture = evidence.image.copy()
    picture.paste(laid, (place.left, place.top), laid)
    return picture
