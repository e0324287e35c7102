"""bagnet doctor"""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from .options import AsJson
from .output import print_table
from .progress import progress_bar


def doctor(as_json: AsJson = False) -> None:
    """Say what is installed here, what works, and what to do about the rest. Exits with 1 where something is broken.

    Example: `bagnet doctor`
    """
    from ..bench.doctor import checkup

    with progress_bar() as progress:
        checks = checkup(progress)
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in checks]))
    else:
        titles = ["", "state", "seen"]
        print_table(titles, [[check.name, check.state, check.detail] for check in checks], texts=titles)
        for check in checks:
            if check.remedy:
                typer.echo(f"{check.name}: {check.remedy}")
    if any(check.state == "broken" for check in checks):
        raise typer.Exit(1)
