"""What commands print: tables on stdout, and on stderr a line for each thing that went wrong."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Sequence

import typer

_WIDE = 120  # letters


def print_table(
    titles: Sequence[str], rows: Iterable[Sequence[str]], *, texts: Collection[str], title: str | None = None
) -> None:
    """A table as wide as the terminal is.

    Args:
        titles: of the columns.
        rows: a text for each column; rows may end early.
        texts: titles of the columns that hold words, and stand to the left; the others hold numbers.
        title: of the table.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    for position, column in enumerate(titles):
        whole = position == 0 or (column not in texts and " " not in column)  # neither names nor numbers are broken
        table.add_column(column, justify="left" if column in texts else "right", no_wrap=whole)
    for row in rows:
        table.add_row(*row)
    # A file or pipe has no width: none of its rows is to be broken.
    Console(width=None if sys.stdout.isatty() else _WIDE).print(table)


def print_problems(reasons: Iterable[str]) -> None:
    """Say on stderr what could not be used, and why."""
    for reason in reasons:
        typer.echo(f"bagnet: {reason}", err=True)
