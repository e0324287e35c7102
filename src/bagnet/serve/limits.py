"""What a service takes from strangers, and when it says no."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a client may ask for.

    Args:
        bytes: of a request.
        pixels: of an image, counted before it is decoded.
        input_pixels: of what the network gets of it, after resize and crop, where a long, narrow image of few pixels is large.
        seconds: for a client to send a request, and for a request to be answered.
        waiting: requests that are worked on or wait; one more is told to come back later.
        batch_size: images of one size that the network sees together.
        renders: tiles of slides that are drawn at a time.

    Raises:
        ValueError: a limit is not positive.
    """

    bytes: int = 32 << 20
    pixels: int = 50_000_000
    input_pixels: int = 10_000_000
    seconds: float = 30.0
    waiting: int = 64
    batch_size: int = 8
    renders: int = 4

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) <= 0:
                raise ValueError(f"{field.name} must be more than 0, got {getattr(self, field.name)}")
