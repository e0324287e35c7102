"""The evidence laid over the photograph: plain pixels, fast enough for every frame of a film."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..geometry import Box
from .colours import coloured

if TYPE_CHECKING:
    from .evidence import Evidence


def lay_over(
    evidence: Evidence, target: int | str | None, versus: int | str | None, scale: float | None, opacity: float
) -> Image.Image:
    """`Evidence.overlay`, which see."""
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
