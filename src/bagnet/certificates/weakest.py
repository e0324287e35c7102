"""The picture of a certificate: where on the photograph a patch would cost most, and by how much the answer leads elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..evidence import Evidence, Window
from ..figures.charts import finished, panel_title, side_by_side
from ..figures.colours import INK, OUTLINE, PAPER, evidence_colours
from ..figures.evidence_picture import photograph
from ..figures.picture import Picture
from ..figures.words import signed
from .certificate import Certificate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NUMBERED = 49  # places up to which each has its number
_DARK = 0.55  # of the largest lead, from which letters are light


def weakest(certificate: Certificate, evidence: Evidence) -> Picture:
    """The photograph with the windows at which a patch costs most, and beside it the answer's lead for each place of a patch.

    A place is a run of rows and of columns of windows that a patch may touch. Red where the answer stays ahead whatever a patch
    there shows, blue where another may overtake it.

    Args:
        certificate: to be shown.
        evidence: that it is of.
    """
    figure, panels = side_by_side([4.2, 4.2], 4.2)
    left, right = (figure.add_subplot(panels[number]) for number in range(2))
    photograph(left, evidence, [Window(certificate.worst_place, certificate.margin, 0, 0)])
    photograph(right, evidence, [])
    _places(right, certificate)
    panel_title(left, "where a patch costs most")
    panel_title(right, "lead of the answer, by where the patch lies")
    verdict = "No patch changes the answer" if certificate.certified else "A patch may change the answer"
    against = f"{certificate.name}, against {certificate.patch}, by {certificate.method}"
    words = f"{against}: least lead {signed(certificate.margin)}, over {certificate.rival}"
    return finished(figure, verdict, words)


def _places(axes: Axes, certificate: Certificate) -> None:
    """Tiles over the photograph, one for each place: rows and columns in their order, as windows of neighbours overlap."""
    from matplotlib.patches import Rectangle

    margins = certificate.margins
    limit = float(np.abs(margins).max()) or 1.0
    width, height = (side / count for side, count in zip(certificate.placement.image_size, reversed(margins.shape), strict=True))
    for row, column in np.ndindex(*margins.shape):
        lead = float(margins[row, column])
        least = lead == margins.min()
        colour = evidence_colours()(0.5 + 0.5 * lead / limit)
        look: dict[str, Any] = {"edgecolor": OUTLINE, "linewidth": 2.2, "zorder": 3} if least else {"edgecolor": "white"}
        corner = column * width - 0.5, row * height - 0.5
        axes.add_patch(Rectangle(corner, width, height, facecolor=(*colour[:3], 0.72), **look))
        if margins.size <= _NUMBERED:
            middle = corner[0] + width / 2, corner[1] + height / 2
            ink = PAPER if abs(lead) > _DARK * limit else INK
            axes.text(*middle, signed(lead), fontsize=8, color=ink, ha="center", va="center", zorder=4)
