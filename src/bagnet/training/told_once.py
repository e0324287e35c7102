"""A logger whose history cannot be taken back is told every step once, however often the run is interrupted."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from lightning.pytorch.loggers import Logger

from ..files import replacing
from .processes import rank
from .recipe import LENGTHS, Recipe


@dataclass(frozen=True, slots=True)
class History:
    """What a service was told of a run, kept in the run's folder.

    Args:
        path: of the file.
        run_id: by which the service knows the run; "" for none yet.
        steps: name of a figure -> last step that was told.
    """

    path: Path
    run_id: str = ""
    steps: dict[str, int] = field(default_factory=dict)

    def of_run(self, run_id: str) -> History:
        """The same, under the id that the run has now."""
        return replace(self, run_id=run_id)


class ToldOnce(Logger):
    """Passes on to another logger what it was not told before.

    A run that goes on from its last checkpoint comes to the very figures that it had (on CPUs bit for bit), so those that were
    told before it was cut short are left out. A run that is lengthened takes another course from where the shorter one let its
    learning rate fall, and is a new run to the service.

    Args:
        logger: Lightning's.
        told: what it was told of the run so far.
        recipe: of the run; told to a run that is new.
        close: called at the end.
    """

    def __init__(self, logger: Logger, told: History, recipe: Recipe, close: Callable[[], Any] | None = None) -> None:
        super().__init__()
        self.logger: Any = logger
        self.told, self.recipe, self.close = told, recipe, close
        if rank() == 0 and not told.path.exists():
            logger.log_hyperparams(recipe.to_dict())
            self._keep()

    @staticmethod
    def history(path: Path, recipe: Recipe) -> History:
        """What is kept of a run of this length; an empty one where there is none."""
        if path.exists():
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["length"] == _length(recipe):
                return History(path, kept["run_id"], kept["steps"])
            path.unlink(missing_ok=True)
        return History(path)

    @property
    def name(self) -> str | None:
        name: str | None = self.logger.name
        return name

    @property
    def version(self) -> str | int | None:
        version: str | int | None = self.logger.version
        return version

    @property
    def experiment(self) -> Any:
        """What the other logger writes with."""
        return self.logger.experiment

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        self.logger.log_hyperparams(*args, **kwargs)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Kept before it is told: cut short in between, a figure is missing rather than there twice."""
        if rank() != 0:
            return
        reached = -1 if step is None else step
        news = {name: value for name, value in metrics.items() if step is None or self.told.steps.get(name, -1) < reached}
        if news and set(news) != {"epoch"}:
            self.told.steps.update(dict.fromkeys(news, reached))
            self._keep()
            self.logger.log_metrics(news, step)

    def save(self) -> None:
        self.logger.save()

    def finalize(self, status: str) -> None:
        self.logger.finalize(status)
        if self.close is not None and rank() == 0:
            self.close()

    def _keep(self) -> None:
        with replacing(self.told.path) as part:
            record = {"run_id": self.told.run_id, "length": _length(self.recipe), "steps": self.told.steps}
            part.write_text(json.dumps(record), encoding="utf-8")


def new_run_id() -> str:
    """Eight letters and digits."""
    return uuid4().hex[:8]


def _length(recipe: Recipe) -> dict[str, int]:
    return {name: getattr(recipe, name) for name in LENGTHS}
