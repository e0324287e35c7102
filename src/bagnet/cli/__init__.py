"""The command line: one file a command, no logic. Errors are one line on stderr; exit 0, 1 (work failed) or 2 (wrong input)."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from .audit import audit
from .bench import bench
from .evaluate import evaluate
from .explain import explain
from .models import models
from .paper import paper
from .predict import predict
from .train import train

app = typer.Typer(
    name="bagnet",
    help="Image classifiers that show exactly why.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(explain)
app.command()(predict)
app.command()(train)
app.command()(evaluate)
app.command()(bench)
app.command()(audit)
app.command()(paper)
app.add_typer(models, name="models")


def _version(asked: bool) -> None:
    if asked:
        from bagnet import __version__

        typer.echo(f"bagnet {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which version.")] = False,
) -> None:
    """Options of every command."""


def main(arguments: list[str] | None = None) -> None:
    """Run a command line and exit."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments  # welcome anywhere on the line, not only before the command
    try:
        app([word for word in arguments if word != "--debug"])
    except KeyboardInterrupt:
        goes_on = "a run of predict, train, paper or audit goes on when the same command is given again"
        typer.echo(f"bagnet: interrupted; {goes_on}", err=True)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has gone, `| head` say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if debug:
            raise
        typer.echo(f"bagnet: {one_line(error)}", err=True)
        sys.exit(2 if isinstance(error, (ValueError, OSError, ImportError)) else 1)


def one_line(error: Exception) -> str:
    """What an error says, without line breaks; its type too where it is none that this program foresees."""
    text = " ".join(str(error).split())
    foreseen = isinstance(error, (ValueError, OSError, ImportError)) or type(error).__module__.startswith("bagnet")
    return text if foreseen and text else f"{type(error).__name__}: {text} (--debug shows where)"
