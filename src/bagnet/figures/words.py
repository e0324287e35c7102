"""Words in figures and pages: numbers as people read them, names that fit, and what a figure is of."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from ..geometry import Geometry

WILSON = "95\N{NO-BREAK SPACE}% intervals over images (Wilson)"  # of shares; as `statistics.mean` takes them
BOOTSTRAP = "95\N{NO-BREAK SPACE}% intervals over images (bootstrap)"  # of everything else
LETTER = 0.0078  # inches that a letter takes on average, by point of its size
LINE_HEIGHT = 1.25  # from one line to the next, in sizes of the letters


def percent(share: float, digits: int = 1) -> str:
    """A share or a probability: "12.5 %"."""
    return f"{100 * share:.{digits}f} %"


def signed(logit: float, digits: int = 2) -> str:
    """A logit, or a difference of logits, with its sign: "+1.25"."""
    return f"{logit:+.{digits}f}".replace("-", "\N{MINUS SIGN}") if round(logit, digits) else "0"


def counted(count: int, noun: str) -> str:
    """How many of something there are: "1 image", "1,200 images"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def at_temperature(temperature: float) -> str:
    """What is to be known of probabilities: "probabilities at temperature 1.83"; "" where none was fitted."""
    return "" if temperature == 1 else f"probabilities at temperature {temperature:.3g}"


def short(text: str, most: int) -> str:
    """A text of at most so many letters."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}\N{HORIZONTAL ELLIPSIS}"


def abridged(name: str, most: int) -> str:
    """A name of at most so many letters, without its middle: the names of files differ at their ends."""
    if len(name) <= most:
        return name
    end = (most - 1) // 2
    return f"{name[: most - 1 - end]}\N{HORIZONTAL ELLIPSIS}{name[len(name) - end :]}"


def windows_in_words(geometry: Geometry) -> str:
    """Size and stride: "windows of 64 px every 32"."""
    return f"windows of {geometry.size} px every {geometry.stride}"


def wrapped(words: str, width: float, size: float, most: int | None = None) -> str:
    """Words on lines of a width in inches, in letters of a size in points; shortened to so many lines at most."""
    letters = max(4, int(width / (LETTER * size)))
    lines = textwrap.wrap(words, letters)
    if most is not None and len(lines) > most:
        lines = [*lines[: most - 1], short(" ".join(lines[most - 1 :]), letters)]
    return "\n".join(lines)


def of_images(data: str, images: int | Iterable[int], *more: str) -> str:
    """What a figure is of, for the words under its title.

    Args:
        data: name of the images.
        images: how many; several numbers where not all that is drawn is of as many.
        more: what else there is to say.
    """
    counts = sorted({images} if isinstance(images, int) else set(images))
    fewest = f"{counts[0]:,} to " if len(counts) > 1 else ""
    return "; ".join([f"{data}, {fewest}{counted(counts[-1], 'image')}", *more])
