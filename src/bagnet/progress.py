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


def unheard(_: Progress) -> None:
    """The listener where nobody listens."""
