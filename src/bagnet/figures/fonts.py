"""Letters that the font of figures lacks: another font of this machine that has them, or one line that says so."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from .words import short

if TYPE_CHECKING:
    from matplotlib.text import Text

_log = logging.getLogger(__name__)
_BOXES = "Last Resort"  # a font of matplotlib's that has a box for each letter there is
_LETTERS_SHOWN = 20  # letters that a message repeats


def complete(texts: Sequence[Text]) -> None:
    """Let the texts of a figure be drawn with further fonts, where the first one lacks some of their letters."""
    from matplotlib.font_manager import FontProperties, findfont

    letters = frozenset(letter for text in texts for letter in text.get_text() if letter.isprintable() and letter != " ")
    missing = letters - _letters_of(findfont(FontProperties()))
    if not missing:
        return
    further = _fonts_with(missing)
    for text in texts:
        text.set_fontfamily([*text.get_fontfamily(), *further])


@contextmanager
def boxes_unmentioned() -> Iterator[None]:
    """Inside, matplotlib draws boxes for letters without a warning for each: `complete` has said so."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        yield


@cache
def _fonts_with(letters: frozenset[str]) -> list[str]:
    """Names of fonts of this machine that have some letters; which letters none has is logged, once."""
    from matplotlib.font_manager import fontManager

    names: list[str] = []
    missing = letters
    for font in fontManager.ttflist:
        if not missing:
            break
        if font.style != "normal" or font.name in names or font.name.startswith(_BOXES):
            continue
        if covered := missing & _letters_of(font.fname):
            names.append(font.name)
            missing -= covered
    if missing:
        some = short("".join(sorted(missing)), _LETTERS_SHOWN)
        _log.warning("no font of this machine has the letters %s: they are drawn as boxes until one is installed (Noto)", some)
    return names


@cache
def _letters_of(path: str) -> frozenset[str]:
    """All letters that a font has; none where its file cannot be read."""
    from matplotlib.ft2font import FT2Font

    if not Path(path).is_file():
        return frozenset()
    try:
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (RuntimeError, OSError):
        return frozenset()
