"""The command line: one file a command, no logic. Errors are one line on stderr; exit 0, 1 (work failed) or 2 (wrong input)."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from .audit import audit
from .bench import bench
from .benchmark import benchmark
from .certify import certify
from .cue_conflict import cue_conflict
from .doctor import doctor
from .evaluate import evaluate
from .explain import explain
from .export import export
from .merge import merge
from .models import models
from .paper import paper
from .predict import predict
from .progress import lines_on_stderr
from .serve import serve
from .slide import slide
from .train import train

app = typer.Typer(
    name="bagnet",
    help="Image classifiers that show exactly why.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(explain)
app.command()(predict)
app.command()(train)
app.command()(evaluate)
app.command()(export)
app.command()(bench)
app.command()(audit)
app.command()(slide)
app.command()(merge)
app.command()(certify)
app.command()(benchmark)
app.command()(cue_conflict)
app.command()(paper)
app.command()(serve)
app.command()(doctor)
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


_WrongUsage: type[Exception] = typer.BadParameter.__mro__[1]  # of typer's errors of this kind it exports that one alone
_INTERRUPTED = 130
_TALKATIVE = ("matplotlib", "tifffile", "torch.utils.cpp_extension")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main(arguments: list[str] | None = None) -> None:
    """Run a command line and exit."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments  # welcome anywhere on the line, not only before the command
    words = [word for word in arguments if word != "--debug"]
    if not _stands_somewhere():
        typer.echo("bagnet: the current folder is not there any more: change to another one", err=True)
        sys.exit(2)
    try:
        with lines_on_stderr(), _libraries_silent():
            code = app(words, prog_name="bagnet", standalone_mode=False) or 0
            if sys.stdout is not None:
                sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    except BrokenPipeError:  # `| head` has seen enough; typer, too, says no more then than exit code 1
        _print_no_more()
        code = 1
    except Exception as error:
        if debug:
            raise
        message, code = _wrong_usage(error) if isinstance(error, _WrongUsage) else (one_line(error), _code(error))
        if isinstance(error, OSError) and error.errno in _FULL:
            _print_no_more()
        if message:
            typer.echo(f"bagnet: {message}", err=True)
    if code == _INTERRUPTED:
        goes_on = "a run of predict, train, paper or audit goes on when the same command is given again"
        typer.echo(f"bagnet: interrupted; {goes_on}", err=True)
    sys.exit(code)


def _stands_somewhere() -> bool:
    """Whether there is a current folder. In one that was deleted torch ends the process, without a word of what is wrong."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


@contextmanager
def _libraries_silent() -> Iterator[None]:
    """Inside, libraries keep to themselves what they think of a machine: no home, no cache to write to, a new index of fonts."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _print_no_more() -> None:
    """What is left to print is dropped, so that the interpreter does not try once more while it ends."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _wrong_usage(error: Exception) -> tuple[str, int]:
    """What to say of words that make no command, and the exit code; nothing where help has been printed instead."""
    context = getattr(error, "ctx", None)
    message = " ".join(error.format_message().split())  # type: ignore[attr-defined]
    command = context.command_path if context is not None else "bagnet"
    return message and f"{message} (see `{command} --help`)", 2


def _code(error: Exception) -> int:
    """2 where the input is to blame, 1 where the work failed."""
    return 2 if isinstance(error, (ValueError, OSError, ImportError)) else 1


def one_line(error: Exception) -> str:
    """What an error says, without line breaks; its type too where it is none that this program foresees."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{one_line(ValueError(os.fsdecode(error.filename)))}: {error.strerror}"
    if isinstance(error, OSError) and error.errno in _FULL:  # all that writes files names them
        return f"what is printed cannot be written ({error.strerror}); print it to somewhere else"
    text = " ".join(str(error).split())
    foreseen = isinstance(error, (ValueError, OSError, ImportError)) or type(error).__module__.startswith("bagnet")
    return text if foreseen and text else f"{type(error).__name__}: {text} (--debug shows where)"
