"""Progress bars, on stderr and only where a person is looking."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import ProgressColumn


@contextmanager
def download_progress(title: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar of bytes on stderr, from the first byte on."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done, total: None
        return
    with Progress(*columns, console=console, transient=True) as bar:
        tasks: list[object] = []

        def progress(done: int, total: int | None) -> None:
            if not tasks:
                tasks.append(bar.add_task(title, total=total))
            bar.update(tasks[0], completed=done, total=total)  # type: ignore[arg-type]

        yield progress


@contextmanager
def steps_progress(title: str) -> Iterator[Callable[[int], None]]:
    """A bar of steps on stderr; called with the steps to come it grows, with 0 it goes one step on."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda more: None
        return
    with Progress(*columns, console=console, transient=True) as bar:
        task, total = bar.add_task(title, total=0), 0

        def step(more: int) -> None:
            nonlocal total
            total += more
            bar.update(task, total=total, advance=0 if more else 1)

        yield step


@contextmanager
def images_progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of images with images/s and the time left; called with (done, in all)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _images_per_second(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done, total: None
        return
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=None)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield progress


def _images_per_second() -> ProgressColumn:
    """How fast it goes; blank until two batches are done, as there is no speed before."""
    from rich.progress import ProgressColumn, Task
    from rich.text import Text

    class Speed(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text("" if task.speed is None else f"{task.speed:.1f} images/s", justify="right")

    return Speed()


@contextmanager
def stages_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar of what is being done now; called with (title, steps done, steps in all, or 0 where that is not known)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda title, done, total: None
        return
    with Progress(*columns, console=console, transient=True) as bar:
        now: list[Any] = ["", None]

        def progress(title: str, done: int, total: int) -> None:
            if title != now[0] or (now[1] is not None and done < bar.tasks[-1].completed):
                if now[1] is not None:
                    bar.remove_task(now[1])
                now[:] = title, bar.add_task(title, total=total or None)
            bar.update(now[1], completed=done, total=total or None)

        yield progress
