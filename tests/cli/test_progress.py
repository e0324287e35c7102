"""Progress bars, drawn for a terminal from the first moment on."""

from __future__ import annotations

import io

from rich.console import Console
from rich.progress import Progress

from bagnet.cli.progress import _images_per_second


def test_speed_from_the_first_moment_on() -> None:
    now = iter([0.0, *(float(second) for second in range(100))])
    console = Console(file=io.StringIO(), force_terminal=True)
    bar = Progress(_images_per_second(), console=console, get_time=lambda: next(now), auto_refresh=False)
    task = bar.add_task("predicting", total=None)
    column = bar.columns[0]
    assert str(column(bar.tasks[0])) == ""  # type: ignore[operator]
    for done in (4, 8, 12):
        bar.update(task, completed=done, total=20)
    assert str(column(bar.tasks[0])).endswith(" images/s")  # type: ignore[operator]
