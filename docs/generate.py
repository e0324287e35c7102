"""Pages made of other things in the repository: the commands, of their help; the results, of the CSVs that were measured.

python docs/generate.py        # docs/generated/commands.md and results.md; `make docs` does it
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "docs" / "results"
OUT = ROOT / "docs" / "generated"


@dataclass(frozen=True)
class Result:
    """A table of results: the newest of some CSVs.

    Args:
        title: of its section.
        kind: how the names of its files end.
        script: in benchmarks/, whose first lines have the command.
        columns: name in the CSV -> title.
        only: values that rows must have to be shown.
    """

    title: str
    kind: str
    script: str
    columns: Mapping[str, str]
    only: Mapping[str, Sequence[str]]


def main() -> None:
    OUT.mkdir(exist_ok=True)
    (OUT / "commands.md").write_text("\n".join(commands()) + "\n", encoding="utf-8")
    (OUT / "results.md").write_text("\n".join(results()) + "\n", encoding="utf-8")


def commands() -> Iterator[str]:
    """The reference of the command line, as Markdown."""
    from bagnet.cli import app

    yield "# Commands\n"
    yield "What is worked on comes first, a model is always `--model`, where to write always `--out`. Exit code 0; 1 where the"
    yield "work failed; 2 for wrong usage or input, with one line on stderr that names the file and the remedy.\n"
    for name, command in flattened(typer.main.get_command(app)):
        yield f"## bagnet {name}\n"
        yield f"{command.help.strip()}\n"
        yield "| | | |\n|---|---|---|"
        for parameter in command.params:
            if parameter.name != "help":
                yield f"| {spelling(parameter)} | {default(parameter)} | {cell(getattr(parameter, 'help', '') or '')} |"
        yield ""


def flattened(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(name, command) of all, those of a group by both their words."""
    for word, command in group.commands.items():
        name = f"{prefix} {word}".strip()
        if hasattr(command, "commands"):
            yield from flattened(command, name)
        else:
            yield name, command


def spelling(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar}`"
    value = "" if parameter.is_flag else f" {parameter.metavar or parameter.type.name.upper()}"
    return f"`{'`, `'.join([*parameter.opts, *parameter.secondary_opts])}{value}`"


def default(parameter: Any) -> str:
    shown = parameter.show_default if isinstance(getattr(parameter, "show_default", None), str) else parameter.default
    shown = ", ".join(map(str, shown)) if isinstance(shown, (list, tuple)) else shown
    return "" if shown in (None, False, "") or callable(shown) or "Sentinel" in repr(shown) else f"`{cell(str(shown))}`"


def cell(text: str) -> str:
    """As a cell of a table holds it."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def results() -> Iterator[str]:
    """Tables of all results, each with its command."""
    yield "# Results\n"
    yield "Drawn from the CSVs in `docs/results/`, never typed in. Which machine, when, and how many images: in their names, in"
    yield "their columns, and on the pages that speak of them.\n"
    for result in TABLES:
        path = newest(result.kind)
        yield f"## {result.title}\n"
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if all(row[name] in values for name, values in result.only.items())]
        yield f"| {' | '.join(result.columns.values())} |"
        yield "|" + "---|" * len(result.columns)
        for row in rows:
            yield f"| {' | '.join(cell(rounded(row[name])) for name in result.columns)} |"
        yield f"\n`{path.relative_to(ROOT)}`, of `benchmarks/{result.script}`, whose first lines have the command.\n"


def newest(kind: str) -> Path:
    """The CSV of a kind with the latest date in its name."""
    return max(RESULTS.glob(f"*-{kind}.csv"))


def rounded(text: str) -> str:
    """A figure with as many digits as one reads."""
    try:
        number = float(text)
    except ValueError:
        return text
    return text if len(text) < 7 else f"{number:.4g}"


PER_SECOND = {
    "network": "network",
    "how": "",
    "runtime": "runtime",
    "precision": "precision",
    "batch": "batch",
    "per_second": "a second",
}
PER_SECOND |= {"times_published": "times the published code", "error": "largest error, of the largest logit"}
TABLES = [
    Result(
        "Accuracy against the window, 1000 classes",
        "windows",
        "windows.py",
        {"network": "network", "window": "window", "scale": "scale", "window_of_224": "window of 224 px", "windows": "windows"}
        | {"giga_multiply_adds": "giga multiply-adds", "images": "images", "top1": "top-1", "top5": "top-5"},
        {},
    ),
    Result("Speed of BagNet-33, 224 px", "logits", "published.py", PER_SECOND, {}),
    Result("Speed of full-resolution maps", "maps", "published.py", PER_SECOND, {}),
    Result("Speed of the default", "windowed", "windows.py", PER_SECOND, {}),
    Result(
        "What a megapixel of a slide costs",
        "slide-cost",
        "slide_cost.py",
        {"work": "work", "what": "of", "how": "by", "core_seconds_per_megapixel": "core seconds per megapixel"},
        {},
    ),
    Result(
        "A slide on a Ray cluster",
        "cluster",
        "cluster.py",
        {"nodes": "nodes (0: one process)", "cores": "cores of the machine", "megapixels": "megapixels", "seconds": "seconds"}
        | {"megapixels_per_second": "megapixels a second"},
        {},
    ),
    Result(
        "Certified photographs",
        "certificates",
        "certificates.py",
        {"windows": "windows", "grid": "grid", "patch": "patch", "method": "method", "clean": "clean", "certified": "certified"},
        {"patch": ("2 %",)},
    ),
    Result(
        "The service under load",
        "service",
        "service.py",
        {"clients": "clients", "answered": "answered", "wrong": "wrong", "per_second": "a second", "p50_ms": "median ms"}
        | {"p95_ms": "95 % ms", "memory_after_mb": "memory MB"},
        {},
    ),
    Result(
        "A step of training",
        "cores-training-step",
        "training_step.py",
        {
            "version": "version",
            "threads": "threads",
            "width": "width",
            "kernel3": "3x3 blocks",
            "images_per_second": "images a second",
        }
        | {
            "times_before_per_second": "times before",
            "products_ms": "products ms",
            "products_at_ceiling_ms": "at the ceiling ms",
        },
        {},
    ),
]

if __name__ == "__main__":
    main()
