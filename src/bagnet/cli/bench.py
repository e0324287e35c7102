"""bagnet bench"""

from __future__ import annotations

import csv
import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .progress import progress_bar

if TYPE_CHECKING:
    from ..bench import Bench

_WIDE = 120  # letters


def bench(
    network: Annotated[str, typer.Option(help="bagnet9 | bagnet17 | bagnet33, or one of these with _padded.")] = "bagnet33",
    batch: Annotated[
        list[int] | None, typer.Option(min=1, help="Images at a time; repeat it for several.", show_default="1, 8")
    ] = None,
    size: Annotated[int, typer.Option(min=1, help="Side of the images in pixels.")] = 224,
    rounds: Annotated[int, typer.Option(min=1, help="How often each; figures are medians.")] = 5,
    logits: Annotated[bool, typer.Option(help="Time the logits of whole images.")] = True,
    maps: Annotated[bool, typer.Option(help="Time full-resolution maps of one class.")] = True,
    device: Annotated[str, typer.Option(help="cpu | cuda")] = "cpu",
    out: Annotated[Path | None, typer.Option(help="Also write the figures to this .csv or .json.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Measure how fast this machine runs a BagNet: every runtime and precision, beside the published code and ResNet-50.

    Example: `bagnet bench --batch 8 --out bench.csv`
    """
    from ..bench import bench as measure
    from ..bench import map_cases, standard_cases
    from ..files import replacing

    if out is not None and out.suffix not in (".csv", ".json"):
        raise ValueError(f"{out}: figures go to .csv or .json")
    if device not in ("cpu", "cuda"):
        raise ValueError(f"there is no device {device!r}: there are cpu and cuda")
    if not (logits or maps):
        raise ValueError("there is nothing to time: leave --no-logits or --no-maps out")
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise ValueError("this machine has no CUDA device: leave --device out")
    cases = standard_cases(network, batch or (1, 8), size, device) if logits else []
    cases += map_cases(network, size, device) if maps else []
    with replacing(out) if out is not None else nullcontext() as part:  # that it can be written is known before it is measured
        if part is not None:
            part.touch()
        with progress_bar() as progress:
            result = measure(cases, rounds, progress)
        record = {"machine": result.machine, "ceiling": result.ceiling, "rounds": rounds, "figures": result.rows()}
        if part is not None and out is not None:
            write(part, record, as_json=out.suffix == ".json")
    if as_json:
        typer.echo(json.dumps(record))
        return
    typer.echo("\n".join(f"{title}: {text}" for title, text in result.machine.items()))
    for title, speed in result.ceiling.items():
        typer.echo(f"best matrix product, {title}: {speed / 1e9:.1f} giga multiply-adds/s")
    show(result)


def show(result: Bench) -> None:
    """The tables, for people."""
    from rich.console import Console
    from rich.table import Table

    for task, unit in (("logits", "images/s"), ("map", "maps/s")):
        chosen = [(t, row) for t, row in zip(result.timings, result.rows(), strict=True) if t.case.task == task]
        if not chosen:
            continue
        table = Table(box=None, pad_edge=False, header_style="bold", title=task, title_justify="left")
        for place, title in enumerate(("", "batch", unit, "ms", "x plain", "ceiling", "MB", "error")):
            table.add_column(title, justify="right" if place else "left", no_wrap=True)
        for timing, row in chosen:
            cells = [timing.case.title, str(timing.case.batch)]
            if timing.executed:
                ratio, error = row["times_published"], row["error"]
                cells += [
                    f"{row['per_second']:.3g}",
                    f"{row['milliseconds']:,.0f}",
                    f"{ratio:.2f}" if ratio else "",
                    f"{row['ceiling_share']:.0%}" if row["ceiling_share"] else "",
                    f"{row['peak_megabytes']:,.0f}",
                    f"{error:.0e}" if error is not None else "",
                ]
            else:
                cells += ["not measured"] + [""] * 5
            table.add_row(*cells)
        # A file or pipe has no width: none of its columns is to be cut.
        Console(width=None if sys.stdout.isatty() else _WIDE).print(table)
        for timing, _ in chosen:
            if timing.note:
                typer.echo(f"{timing.case.title}: {timing.note}")


def write(path: Path, record: dict[str, Any], as_json: bool) -> None:
    """The figures as CSV, with the machine in each row, or all as JSON."""
    if as_json:
        path.write_text(json.dumps(record, indent=1))
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        machine = {key: json.dumps(value) if isinstance(value, dict) else value for key, value in record["machine"].items()}
        ceiling = {f"ceiling {key}": value for key, value in record["ceiling"].items()}
        rows = [{**row, **machine, **ceiling, "rounds": record["rounds"]} for row in record["figures"]]
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
