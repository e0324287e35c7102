"""The progress bar, on stderr and only where a person is looking; and what the library says, a line each."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

    from ..progress import Progress


@contextmanager
def progress_bar() -> Iterator[Callable[[Progress], None]]:
    """A bar of what is being done now, from the first that is told of it; it grows with each stage.

    Inside another one nothing is shown: a terminal has room for one.
    """
    from rich.console import Console
    from rich.progress import Progress as Bar

    from ..progress import unheard

    console = Console(stderr=True)
    if not console.is_terminal or _shown:
        yield unheard
        return
    with Bar(*_columns(), console=console, transient=True) as bar, _showing():
        stage, task = "", None

        def show(progress: Progress) -> None:
            nonlocal stage, task
            if task is None or progress.stage != stage or progress.done < bar.tasks[-1].completed:
                if task is not None:
                    bar.remove_task(task)
                stage, task = progress.stage, bar.add_task(progress.stage, total=progress.total, unit=progress.unit)
            bar.update(task, completed=progress.done, total=progress.total)

        yield show


_shown: list[bool] = []  # True, while there is a bar


@contextmanager
def _showing() -> Iterator[None]:
    _shown.append(True)
    try:
        yield
    finally:
        _shown.pop()


@contextmanager
def lines_on_stderr() -> Iterator[None]:
    """What the library logs is written to stderr inside, a line each, and once where it is said again and again."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_first_time())
    handler.setFormatter(_Lines())
    logger = logging.getLogger("bagnet")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class _Lines(logging.Formatter):
    """What is being done as it is, and warnings as all that goes wrong: after the program's name."""

    def format(self, record: logging.LogRecord) -> str:
        return f"bagnet: {record.getMessage()}" if record.levelno >= logging.WARNING else record.getMessage()


def _first_time() -> Callable[[logging.LogRecord], bool]:
    """Lets each message through once: what a folder leaves out, say, however often the folder is looked into."""
    said: set[str] = set()

    def allows(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        new = message not in said
        said.add(message)
        return new

    return allows


def _columns() -> list[ProgressColumn]:
    from rich.filesize import decimal
    from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Amount(ProgressColumn):
        """How much is done, of how much, and how fast; no speed until two steps are done, as there is none before."""

        def render(self, task: Task) -> Text:
            unit: Any = task.fields["unit"]
            in_words = decimal if unit == "bytes" else "{:,}".format
            amount = in_words(int(task.completed))
            if task.total is not None:
                amount += f"/{in_words(int(task.total))}"
            if unit == "bytes":
                speed = "" if task.speed is None else f"  {decimal(int(task.speed))}/s"
            else:
                speed = f" {unit}" + ("" if task.speed is None else f"  {task.speed:.1f} {unit}/s")
            return Text(amount + speed, justify="right")

    return [TextColumn("{task.description}"), BarColumn(), Amount(), TimeRemainingColumn()]
