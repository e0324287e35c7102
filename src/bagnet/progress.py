"""How far a piece of work is, as everything that takes a while tells it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a piece of work is.

    Args:
        stage: what is being done, in words.
        done: how much of it.
        total: how much there is; None where that is not known.
        unit: what is counted: "images", "bytes", "tiles", ...
    """

    stage: str
    done: int
    total: int | None = None
    unit: str = "images"


Listener = Callable[[Progress], None]


def duration(seconds: float) -> str:
    """How long something takes, for people."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def unheard(_: Progress) -> None:
    """The listener where nobody listens."""
