"""What commands print: tables and fields on stdout, and on stderr a line for each thing that went wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from shutil import get_terminal_size
from textwrap import fill

import typer

_GAP = 2  # spaces between columns
_WIDE = 120  # characters of a table that goes to a file
_TITLE = 14  # characters of a field's title and what sets it apart


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
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table

    rows = [list(row) for row in rows]
    table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    needed = _GAP * (len(titles) - 1)
    for position, column in enumerate(titles):
        whole = position == 0 or (column not in texts and " " not in column)  # neither names nor numbers are broken
        table.add_column(column, justify="left" if column in texts else "right", no_wrap=whole)
        cells = [column, *(row[position] for row in rows if position < len(row))]
        needed += max(cell_len(part) for cell in cells for part in (cell.split("\n") if whole else cell.split() or [""]))
    for row in rows:
        table.add_row(*row)
    # A file or pipe has no width: none of its rows is to be broken. Nor is a figure left out where a terminal is too narrow.
    width = get_terminal_size().columns if on_terminal() else _WIDE
    Console(width=max(width, needed), markup=False, emoji=False).print(table, crop=False)


def print_title(line: str) -> None:
    """A line above others, in bold letters where the terminal has them."""
    from rich.console import Console

    Console(markup=False, emoji=False, highlight=False).print(line, style="bold", soft_wrap=True)


def on_terminal() -> bool:
    """Whether what is printed is for a person to see at once."""
    return sys.stdout is not None and sys.stdout.isatty()


def print_fields(fields: Mapping[str, str], *, whole: Collection[str] = ()) -> None:
    """Titles and texts, those that are not empty: a line each, or in a terminal as many as a text needs.

    Args:
        fields: title -> text.
        whole: titles of texts that stay in one line, to be copied from there.
    """
    for title, text in fields.items():
        line = f"{title:{_TITLE}}{text}"
        if on_terminal() and title not in whole:
            width = get_terminal_size().columns
            line = fill(line, width, subsequent_indent=" " * _TITLE, break_long_words=False, break_on_hyphens=False)
        if text:
            typer.echo(line)


def print_part(shard: str, folder: Path, what: str, as_json: bool) -> None:
    """Say where a part of some work lies, and how it becomes the whole."""
    if as_json:
        typer.echo(json.dumps({"shard": shard, "folder": str(folder)}))
    else:
        typer.echo(f"part {shard}, {what} -> {folder}; bagnet merge joins all parts")


def print_problems(reasons: Iterable[str]) -> None:
    """Say on stderr what could not be used, and why."""
    for reason in reasons:
        typer.echo(f"bagnet: {reason}", err=True)
