"""One grammar: what is worked on is positional, a model is --model, where to write is --out. Asked of every command there is."""

from __future__ import annotations

import shlex
from collections import defaultdict
from typing import Any

import pytest
import typer

from bagnet.cli import app

from .conftest import Run

RECIPE = "Recipe, field by field"  # the panel of options that are fields of a file, with the names that these have


def commands_of(group: Any, name: str = "") -> dict[str, Any]:
    """Every command, by the words that call it."""
    commands: dict[str, Any] = {}
    for word, command in group.commands.items():
        title = f"{name} {word}".strip()
        commands |= commands_of(command, title) if hasattr(command, "commands") else {title: command}
    return commands


COMMANDS = commands_of(typer.main.get_command(app))
every_command = pytest.mark.parametrize("name", COMMANDS)


def options_of(name: str) -> dict[str, Any]:
    """A command's options but for those of a recipe, by their flag."""
    parameters = COMMANDS[name].params
    return {
        parameter.opts[0]: parameter
        for parameter in parameters
        if parameter.param_type_name == "option" and parameter.rich_help_panel != RECIPE
    }


def test_these_commands_are_asked() -> None:
    models = {f"models {word}" for word in ("list", "info", "pull", "convert", "verify")}
    assert set(COMMANDS) == {
        "explain",
        "predict",
        "train",
        "evaluate",
        "export",
        "bench",
        "benchmark",
        "audit",
        "certify",
        "cue-conflict",
        "slide",
        "merge",
        "paper",
        "serve",
        "doctor",
        *models,
    }


@every_command
def test_what_is_worked_on_is_positional(name: str) -> None:
    positional = [parameter.metavar for parameter in COMMANDS[name].params if parameter.param_type_name == "argument"]
    expected = {
        "explain": ["IMAGE"],
        "predict": ["IMAGES"],
        "cue-conflict": ["IMAGES"],
        "paper": ["EXPERIMENT", "DATA"],
        "bench": [],
        "export": [],
        "serve": [],
        "doctor": [],
        "slide": ["FILE"],
        "merge": ["FOLDERS"],
        "models list": [],
    }
    assert positional == expected.get(name, ["MODEL"] if name.startswith("models") else ["DATA"])


@every_command
def test_a_model_is_an_option_of_each_command_that_runs_one(name: str) -> None:
    works_on_models = name.startswith("models ") or name == "doctor"
    makes_one = name == "train"  # its --start, --teacher and --network are other things
    assert ("--model" in options_of(name)) == (not works_on_models and not makes_one)
    for option in options_of(name).values():
        assert not {"--models", "--data", "--weights"} & set(option.opts)
    if "--model" in options_of(name):
        assert options_of(name)["--model"].metavar == "MODEL"
        assert options_of(name)["--model"].multiple == (name in ("evaluate", "paper", "certify", "benchmark", "cue-conflict"))


@every_command
def test_where_to_write_is_out(name: str) -> None:
    only_prints = name in ("models list", "models info", "models pull", "models verify", "serve", "doctor")
    assert ("--out" in options_of(name)) == (not only_prints)
    if not only_prints:
        assert options_of(name)["--out"].metavar in ("FILE", "FOLDER", "PATH")


@every_command
def test_results_are_printed_as_json(name: str) -> None:
    if name != "serve":  # which prints no result
        assert options_of(name)["--json"].is_flag


@every_command
def test_every_option_says_what_it_is(name: str) -> None:
    for parameter in COMMANDS[name].params:
        if parameter.name != "help":
            assert parameter.help.endswith("."), parameter.name
            assert parameter.metavar or parameter.is_flag, parameter.name


def test_an_option_is_the_same_everywhere() -> None:
    forms = defaultdict(set)
    for name in COMMANDS:
        for flag, option in options_of(name).items():
            text = option.help
            if flag == "--out" or (name, flag) in (("bench", "--model"), ("benchmark", "--method")):
                continue  # what is written differs; bench times a shape, whatever its weights; methods are of attribution
            if option.multiple:
                text = text.removesuffix(" Repeat it for several.")
            if flag == "--model":
                text = text.partition(";")[0].removesuffix(".")  # some commands take networks of others, too
            if flag in ("--size", "--stride"):
                text = text.partition(":")[0].removesuffix(".")  # what follows says what is particular to a command
            forms[flag].add((text, option.metavar, option.is_flag))
    assert {flag: form for flag, form in forms.items() if len(form) > 1} == {}


@every_command
def test_help_has_an_example_that_can_be_called(name: str) -> None:
    text = COMMANDS[name].help
    examples = [line.strip() for line in text.splitlines() if line.strip().startswith("Example: `")]
    assert examples
    for example in examples:
        line = example.removeprefix("Example: `").removesuffix("`").rpartition("| ")[2]
        program, *words = shlex.split(line)
        assert program == "bagnet"
        assert words[: len(name.split())] == name.split()
        COMMANDS[name].make_context(name, words[len(name.split()) :])  # raises for an option that there is not


@pytest.mark.parametrize("name", ["", "models", *COMMANDS])
def test_help_fits_into_80_columns(run: Run, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = run(*name.split(), "--help")
    assert result.code == 0
    assert f"Usage: bagnet {name}".strip() in result.out
    assert max(map(len, result.out.splitlines())) <= 80
    assert "…" not in result.out, "nothing is cut short"
