"""What a shell offers while a command is typed: words of the registries, read without torch, as it asks at every tab."""

from __future__ import annotations

from collections.abc import Callable

Offer = Callable[[str], list[str]]


def among(*words: str) -> Offer:
    """Those of some words that begin as what is typed does."""

    def offer(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return offer


def models(incomplete: str) -> list[str]:
    """Models known by name."""
    from ..zoo.names import model_names

    return among(*model_names())(incomplete)


def sizes(incomplete: str) -> list[str]:
    """Published sizes of BagNets."""
    from ..zoo.names import published_sizes

    return among(*published_sizes())(incomplete)
