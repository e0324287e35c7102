"""Picture: a finished figure that saves itself and that notebooks show."""

from __future__ import annotations

import io
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from ..files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 130
_FORMATS = (".png", ".jpg", ".jpeg", ".webp", ".pdf", ".svg")


class Picture:
    """A finished picture; notebooks show it by itself.

    Args:
        figure: what it was drawn as.
    """

    def __init__(self, figure: Figure) -> None:
        self._figure, self._plain = figure, False

    @property
    def figure(self) -> Figure:
        """As matplotlib has it: names of files and classes in it are no formulas."""
        if not self._plain:  # looked for only where it is used, as matplotlib takes a while to find all texts
            from matplotlib.text import Text

            for text in self._figure.findobj(Text):
                text.set_parse_math(False)
            self._plain = True
        return self._figure

    @property
    def image(self) -> Image.Image:
        """As a PIL image."""
        return Image.open(io.BytesIO(self.png())).convert("RGB")

    def png(self) -> bytes:
        """As the content of a PNG file."""
        file = io.BytesIO()
        self.figure.savefig(file, dpi=DPI, format="png")
        return file.getvalue()

    def save(self, path: str | PathLike[str]) -> None:
        """Write it as the ending of the name says: PNG, JPEG, WebP, PDF or SVG.

        Raises:
            ValueError: an ending that is none of these.
            OSError: it cannot be written; an older file stays as it was.
        """
        target = Path(fspath(path))
        if target.suffix.lower() not in _FORMATS:
            raise ValueError(f"{target}: pictures end in {', '.join(_FORMATS)}")
        with replacing(target) as part, part.open("wb") as file:
            self.figure.savefig(file, dpi=DPI, format=target.suffix[1:].lower())

    def _repr_png_(self) -> bytes:
        return self.png()
