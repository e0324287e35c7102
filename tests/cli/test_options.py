"""Words that are listed in help texts are those of the registries."""

from __future__ import annotations

from bagnet.architecture import PUBLISHED_SHAPES
from bagnet.engine.runtimes import PRECISIONS, RUNTIMES
from bagnet.studies.paper.catalogue import NAMES
from bagnet.training.loggers import LOGGERS
from bagnet.training.recipe import RECIPES

from .conftest import Run


def in_help(run: Run, command: str) -> str:
    """Help without the frames and breaks of its lines."""
    return " ".join(run(command, "--help").out.replace("│", " ").split())


def test_help_lists_the_registries(run: Run) -> None:
    assert " | ".join(RUNTIMES) in in_help(run, "predict")
    assert " | ".join(PRECISIONS) in in_help(run, "predict")
    assert f"{' | '.join(NAMES)}; or all." in in_help(run, "paper")
    assert f"{' | '.join(RECIPES)} | a .toml file" in in_help(run, "train")
    assert " | ".join(LOGGERS) in in_help(run, "train")
    plain = [name for name, shape in PUBLISHED_SHAPES.items() if not shape.padded]
    assert f"{' | '.join(plain)}, or one of these with _padded" in in_help(run, "bench")
