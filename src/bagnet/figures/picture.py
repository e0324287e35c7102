"""Picture: a finished figure that saves itself and that notebooks show."""

from __future__ import annotations

import io
from hashlib import sha256
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from PIL import Image

from ..files import replacing
from .fonts import boxes_unmentioned, complete

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 130
_COMPRESSION = 4  # of PNG: a few per cent larger than by default, in half the time
_PHOTOGRAPH = "Photograph"  # a key of texts in a PNG file
_FORMATS = (".png", ".jpg", ".jpeg", ".webp", ".pdf", ".svg")


class Picture:
    """A finished picture; notebooks show it by itself.

    Args:
        figure: what it was drawn as.
        photograph: `fingerprint` of the photograph that it is about, which a PNG file keeps; "" where it is about none.
    """

    def __init__(self, figure: Figure, photograph: str = "") -> None:
        self._figure, self._photograph, self._plain = figure, photograph, False

    @property
    def figure(self) -> Figure:
        """As matplotlib has it: names of files and classes in it are no formulas, and have all their letters where a font has."""
        if not self._plain:  # looked for only where it is used, as matplotlib takes a while to find all texts
            from matplotlib.text import Text

            texts = self._figure.findobj(Text)
            for text in texts:
                text.set_parse_math(False)
            complete(texts)
            self._plain = True
        return self._figure

    @property
    def image(self) -> Image.Image:
        """As a PIL image."""
        return Image.open(io.BytesIO(self.png())).convert("RGB")

    def png(self) -> bytes:
        """As the content of a PNG file."""
        file = io.BytesIO()
        self._write(file, "png")
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
            self._write(file, target.suffix[1:].lower())

    def _write(self, file: BinaryIO, kind: str) -> None:
        about = {_PHOTOGRAPH: self._photograph} if kind == "png" and self._photograph else None
        with boxes_unmentioned():
            quick: dict[str, Any] = {"pil_kwargs": {"compress_level": _COMPRESSION}} if kind == "png" else {}
            self.figure.savefig(file, dpi=DPI, format=kind, metadata=about, **quick)

    def _repr_png_(self) -> bytes:
        return self.png()


def fingerprint(photograph: Image.Image) -> str:
    """A digest of a photograph's pixels, by which it is known again wherever it lies."""
    return sha256(f"{photograph.mode} {photograph.size}".encode() + photograph.tobytes()).hexdigest()


def photograph_of(path: Path) -> str:
    """The fingerprint of the photograph that a saved picture is about; "" where the file does not say, or is no PNG."""
    if not path.is_file():
        return ""
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            return str(picture.info.get(_PHOTOGRAPH, ""))
    except (OSError, ValueError, SyntaxError):
        return ""
