"""Which experiments there are, in the order of the paper: the one place where they are named."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .experiment import Experiment

# Each is a file of that name, with a class of that name. Files are read when asked for: some need packages that others do not,
# and the command line is to know the names before torch is there.
NAMES = (
    "accuracy",
    "runtime",
    "heatmaps",
    "patches",
    "mistakes",
    "texturise",
    "interactions",
    "errors",
    "masking",
    "sensitivity",
    "layout",
    "thresholds",
)


class UnknownExperiment(ValueError):
    """No experiment goes by that name."""


def experiment(name: str, options: Mapping[str, str] | None = None) -> Experiment:
    """An experiment by name, with some of its options as texts.

    Raises:
        UnknownExperiment: there is none of that name.
        ValueError: an option does not fit.
    """
    if name not in NAMES:
        close = get_close_matches(name, NAMES, 1)
        meant = f", did you mean {close[0]}" if close else ""
        raise UnknownExperiment(f"there is no experiment {name!r}{meant}: there are {', '.join(NAMES)}, and all")
    kind: type[Experiment] = getattr(import_module(f"{__package__}.{name}"), name.capitalize())
    return kind.with_options(options or {})
