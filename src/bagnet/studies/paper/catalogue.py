"""Which experiments there are, in the order of the paper."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .experiment import Experiment

# name -> file : class; read when asked for, as some need packages that others do not
_PLACES = {
    "accuracy": "accuracy:Accuracy",
    "runtime": "runtime:Runtime",
    "heatmaps": "heatmaps:Heatmaps",
    "patches": "patches:Patches",
    "mistakes": "mistakes:Mistakes",
    "texturise": "texturise:Texturise",
    "interactions": "interactions:Interactions",
    "errors": "errors:Errors",
    "masking": "masking:Masking",
    "sensitivity": "sensitivity:Sensitivity",
    "layout": "layout:Layout",
    "thresholds": "thresholds:Thresholds",
}
NAMES = tuple(_PLACES)


class UnknownExperiment(ValueError):
    """No experiment goes by that name."""


def experiment(name: str, options: Mapping[str, str] | None = None) -> Experiment:
    """An experiment by name, with some of its options given as text.

    Raises:
        UnknownExperiment: there is none of that name.
        ValueError: an option does not fit.
    """
    if name not in _PLACES:
        close = get_close_matches(name, NAMES, 1)
        meant = f", did you mean {close[0]}" if close else ""
        raise UnknownExperiment(f"there is no experiment {name!r}{meant}: there are {', '.join(NAMES)}, and all")
    file, _, kind = _PLACES[name].partition(":")
    found: type[Experiment] = getattr(import_module(f"{__package__}.{file}"), kind)
    return found.with_options(options or {})
